import type { TopicConfig } from "@millrace/config";
import type { LogConfig } from "@millrace/log";

const has = (config: TopicConfig, policy: "compact" | "delete"): boolean =>
  config["cleanup.policy"].split(",").includes(policy);

/** Whether the log keeps the latest record of each key, and its leader an index of them. */
export const isCompacted = (config: TopicConfig): boolean =>
  config["cleanup.policy"].includes("compact");

/** Log settings of a topic's configs. */
export const logConfigOf = (config: TopicConfig): LogConfig => ({
  segmentBytes: config["segment.bytes"],
  segmentMs: config["segment.ms"],
  indexIntervalBytes: config["index.interval.bytes"],
  retentionMs: config["retention.ms"],
  retentionBytes: config["retention.bytes"],
  retentionEnabled: has(config, "delete"),
  compactionEnabled: has(config, "compact"),
  deleteRetentionMs: config["delete.retention.ms"],
  minCompactionLagMs: config["min.compaction.lag.ms"],
  maxCompactionLagMs: config["max.compaction.lag.ms"],
  minCleanableDirtyRatio: config["min.cleanable.dirty.ratio"],
  fileDeleteDelayMs: config["file.delete.delay.ms"],
  flushPolicy: config["flush.policy"],
  flushIntervalMs: config["flush.ms"],
  producerExpiryMs: 86_400_000,
});
