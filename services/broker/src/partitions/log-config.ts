import type { TopicConfig } from "@millrace/config";
import type { LogConfig } from "@millrace/log";

/** Log settings of a topic's configs. */
export const logConfigOf = (config: TopicConfig): LogConfig => ({
  segmentBytes: config["segment.bytes"],
  segmentMs: config["segment.ms"],
  indexIntervalBytes: config["index.interval.bytes"],
  retentionMs: config["retention.ms"],
  retentionBytes: config["retention.bytes"],
  retentionEnabled: config["cleanup.policy"] === "delete",
  fileDeleteDelayMs: config["file.delete.delay.ms"],
  flushPolicy: config["flush.policy"],
  flushIntervalMs: config["flush.ms"],
  producerExpiryMs: 86_400_000,
});
