/**
 * The bare transport: grpc-js with the same streams, messages and windows as the broker's, and
 * nothing behind them. What the broker costs over this is its own. `node bench/load/transport.ts
 * HOST:PORT`.
 */
import { once } from "node:events";
import type { ServerHttp2Session } from "node:http2";
import { Server, ServerCredentials, type ServerDuplexStream } from "@grpc/grpc-js";
import { Guarantee } from "@millrace/proto/common";
import { BatchBuilder, crcOf, encodeStoredPrefix, type WireProduceResult } from "@millrace/record";
import { fetchMethod, produceMethod } from "@millrace/rpc";
import { asBuffer, identity } from "../../packages/rpc/src/grpc/duplex.ts";
import {
  connectionWindowBytes,
  hookConnections,
  setSessionOptions,
} from "../../packages/rpc/src/grpc/windows.ts";
import { windowBytes } from "./stream.ts";

type Call = ServerDuplexStream<Buffer, Buffer>;

const produce = (call: Call): void => {
  let results: WireProduceResult[] = [];
  const answer = (message: Parameters<typeof produceMethod.output.encode>[0]): void => {
    call.write(asBuffer(produceMethod.output.encode(message)));
  };
  call.on("data", (bytes: Buffer) => {
    const request = produceMethod.input.decode(bytes);
    if (request.open !== undefined) {
      const opened = {
        windowBytes,
        messageBytesMax: 8 << 20,
        clusterId: "bench",
        brokerId: 1,
        featureLevel: 1,
        producerBatches: 16,
      };
      answer({ opened, results: [], drain: undefined });
      return;
    }
    if (results.length === 0) {
      setImmediate(() => {
        answer({ opened: undefined, results, drain: undefined });
        results = [];
      });
    }
    results.push({
      ...{ requestId: request.requestId, baseOffset: 1, appendTimeMs: 1, logStartOffset: 0 },
      ...{ guarantee: Guarantee.FSYNCED_QUORUM, duplicate: false, error: undefined },
      windowBytes: request.body?.length ?? 0,
    });
  });
  call.on("end", () => call.end());
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

/** Messages are made once per cursor: grpc-js copies each behind its prefix. */
const fetch = (call: Call): void => {
  const { bytes, records } = chunks();
  const granted = new Map<number, number>();
  const messages = new Map<number, Buffer>();
  let over = false;
  const messageOf = (id: number): Buffer => {
    const known = messages.get(id);
    if (known !== undefined) return known;
    const made = fetchMethod.output.encode({
      ...{ opened: undefined, cursorId: id, highWatermark: 1e9, logStartOffset: 0 },
      ...{ lastStableOffset: 1e9, leaderEpoch: 0, nextOffset: records, error: undefined },
      ...{ drain: undefined, batches: [bytes] },
    });
    messages.set(id, asBuffer(made));
    return asBuffer(made);
  };
  const pump = async (): Promise<void> => {
    while (!over) {
      let sent = false;
      for (const [id, left] of granted) {
        if (left <= 0 || over) continue;
        granted.set(id, left - bytes.length);
        sent = true;
        if (!call.write(messageOf(id))) await Promise.race([once(call, "drain"), gone]);
      }
      await new Promise((resolve) => (sent ? setImmediate(resolve) : setTimeout(resolve, 1)));
    }
  };
  const gone = new Promise<void>((resolve) => call.on("cancelled", resolve));
  call.on("error", () => {});
  call.on("data", (request: Buffer) => {
    const { add, grants } = fetchMethod.input.decode(request);
    for (const cursor of add) granted.set(cursor.cursorId, cursor.grantBytes);
    for (const { cursorId, bytes: more } of grants)
      granted.set(cursorId, (granted.get(cursorId) ?? 0) + more);
  });
  call.on("end", () => {
    over = true;
    call.end();
  });
  void gone.then(() => {
    over = true;
  });
  void pump();
};

const definition = (path: string) => ({
  ...{ path, requestStream: true as const, responseStream: true as const },
  ...{ requestSerialize: identity, requestDeserialize: identity },
  ...{ responseSerialize: identity, responseDeserialize: identity },
});

const server = new Server({
  ...{ "grpc.max_receive_message_length": -1, "grpc.max_send_message_length": -1 },
  "grpc.enable_channelz": 0,
});
server.addService({ produce: definition(produceMethod.path) }, { produce });
server.addService({ fetch: definition(fetchMethod.path) }, { fetch });
if (!setSessionOptions(server, 100)) throw new Error("grpc-js hides its settings");
const [host = "127.0.0.1", port] = (process.argv[2] ?? "127.0.0.1:9474").split(":");
server.bindAsync(`${host}:${port}`, ServerCredentials.createInsecure(), (error, bound) => {
  if (error !== null) throw error;
  const session = (of: ServerHttp2Session): void => of.setLocalWindowSize(connectionWindowBytes);
  if (!hookConnections(server, { session, stream: (_stream, _headers, pass) => pass() }))
    throw new Error("grpc-js hides its connections");
  console.log(`${host}:${bound}`);
});
