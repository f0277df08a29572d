/** Every limit that is not a setting. */
export const limits = {
  /** Longest wait for the first message of a stream. */
  openTimeoutMs: 10_000,
  groupNameBytesMax: 249,
  /** Of client ids, instance ids and racks. */
  nameBytesMax: 249,
  topicsMax: 10_000,
  /** Partitions in one commit, reset or question. */
  partitionsMax: 10_000,
  offsetMetadataBytesMax: 4096,
  membersMax: 10_000,
  sessionTimeoutMs: 45_000,
  sessionTimeoutMsMin: 1000,
  sessionTimeoutMsMax: 1_800_000,
  rebalanceTimeoutMs: 300_000,
  rebalanceTimeoutMsMin: 1000,
  rebalanceTimeoutMsMax: 1_800_000,
  /** Requests of a member come at least this many times in its session timeout. */
  beatsPerSession: 9,
  /** Commits of one stream that are not answered yet; then nothing more is read of it. */
  commitsInFlightMax: 64,
  /** Groups in one answer of ListGroups. */
  groupsListedMax: 1000,
  /** Records that wait for an append, and those of one append, bytes, of each shard. */
  queueBytesMax: 16 * 1024 * 1024,
  appendBytesMax: 512 * 1024,
  tickMs: 200,
  expiredPerTick: 256,
  /** Longest wait of a call for a shard that is being loaded. */
  loadWaitMs: 5000,
  /** Pause before a shard that failed is loaded again. */
  reloadMs: 200,
  reloadMsMax: 5000,
  /** The same where another coordinator has the shard, and the metadata cannot be asked. */
  fencedMsMax: 30_000,
  /** Time that a stopping coordinator announces to its streams. */
  drainGraceMs: 5000,
  /** Partitions of the internal topic, where a coordinator makes it. */
  shards: 8,
  /** As Kafka's `offsets.retention.minutes`. */
  offsetsRetentionMs: 7 * 24 * 3600 * 1000,
} as const;
