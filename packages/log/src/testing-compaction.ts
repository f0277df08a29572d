/** Compacted logs for tests. */
import type { LogConfig, PartitionLog } from "./api.ts";
import { Partition } from "./partition/partition.ts";
import { appendAll } from "./testing.ts";
import { type KeyedRecord, keyedBatch } from "./testing-keys.ts";

/** Of a log with some ten batches in a segment. */
export const compacted: Partial<LogConfig> = {
  compactionEnabled: true,
  retentionEnabled: false,
  segmentBytes: 1024,
  indexIntervalBytes: 200,
};

/** Appends records, a batch each. */
export const appendKeyed = async (
  log: PartitionLog,
  records: readonly KeyedRecord[],
  leaderEpoch = 1,
): Promise<void> => {
  const batches = [];
  for (const record of records) batches.push(await keyedBatch([record]));
  await appendAll(log, batches, leaderEpoch);
};

/** Records `from` to `to`, over `keys` keys in turn. */
export const turnsOf = (from: number, to: number, keys = 5): KeyedRecord[] =>
  Array.from({ length: to - from }, (_, i) => ({
    key: `k${(from + i) % keys}`,
    value: `v${from + i}`.padEnd(60, "."),
    timestampMs: 1000 + from + i,
  }));

/** Ten records of a key that nobody asks for: the segments before them are closed. */
export const closeSegments = (log: PartitionLog, leaderEpoch = 1): Promise<void> =>
  appendKeyed(
    log,
    Array.from({ length: 12 }, () => ({ key: "end", value: ".".repeat(120) })),
    leaderEpoch,
  );

/** Cleans a log up to its active segment. */
export const clean = async (log: PartitionLog): Promise<boolean> => {
  await log.flush();
  return log.runCompaction();
};

export const partitionOf = (log: PartitionLog): Partition => {
  if (!(log instanceof Partition)) throw new TypeError("another kind of log");
  return log;
};
