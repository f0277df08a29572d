/** Helpers of tests of logs that begin anew. */
import type { AppendBatch, PartitionLog } from "./api.ts";
import { appendAll, batchOf } from "./testing.ts";

/** A batch of a producer. */
export const sent = (value: string, baseSequence: number): AppendBatch =>
  batchOf([{ value: value.padEnd(200, ".") }], { producerId: 7, producerEpoch: 0, baseSequence });

/** Ten batches of two records. */
export const tenBatches = (mark: string): AppendBatch[] =>
  Array.from({ length: 10 }, (_, i) =>
    batchOf(["a", "b"].map((half) => ({ value: `${mark}${i}${half}`.padEnd(150, ".") }))),
  );

/** Fills a log from 0 to 20 with several segments, in epoch 3; it begins at 2. */
export const oldLog = async (log: PartitionLog): Promise<void> => {
  await log.becomeLeader(3);
  const batches = tenBatches("old");
  const producer = { producerId: 7, producerEpoch: 0, baseSequence: 0 };
  const [first, ...rest] = batches;
  if (first === undefined) return;
  const pair = ["a", "b"].map((half) => ({ value: `old0${half}`.padEnd(150, ".") }));
  await appendAll(log, [batchOf(pair, producer), ...rest], 3);
  await log.advanceLogStart(2);
  await log.flush();
};

/** Log start, high watermark, end of what counts, log end. */
export const offsetsOf = (log: PartitionLog): readonly number[] => [
  log.logStartOffset,
  log.highWatermark,
  log.ackedEndOffset,
  log.logEndOffset,
];
