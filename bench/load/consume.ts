/** Loads that read. */
import { connect } from "@millrace/client";
import { bodyCrcMatches, iterateRecords, parseBody, readStored } from "@millrace/record";
import { grpcDialer } from "@millrace/rpc/grpc";
import type { LoadOptions, Result } from "./produce.ts";
import { stretch } from "./produce.ts";
import { fetchMethod } from "./stream.ts";

const grantBytes = 8 * 1024 * 1024;
const noBytes = new Uint8Array(0);

const summary = (
  records: number,
  bytes: number,
  taken: { seconds: number; cpu: number },
): Result => ({
  records,
  seconds: taken.seconds,
  recordsPerSecond: records / taken.seconds,
  mibPerSecond: bytes / taken.seconds / 1024 / 1024,
  clientCpuSecondsPerMillion: (taken.cpu / records) * 1e6,
});

/** Checks and counts the records of stored batches: an object per record, its value a view. */
const count = (bytes: Uint8Array): { records: number; bytes: number } => {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const found = { records: 0, bytes: 0 };
  for (let at = 0; at < buffer.length; ) {
    const batch = readStored(buffer, at);
    if ("fault" in batch) throw new Error(`a batch is ${batch.fault}`);
    if (!bodyCrcMatches(buffer, batch)) throw new Error("a batch's CRC is wrong");
    const info = parseBody(buffer.subarray(batch.bodyStart, batch.bodyEnd));
    for (const record of iterateRecords(info.records, info.baseTimestampMs)) {
      found.records += 1;
      found.bytes += record.value?.length ?? 0;
    }
    at = batch.bodyEnd;
  }
  return found;
};

/** Partitions over `clients` bare fetch streams, a connection each. */
export const consume = async (options: LoadOptions): Promise<Result> => {
  const end = stretch();
  let records = 0;
  let bytes = 0;
  const read = async (index: number): Promise<void> => {
    const channel = grpcDialer().dial(options.endpoint);
    const stream = channel.bidi(fetchMethod);
    const add = [];
    for (let p = index; p < options.partitions; p += options.clients) {
      add.push({
        ...{ cursorId: p + 1, topicId: noBytes, topic: options.topic, partition: p, offset: 0 },
        ...{ leaderEpoch: undefined, lastFetchedEpoch: undefined, grantBytes },
      });
    }
    const open = { clientId: "bench", messageBytesMax: 1024 * 1024, clusterId: "", isolation: 0 };
    stream.write({ open, remove: [], add, grants: [] });
    const owed = new Map<number, number>();
    while (records < options.records) {
      const message = stream.tryRead() ?? (await stream.read());
      if (message === undefined) throw new Error("the server ended the stream");
      if (message.error !== undefined) throw new Error(message.error.message);
      let got = 0;
      for (const view of message.batches) {
        const found = count(view);
        records += found.records;
        bytes += found.bytes;
        got += view.length;
      }
      const id = message.cursorId ?? 0;
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
    done.resolve();
    stream.cancel();
    channel.close();
  };
  const done = Promise.withResolvers<void>();
  const readers = Array.from({ length: options.clients }, (_, index) =>
    read(index).catch((thrown: unknown) => {
      if (records < options.records) done.reject(thrown);
    }),
  );
  await done.promise;
  const result = summary(records, bytes, end());
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
  let records = 0;
  let bytes = 0;
  for await (const batch of consumer.batches()) {
    for (const record of batch.records) bytes += record.value?.length ?? 0;
    records += batch.records.length;
    if (records >= options.records) break;
  }
  const result = summary(records, bytes, end());
  await client.close();
  return result;
};
