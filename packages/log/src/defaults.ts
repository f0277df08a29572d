import type { LogConfig, LogManagerConfig } from "./api.ts";

const mib = 1024 * 1024;

/** Settings of a data directory unless told otherwise. */
export const defaultManagerConfig: LogManagerConfig = {
  journalFileBytes: 64 * mib,
  journalBytesMax: 512 * mib,
  tailCacheBytesMax: 32 * mib,
  openFilesMax: 2048,
  indexCacheBytesMax: 16 * mib,
  segmentBytesMin: 0,
  segmentMsMin: 0,
  producersMax: 131_072,
  diskReserveBytes: 256 * mib,
  checkpointIntervalMs: 60_000,
  retentionCheckIntervalMs: 300_000,
  cleanerIntervalMs: 15_000,
  cleanerMapBytesMax: 128 * mib,
  cleanerBytesPerSecondMax: 64 * mib,
  pendingBytesMax: 64 * mib,
  unwrittenBytesMax: 16 * mib,
  writeLingerMs: 25,
  syncStepBytes: mib,
};

/** Settings of a partition unless told otherwise: those of a topic without configs. */
export const defaultLogConfig: LogConfig = {
  segmentBytes: 1024 * mib,
  segmentMs: 7 * 86_400_000,
  indexIntervalBytes: 4096,
  retentionMs: 7 * 86_400_000,
  retentionBytes: -1,
  retentionEnabled: true,
  compactionEnabled: false,
  deleteRetentionMs: 86_400_000,
  minCompactionLagMs: 0,
  maxCompactionLagMs: Number.MAX_SAFE_INTEGER,
  minCleanableDirtyRatio: 0.5,
  fileDeleteDelayMs: 60_000,
  flushPolicy: "commit",
  flushIntervalMs: 1000,
  producerExpiryMs: 86_400_000,
};
