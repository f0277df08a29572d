/** Settings of a broker. */
import { messageBytesMax, type Schema, type Values } from "@millrace/config";
import { ErrorCode, MillraceError, sizeText } from "@millrace/errors";
import { defaultManagerConfig, type LogManagerConfig } from "@millrace/log";
import {
  admissionSettings,
  advertiseSettings,
  bytes,
  clusterIdSettings,
  count,
  dataDirectorySettings,
  duration,
  etcdSettings,
  identity,
  internalAdvertiseSettings,
  listenerSettings,
  loggingSettings,
  mib,
  text,
} from "@millrace/server/node";
import { keyIndexBytesDefault } from "../latest/key-indexes.ts";
import { limits } from "../limits.ts";

/** A batch is journalled in one file, so the smallest file holds the largest batch. */
const journalFileBytesMin = messageBytesMax + mib;

/** How logs are kept. */
export const logSettings = {
  "journal-file-bytes": bytes(
    journalFileBytesMin,
    1024 * mib,
    64 * mib,
    "Size of one file of the commit journal. The smallest holds the largest message.",
  ),
  "journal-bytes-max": bytes(
    journalFileBytesMin,
    16 * 1024 * mib,
    512 * mib,
    "Bound of the commit journal, at least one of its files; when it is full, producers wait.",
  ),
  "tail-cache-bytes-max": bytes(
    0,
    4096 * mib,
    32 * mib,
    "Newest batches kept in memory; they are written from there.",
  ),
  "index-cache-bytes-max": bytes(0, 4096 * mib, 16 * mib, "Index entries kept in memory."),
  "pending-bytes-max": bytes(
    mib,
    4096 * mib,
    64 * mib,
    "Bytes accepted and not yet on the disk; more is refused.",
  ),
  "producers-max": count(
    1024,
    16_777_216,
    131_072,
    "Idempotent producers remembered over all partitions; at most some 1.5 KiB of memory each.",
  ),
  "disk-reserve-bytes": bytes(
    0,
    1024 * 1024 * mib,
    256 * mib,
    "Free space below which writes are refused with DISK_FULL. Reads go on.",
  ),
  "key-index-bytes-max": bytes(
    0,
    16 * 1024 * mib,
    keyIndexBytesDefault,
    "Memory for the keys of compacted partitions that this broker leads, about 35 bytes for a key of " +
      "16; the index of a partition that needs more is given up.",
  ),
  "open-files-max": count(16, 1_000_000, 2048, "Segment files kept open."),
  "checkpoint-interval": duration(100, 3_600_000, 60_000, "How often recovery points are written."),
  "retention-check-interval": duration(
    100,
    86_400_000,
    300_000,
    "How often retention looks for old segments.",
  ),
  "log-cleaner-backoff": duration(
    100,
    86_400_000,
    15_000,
    "How often compaction looks for logs to clean.",
  ),
  "log-cleaner-dedupe-buffer-size": bytes(
    mib,
    4096 * mib,
    128 * mib,
    "Memory of the keys that compaction tells apart at a time, 24 bytes for each; a log with more " +
      "is cleaned in several passes. Taken while a log is cleaned.",
  ),
  "log-cleaner-io-max-bytes-per-second": bytes(
    0,
    1024 * 1024 * mib,
    64 * mib,
    "Bytes that compaction reads and writes per second at most; 0 means no limit.",
  ),
} as const satisfies Schema;

/** How long the metrics page may get. */
export const metricsSettings = {
  "metrics-topics-max": count(
    0,
    10_000,
    100,
    'Topics with a label of their own in metrics, the oldest ones; all others are topic="other".',
  ),
  "metrics-partitions-max": count(
    0,
    10_000,
    0,
    "Partitions with series of their own in metrics; 0 means that there are only those of topics.",
  ),
} as const satisfies Schema;

export const metricsDefaults: Values<typeof metricsSettings> = {
  "metrics-topics-max": metricsSettings["metrics-topics-max"].default,
  "metrics-partitions-max": metricsSettings["metrics-partitions-max"].default,
};

/** A broker of a cluster: one schema for flags, environment, file, help and reference. */
export const brokerSchema = {
  "broker-id": identity("Number of this broker, one in the cluster. Its data belongs to it."),
  rack: text(
    /^[^\s]{0,255}$/,
    "a name without spaces, or empty",
    "",
    "Where the broker stands: the replicas of a partition go to different racks.",
  ),
  ...dataDirectorySettings,
  ...listenerSettings,
  ...advertiseSettings,
  ...internalAdvertiseSettings,
  ...clusterIdSettings,
  ...etcdSettings,
  ...loggingSettings,
  "replica-lag-max": duration(
    100,
    3_600_000,
    limits.replicaLagMaxMs,
    "A follower that has not caught up for this long leaves the in-sync replicas.",
  ),
  "reassignment-throttle": bytes(
    0,
    1024 * 1024 * mib,
    0,
    "Bytes per second that this broker reads from its files for replicas that are not in sync, such " +
      "as those that a reassignment adds; 0 means no limit.",
  ),
  ...logSettings,
  ...metricsSettings,
  ...admissionSettings,
} as const satisfies Schema;

/**
 * Part of a journal file, and of the time between checkpoints, for which there is at most one
 * segment of a partition.
 */
const segmentPart = 1 / 128;

/** Throws INVALID_CONFIG for settings that are allowed one by one, and not together. */
export const checkLogSettings = (config: Values<typeof logSettings>): void => {
  const { "journal-file-bytes": fileBytes, "journal-bytes-max": bytesMax } = config;
  if (bytesMax >= fileBytes) return;
  throw new MillraceError(
    ErrorCode.INVALID_CONFIG,
    `--journal-bytes-max is ${sizeText(bytesMax)}, less than one file of the journal ` +
      `(--journal-file-bytes, ${sizeText(fileBytes)}): raise the first, or lower the second`,
    { facts: { key: "journal-bytes-max" } },
  );
};

/** The settings of logs, as the log takes them. */
export const managerConfigOf = (config: Values<typeof logSettings>): LogManagerConfig => ({
  ...defaultManagerConfig,
  journalFileBytes: config["journal-file-bytes"],
  journalBytesMax: config["journal-bytes-max"],
  tailCacheBytesMax: config["tail-cache-bytes-max"],
  indexCacheBytesMax: config["index-cache-bytes-max"],
  pendingBytesMax: config["pending-bytes-max"],
  producersMax: config["producers-max"],
  segmentBytesMin: config["journal-file-bytes"] * segmentPart,
  segmentMsMin: Math.ceil(config["checkpoint-interval"] * segmentPart),
  diskReserveBytes: config["disk-reserve-bytes"],
  openFilesMax: config["open-files-max"],
  checkpointIntervalMs: config["checkpoint-interval"],
  retentionCheckIntervalMs: config["retention-check-interval"],
  cleanerIntervalMs: config["log-cleaner-backoff"],
  cleanerMapBytesMax: config["log-cleaner-dedupe-buffer-size"],
  cleanerBytesPerSecondMax: config["log-cleaner-io-max-bytes-per-second"],
});
