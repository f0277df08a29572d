/** Limits of replication streams. They are apart from those of clients. */
export const replicationLimits = {
  /** Batch bytes on their way to one follower, when it asks for no less. */
  windowBytesMax: 32 * 1024 * 1024,
  /** Batch bytes of one partition in one message, but for a larger first batch. */
  appendBytesMax: 1024 * 1024,
  /** Batch bytes of one message; one append may overshoot it. */
  messageBytesMax: 4 * 1024 * 1024,
  /**
   * Longest time until a follower hears of a high watermark that no batch carries to it, ms.
   * Nothing waits for that, and a message for each commit costs more than the commit.
   */
  highWatermarkDelayMs: 5,
  /** Subscriptions of one stream. */
  subscriptionsMax: 100_000,
  /** Subscriptions that one message begins, ends, refuses or finds to differ, of each. */
  changesPerMessage: 5_000,
  /** Mean interval of heartbeats, ms. */
  heartbeatIntervalMs: 1_000,
  /** Reads from files at the same time, of one stream: followers that have to catch up. */
  catchUpReadsMax: 2,
} as const;
