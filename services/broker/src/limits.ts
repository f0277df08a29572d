import { messageBytesMax } from "@millrace/config";

/** Every limit of the data plane that is not a setting. */
export const limits = {
  /** Window of a produce stream, body bytes. */
  produceWindowBytesMax: 16 * 1024 * 1024,
  /** Unanswered requests of a produce stream. */
  produceInFlightMax: 16_384,
  /** Results in one message. Clients refuse what has more than 10,000. */
  produceResultsMax: 1_000,
  /** Largest batch body of a request; told to clients as `message_bytes_max`. */
  messageBytesMax,
  /** Largest message that carries records: a batch and its headers. */
  requestBytesMax: 16 * 1024 * 1024,
  /** Partitions with a failed request that one produce stream keeps in order. */
  failedPartitionsMax: 10_000,
  /** Longest client id, bytes. */
  clientIdBytesMax: 249,
  /** Records of one batch. */
  recordCountMax: 1_000_000,
  /** Records after inflation, bytes per batch. */
  inflatedBytesMax: 64 * 1024 * 1024,
  /** Grace that a drain announces. */
  drainGraceMs: 5_000,
  /** A stream without its opening message is ended after this. */
  openTimeoutMs: 10_000,
  /** Mean interval of heartbeats on a fetch stream and a watch of the metadata. */
  heartbeatIntervalMs: 5_000,
  /** Cursors of one fetch stream. */
  cursorsMax: 10_000,
  /** Batch bytes of one fetch message when the client does not say. */
  fetchMessageBytesDefault: 512 * 1024,
  /** Most batch bytes that a client may ask for in one fetch message. */
  fetchMessageBytesMax: 4 * 1024 * 1024,
  /** Batch bytes of FetchOnce when the client does not say. */
  fetchOnceBytesDefault: 1024 * 1024,
  /** Longest wait of FetchOnce. */
  fetchWaitMsMax: 60_000,
  /** Keys in one GetLatest. */
  latestKeysMax: 1_000,
  /** Records in one answer of GetLatest. */
  latestRecordsMax: 1_000,
  /** Keys that one GetLatest looks at for those with a value. */
  latestVisitsMax: 10_000,
  /** Records that GetLatest answered with, in memory, bytes. */
  latestCacheBytesMax: 16 * 1024 * 1024,
  /** Longest wait of GetLatest until its index has what is committed, ms. */
  latestTakeMsMax: 5_000,
  /** Longest wait of GetMetadata and WatchMetadata for a revision. */
  metadataWaitMsMax: 5_000,
  /** Names of changed topics that are remembered for watchers who come back. */
  metadataHistoryNamesMax: 10_000,
  /** Groups in one GetMetadata. */
  metadataGroupsMax: 1000,
  /**
   * A follower that has not caught up for this long leaves the in-sync replicas, ms. Less than the
   * 9 s after which clients leave a leader that answers nothing, and send everything again.
   */
  replicaLagMaxMs: 5_000,
  /** How often a broker looks for records that wait to be committed, ms. */
  commitLookMs: 250,
  /** Longest wait of a stop for other replicas to lead, ms. */
  handOverMsMax: 10_000,
  /** Partitions in one ListOffsets or DeleteRecords. */
  partitionsPerCallMax: 10_000,
} as const;
