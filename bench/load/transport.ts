/**
 * The bare transport: the same streams and messages as the broker's, with nothing behind them. What the broker costs
 * over this is its own. `node bench/load/transport.ts HOST:PORT`.
 */
import { FetchService, ProduceService } from "@millrace/proto/broker";
import { Guarantee } from "@millrace/proto/common";
import { BatchBuilder, crcOf, encodeStoredPrefix, type HotProduceResult } from "@millrace/record";
import type { Binding, ServerStream } from "@millrace/rpc";
import { grpcListener } from "@millrace/rpc/grpc";
import { fetchMethod, produceMethod, windowBytes } from "./stream.ts";

type In<M> = M extends { readonly input: { decode(bytes: Uint8Array): infer T } } ? T : never;
type Out<M> = M extends { readonly output: { decode(bytes: Uint8Array): infer T } } ? T : never;

const produce = async (
  stream: ServerStream<In<typeof produceMethod>, Out<typeof produceMethod>>,
): Promise<void> => {
  let results: HotProduceResult[] = [];
  for (;;) {
    const request = stream.tryRead() ?? (await stream.read());
    if (request === undefined) return;
    if (request.open !== undefined) {
      const opened = { windowBytes, messageBytesMax: 8 << 20, clusterId: "bench", brokerId: 1 };
      stream.write({ opened, results: [], drain: undefined });
      continue;
    }
    if (results.length === 0) {
      setImmediate(() => {
        stream.write({ opened: undefined, results, drain: undefined });
        results = [];
      });
    }
    results.push({
      ...{ requestId: request.requestId, baseOffset: 1, appendTimeMs: 1, logStartOffset: 0 },
      ...{ guarantee: Guarantee.FSYNCED_QUORUM, duplicate: false, error: undefined },
      windowBytes: request.body?.length ?? 0,
    });
  }
};

/** About half a MiB of stored batches. */
const chunks = (): { bytes: Uint8Array; records: number } => {
  const parts: Buffer[] = [];
  let records = 0;
  for (let i = 0; i < 4; i += 1) {
    const builder = new BatchBuilder(140_000);
    while (builder.sizeBytes < 127_000)
      builder.append({ value: Buffer.alloc(1024), timestampMs: 1 });
    const body = builder.finishPlain();
    const fields = { baseOffset: records, leaderEpoch: 0, appendTimeMs: 1, bodyCrc: crcOf(body) };
    records += builder.recordCount;
    parts.push(encodeStoredPrefix(fields, body.length), body);
  }
  return { bytes: Buffer.concat(parts), records };
};

const fetch = async (
  stream: ServerStream<In<typeof fetchMethod>, Out<typeof fetchMethod>>,
): Promise<void> => {
  const { bytes, records } = chunks();
  const granted = new Map<number, number>();
  let over = false;
  const pump = async (): Promise<void> => {
    while (!over) {
      let sent = false;
      for (const [id, left] of granted) {
        if (left <= 0) continue;
        granted.set(id, left - bytes.length);
        sent = true;
        const message = { opened: undefined, cursorId: id, highWatermark: 1e9, logStartOffset: 0 };
        const rest = {
          lastStableOffset: 1e9,
          leaderEpoch: 0,
          nextOffset: records,
          error: undefined,
        };
        if (!stream.write({ ...message, ...rest, drain: undefined, batches: [bytes] }))
          await stream.drained();
      }
      if (!sent) await new Promise((resolve) => setTimeout(resolve, 1));
      else await new Promise((resolve) => setImmediate(resolve));
    }
  };
  void pump();
  try {
    for (;;) {
      const request = stream.tryRead() ?? (await stream.read());
      if (request === undefined) return;
      for (const cursor of request.add) granted.set(cursor.cursorId, cursor.grantBytes);
      for (const { cursorId, bytes: more } of request.grants)
        granted.set(cursorId, (granted.get(cursorId) ?? 0) + more);
    }
  } finally {
    over = true;
  }
};

const binding = (method: unknown, handler: unknown): Binding =>
  ({ kind: "bidi_streaming", method, handler }) as Binding;

const server = await grpcListener().listen(process.argv[2] ?? "127.0.0.1:9474", [
  { desc: ProduceService, bindings: [binding(produceMethod, produce)] },
  { desc: FetchService, bindings: [binding(fetchMethod, fetch)] },
]);
console.log(server.endpoint);
