/** Loads that read. */
import { connect } from "@millrace/client";
import { bodyCrcMatches, iterateRecords, parseBody, readStored } from "@millrace/record";
import { fetchMethod } from "@millrace/rpc";
import { grpcDialer } from "@millrace/rpc/grpc";
import type { LoadOptions, Result } from "./produce.ts";
import { stretch } from "./produce.ts";

const grantBytes = 8 * 1024 * 1024;
const noBytes = new Uint8Array(0);

interface Found {
  records: number;
  bytes: number;
  /** Bytes of batches that the server had sent before. They count as nothing else. */
  repeatedBytes: number;
}

const summary = (found: Found, taken: { seconds: number; cpu: number }): Result => ({
  records: found.records,
  seconds: taken.seconds,
  recordsPerSecond: found.records / taken.seconds,
  mibPerSecond: found.bytes / taken.seconds / 1024 / 1024,
  clientCpuSecondsPerMillion: (taken.cpu / found.records) * 1e6,
  repeatedShare: found.repeatedBytes / found.bytes,
});

/** What one client reads: per cursor the offset that comes next. */
class Reader {
  readonly #next = new Map<number, number>();
  readonly #anyOffset: boolean;

  constructor(anyOffset: boolean) {
    this.#anyOffset = anyOffset;
  }

  /** Checks and counts the records of stored batches: an object per record, its value a view. */
  count(cursorId: number, bytes: Uint8Array, into: Found): number {
    const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    let counted = 0;
    for (let at = 0; at < buffer.length; ) {
      const batch = readStored(buffer, at);
      if ("fault" in batch) throw new Error(`a batch is ${batch.fault}`);
      at = batch.bodyEnd;
      const next = this.#next.get(cursorId) ?? batch.baseOffset;
      if (!this.#anyOffset && batch.baseOffset < next) {
        into.repeatedBytes += batch.bodyEnd - batch.start;
        continue;
      }
      if (!this.#anyOffset && batch.baseOffset > next)
        throw new Error(`offset ${batch.baseOffset} came, ${next} did not`);
      if (!bodyCrcMatches(buffer, batch)) throw new Error("a batch's CRC is wrong");
      const info = parseBody(buffer.subarray(batch.bodyStart, batch.bodyEnd));
      let records = 0;
      for (const record of iterateRecords(info.records, info.baseTimestampMs)) {
        records += 1;
        into.bytes += record.value?.length ?? 0;
      }
      counted += records;
      this.#next.set(cursorId, batch.baseOffset + records);
    }
    into.records += counted;
    return counted;
  }
}

/**
 * Where client `index` begins: its partitions, or its stretch of one when there are more clients
 * than partitions.
 */
const startsOf = (options: LoadOptions, index: number): { partition: number; offset: number }[] => {
  const { clients, partitions, records } = options;
  if (clients > partitions) {
    const place = Math.floor(index / partitions) / Math.ceil(clients / partitions);
    const offset = Math.floor((place * records) / partitions);
    return [{ partition: index % partitions, offset }];
  }
  const count = Math.ceil((partitions - index) / clients);
  return Array.from({ length: count }, (_, i) => ({ partition: index + i * clients, offset: 0 }));
};

/** Partitions over `clients` bare fetch streams, a connection each. */
export const consume = async (options: LoadOptions): Promise<Result> => {
  const end = stretch();
  const found: Found = { records: 0, bytes: 0, repeatedBytes: 0 };
  // Clients that share a partition stop where the next one began; others go on while any record is
  // missing.
  const own = options.clients > options.partitions ? options.records / options.clients : Infinity;
  const read = async (index: number): Promise<void> => {
    const channel = grpcDialer().dial(options.endpoint);
    const stream = channel.bidi(fetchMethod);
    const add = startsOf(options, index).map(({ partition, offset }) => ({
      ...{ cursorId: partition + 1, topicId: noBytes, topic: options.topic, partition, offset },
      ...{ leaderEpoch: undefined, lastFetchedEpoch: undefined, grantBytes },
    }));
    const open = {
      clientId: "bench",
      messageBytesMax: 1024 * 1024,
      clusterId: "",
      isolation: 0,
      requiredFeatures: [],
    };
    stream.write({ open, remove: [], add, grants: [] });
    const owed = new Map<number, number>();
    const reader = new Reader(options.anyOffset);
    let mine = 0;
    while (found.records < options.records && mine < own) {
      const message = stream.tryRead() ?? (await stream.read());
      if (message === undefined) throw new Error("the server ended the stream");
      if (message.error !== undefined) throw new Error(message.error.message);
      const id = message.cursorId ?? 0;
      let got = 0;
      for (const view of message.batches) {
        mine += reader.count(id, view, found);
        got += view.length;
      }
      const due = (owed.get(id) ?? 0) + got;
      if (due * 4 >= grantBytes)
        stream.write({
          open: undefined,
          remove: [],
          add: [],
          grants: [{ cursorId: id, bytes: due }],
        });
      owed.set(id, due * 4 >= grantBytes ? 0 : due);
    }
    stream.cancel();
    channel.close();
    if (found.records >= options.records) done.resolve();
  };
  const done = Promise.withResolvers<void>();
  const readers = Array.from({ length: options.clients }, (_, index) =>
    read(index).catch((thrown: unknown) => {
      if (found.records < options.records) done.reject(thrown);
    }),
  );
  await done.promise;
  const result = summary(found, end());
  void readers;
  return result;
};

/** The same with the TypeScript client. */
export const clientConsume = async (options: LoadOptions): Promise<Result> => {
  const client = await connect({ bootstrap: [options.endpoint] });
  const consumer = client.consumer();
  const end = stretch();
  const assignments = Array.from({ length: options.partitions }, (_, partition) => ({
    topic: options.topic,
    partition,
    from: "earliest" as const,
  }));
  await consumer.assign(assignments);
  const found: Found = { records: 0, bytes: 0, repeatedBytes: 0 };
  for await (const batch of consumer.batches()) {
    for (const record of batch.records) found.bytes += record.value?.length ?? 0;
    found.records += batch.records.length;
    if (found.records >= options.records) break;
  }
  const result = summary(found, end());
  await client.close();
  return result;
};
