/**
 * The log engine as brokers see it. One `LogManager` per data directory, one `PartitionLog` per
 * partition. Decisions are deterministic; the world comes in through `Env`.
 *
 * Every mutation of a partition is synchronous in memory and takes effect in call order; I/O
 * follows in the same order. So a caller may check epochs and append in one synchronous section.
 */
import type { Env } from "@millrace/env";
import type { BodyInfo, TopicId } from "@millrace/record";
import type { BeginPass } from "./compaction/pass.ts";

/** When an append counts as done on this replica. */
export type FlushPolicy =
  /** Once it is in the fsynced commit journal (or its fsynced segment). The default. */
  | "commit"
  /** Once it is in the page cache; segments are fsynced every `flushIntervalMs`. */
  | "interval"
  /** Once it is in the page cache; fsynced when the system sees fit. */
  | "none";

/** Per-partition settings, all dynamic. */
export interface LogConfig {
  /** Roll before a segment would exceed this. Bytes, 1,024 to 2^31-1. */
  readonly segmentBytes: number;
  /** Roll a non-empty segment this long after its first append. Milliseconds. */
  readonly segmentMs: number;
  /** One offset- and time-index entry at most per so many bytes of log. */
  readonly indexIntervalBytes: number;
  /** Delete segments whose largest record timestamp is older. -1: never. Milliseconds. */
  readonly retentionMs: number;
  /** Delete oldest segments while the rest is at least this large. -1: never. Bytes. */
  readonly retentionBytes: number;
  /** False when cleanup.policy lacks `delete` (log start still applies). */
  readonly retentionEnabled: boolean;
  /** True when cleanup.policy has `compact`: of each key the latest record stays. */
  readonly compactionEnabled: boolean;
  /** A tombstone stays this long after the first cleaning that saw it the latest. Milliseconds. */
  readonly deleteRetentionMs: number;
  /** Segments with a younger record are not cleaned yet. Milliseconds. */
  readonly minCompactionLagMs: number;
  /** A log with an older record that was never cleaned is cleaned, and its segment closed. */
  readonly maxCompactionLagMs: number;
  /** A log is cleaned once a larger part of its bytes was not cleaned yet. 0 to 1. */
  readonly minCleanableDirtyRatio: number;
  /** From the rename to `.deleted` until the removal. Milliseconds. */
  readonly fileDeleteDelayMs: number;
  readonly flushPolicy: FlushPolicy;
  readonly flushIntervalMs: number;
  /** Forget a producer that has not appended for this long. Milliseconds. */
  readonly producerExpiryMs: number;
}

/** Settings of a data directory. */
export interface LogManagerConfig {
  /** Size of one journal file, bytes; a multiple of 4,096. */
  readonly journalFileBytes: number;
  /** Bound of all journal files, bytes; a full journal is back-pressure, never an unsynced ack. */
  readonly journalBytesMax: number;
  /** Bytes of recent batches kept in memory over all partitions. */
  readonly tailCacheBytesMax: number;
  /** Open file descriptors kept for segments. */
  readonly openFilesMax: number;
  /** Index bytes kept in memory over all partitions. */
  readonly indexCacheBytesMax: number;
  /** Smallest size and age at which a segment is closed, bytes and ms, whatever its topic says. */
  readonly segmentBytesMin: number;
  readonly segmentMsMin: number;
  /** Idempotent producers remembered over all partitions. */
  readonly producersMax: number;
  /** Free space below which appends are refused with DISK_FULL, bytes. Reads go on. */
  readonly diskReserveBytes: number;
  /** Recovery points are written at least this often while there is something new, milliseconds. */
  readonly checkpointIntervalMs: number;
  /** Retention and expiry run this often, milliseconds. */
  readonly retentionCheckIntervalMs: number;
  /** Compaction looks this often for logs to clean, milliseconds. */
  readonly cleanerIntervalMs: number;
  /** Memory of the keys that compaction tells apart at a time, bytes. */
  readonly cleanerMapBytesMax: number;
  /** Bytes per second that compaction reads and writes at most; 0: no limit. */
  readonly cleanerBytesPerSecondMax: number;
  /**
   * Bytes appended but not yet written and synced, over all partitions; more is ADMISSION_REJECTED.
   */
  readonly pendingBytesMax: number;
  /**
   * Bytes in the journal and not yet in their segment files, over all partitions; at more, appends
   * wait.
   */
  readonly unwrittenBytesMax: number;
  /** So long at most bytes wait for company before their segment is written, milliseconds. */
  readonly writeLingerMs: number;
  /** Segment files are fsynced in the background after about so many bytes, each. */
  readonly syncStepBytes: number;
}

/** Who a data directory belongs to; checked against its `meta`. */
export interface DirectoryIdentity {
  readonly clusterId: string;
  readonly brokerId: number;
}

/** A validated batch to append. */
export interface AppendBatch {
  /**
   * Serialized BatchBody. The log keeps a reference until it is in its files: nobody may change it
   * afterwards.
   */
  readonly body: Uint8Array;
  readonly bodyCrc: number;
  readonly info: BodyInfo;
  /** True: this process gave the records their timestamps, so they confirm no clock of it. */
  readonly ownTime?: boolean;
}

/** Called once, in append order per partition, when the append is done as the flush policy says, or
 * failed (STORAGE_ERROR, DISK_FULL). Never called synchronously from `append`. */
export type AppendDone = (error: Error | undefined) => void;

/** Result of an accepted append. */
export interface Appended {
  readonly baseOffset: number;
  readonly lastOffset: number;
  readonly appendTimeMs: number;
  /**
   * True: an idempotent retry of a batch that is in the log; offsets and time are the first one's.
   */
  readonly duplicate: boolean;
}

/** How far a reader may see. */
export type ReadLimit = "high_watermark" | "log_end";

/** Whole stored batches, as they lie in the segment (field 15 of Segment and of FetchResponse). */
export interface ReadResult {
  /** Chunks whose concatenation is zero or more stored batches. Views; not to be changed. */
  readonly chunks: readonly Uint8Array[];
  readonly bytes: number;
  /** Offset after the last batch returned, or the offset asked for when none is. */
  readonly nextOffset: number;
  /** As of the moment of the read. */
  readonly highWatermark: number;
  readonly logStartOffset: number;
}

/** A record's place in time. */
export interface TimestampOffset {
  readonly offset: number;
  readonly timestampMs: number;
  readonly leaderEpoch: number;
}

/** Why a partition does not take appends. */
export type PartitionState =
  | { readonly kind: "online" }
  /** Damage inside the durable prefix: neither reads nor appends. */
  | { readonly kind: "offline"; readonly reason: string }
  /**
   * The disk failed: no appends; reads of what was acknowledged go on, but for what a failed write
   * still owes a segment: STORAGE_ERROR until the next start, which takes it from the journal.
   */
  | { readonly kind: "stopped"; readonly reason: string };

/** One partition's log. All offsets are plain numbers below 2^53. */
export interface PartitionLog {
  readonly topicId: TopicId;
  readonly topic: string;
  readonly partition: number;
  readonly state: PartitionState;
  readonly config: LogConfig;
  /** First offset that can be read. Never falls except by `resetTo`. */
  readonly logStartOffset: number;
  /** Offset of the next append (LEO), assigned but maybe not yet written. */
  readonly logEndOffset: number;
  /**
   * End of what counts towards the high watermark on this replica: done as the flush policy says.
   */
  readonly ackedEndOffset: number;
  /** First offset that consumers cannot read. Never falls except by `truncateTo` and `resetTo`. */
  readonly highWatermark: number;
  /** Latest leader epoch that the log knows; 0 when it knows none. */
  readonly leaderEpoch: number;
  /** Segment bytes, written or about to be. */
  readonly sizeBytes: number;
  readonly segmentCount: number;

  /** Assigns offsets, checks sequences (2.3 of Kafka's rules), queues the write. Throws, before any
   * effect: FENCED_LEADER_EPOCH (epoch below the log's), OUT_OF_ORDER_SEQUENCE,
   * INVALID_PRODUCER_EPOCH, DISK_FULL, STORAGE_ERROR, PARTITION_OFFLINE, ADMISSION_REJECTED. For a
   * duplicate `done` is called once the original is done. */
  append(batch: AppendBatch, leaderEpoch: number, done: AppendDone): Appended;
  /**
   * Takes over batches that the leader of `leaderEpoch` has appended: whole stored batches, the
   * first one at the log end. Returns the new log end. Throws, before any effect: CORRUPT_MESSAGE
   * for whatever is not exactly that (a CRC, an offset, an epoch that falls or is above that of the
   * leader), FENCED_LEADER_EPOCH, DISK_FULL, STORAGE_ERROR, PARTITION_OFFLINE, ADMISSION_REJECTED.
   * `done` is called once, when the last of them is done; within the call order of `append`. The
   * log keeps references to `batches`, as to the body of an append.
   */
  appendReplicated(batches: Uint8Array, leaderEpoch: number, done: AppendDone): number;
  /** Records (epoch, LEO) durably; must resolve before the leader serves (KIP-101). */
  becomeLeader(leaderEpoch: number): Promise<void>;
  /** Raises the high watermark to min(value, ackedEndOffset… as the caller computed it, LEO). Lower
   * values are ignored. */
  updateHighWatermark(value: number): void;
  /**
   * Called after `ackedEndOffset` or `highWatermark` moved or the state changed; at most one call
   * per event-loop turn. Returns how to stop.
   */
  onProgress(listener: () => void): () => void;
  /**
   * Whole batches from `offset`, the first one even if it is larger than `maxBytes`. Throws
   * OFFSET_OUT_OF_RANGE, PARTITION_OFFLINE (also when it meets damage), CANCELLED never. Body CRCs
   * of what comes from disk are checked: damaged bytes are never returned.
   */
  read(offset: number, maxBytes: number, limit: ReadLimit): Promise<ReadResult>;
  /** The same without I/O: undefined unless the tail cache has it (or there is nothing to read). */
  tryReadTail(offset: number, maxBytes: number, limit: ReadLimit): ReadResult | undefined;
  /** First readable record with timestamp ≥ the one given. */
  offsetForTimestamp(timestampMs: number): Promise<TimestampOffset | undefined>;
  /** First readable record with the largest timestamp. */
  maxTimestamp(): Promise<TimestampOffset | undefined>;
  /**
   * End offset of a leader epoch (KIP-101, KIP-279), or undefined when it is newer than the log's.
   */
  endOffsetForEpoch(leaderEpoch: number): { leaderEpoch: number; endOffset: number } | undefined;
  /** Leader epoch of an offset in the log. */
  epochOfOffset(offset: number): number;
  /** Moves the log start forward, durably (journal entry) before it resolves; at most to the high
   * watermark: OFFSET_OUT_OF_RANGE. */
  advanceLogStart(offset: number): Promise<void>;
  /**
   * Cuts everything at or after `offset` (a batch boundary or inside: the whole batch goes),
   * durably before it resolves. Never below the log start. Lowers the high watermark if it must.
   */
  truncateTo(offset: number): Promise<void>;
  /**
   * Begins anew, empty, at `startOffset`, wherever the log was, durably before it resolves: log
   * start, log end and high watermark are `startOffset`, and no batch, epoch or producer of before
   * is known. For a follower whose log the leader's cannot follow; as with `truncateTo`, appends
   * are refused until it resolves, and the caller knows that it does not lead. Throws, before any
   * effect: INVALID_REQUEST for what is no offset, STORAGE_ERROR, PARTITION_OFFLINE.
   */
  resetTo(startOffset: number): Promise<void>;
  updateConfig(config: LogConfig): void;
  /** Runs retention now; returns how many segments went. */
  runRetention(): Promise<number>;
  /**
   * Cleans the log now where compaction is enabled and something may be cleaned, whatever the dirty
   * ratio is; resolves to whether any record went. Cleanings run one after another.
   */
  runCompaction(): Promise<boolean>;
  /** Writes and fsyncs everything; moves the recovery point to the end. */
  flush(): Promise<void>;
}

/** What happened to a data directory at open. Counts are for logs, metrics and tests. */
export interface RecoveryReport {
  readonly clean: boolean;
  readonly partitions: number;
  readonly segmentBytesScanned: number;
  readonly journalRounds: number;
  readonly journalEntriesReplayed: number;
  readonly bytesCut: number;
  readonly partitionsOffline: number;
  readonly indexesRebuilt: number;
  readonly durationMs: number;
}

/**
 * What to observe of a manager; the broker turns it into metrics. All optional, all synchronous.
 */
export interface LogObserver {
  /** A commit: partitions in it, batches, bytes, time of the fdatasync and of the whole round. */
  onCommit?(batches: number, bytes: number, syncMs: number, roundMs: number): void;
  onFsyncError?(error: Error): void;
  onRoll?(): void;
  onSegmentDeleted?(bytes: number): void;
  onTailCache?(hit: boolean): void;
  /** A batch stayed out of the tail cache: the oldest ones in it are still to be written. */
  onTailSkipped?(): void;
  /** There were too many producers, over all partitions: those idle longest were forgotten. */
  onProducersForgotten?(count: number): void;
  onDiskFull?(full: boolean): void;
  /** A log was cleaned: bytes read and written on the way, and how long it took. */
  onCleaned?(readBytes: number, writtenBytes: number, durationMs: number): void;
}

/** Present sizes of bounded things. */
export interface LogGauges {
  readonly journalBytesUsed: number;
  readonly journalBytesMax: number;
  readonly tailCacheBytes: number;
  readonly tailCacheBytesMax: number;
  readonly pendingBytes: number;
  readonly pendingBytesMax: number;
  readonly unwrittenBytes: number;
  readonly unwrittenBytesMax: number;
  readonly producers: number;
  readonly producersMax: number;
  readonly openFiles: number;
  readonly openFilesMax: number;
  readonly indexCacheBytes: number;
  readonly indexCacheBytesMax: number;
  /** Largest part of a log's bytes that was to be cleaned, at the last look. */
  readonly cleanerDirtyRatioMax: number;
  /** Part of the memory for keys that the last cleaning took. */
  readonly cleanerMapUsed: number;
  /** Logs that are not cleaned any more, because cleaning them failed. */
  readonly cleanerFailedLogs: number;
  /** As of the last look; undefined before it, and where there is no reserve to look for. */
  readonly diskFreeBytes: number | undefined;
  readonly diskReserveBytes: number;
}

/** A data directory. */
export interface LogManager {
  readonly identity: DirectoryIdentity;
  /** Random, 16 bytes, made with the directory: another one means another disk. */
  readonly directoryId: Uint8Array;
  readonly recovery: RecoveryReport;
  /** Partitions in no particular order. */
  partitions(): Iterable<PartitionLog>;
  get(topicId: TopicId, partition: number): PartitionLog | undefined;
  /** Makes the directory (durably) and the log; returns the one that is there when it exists. */
  create(
    topicId: TopicId,
    topic: string,
    partition: number,
    config: LogConfig,
  ): Promise<PartitionLog>;
  /** Deletes a partition: journal entry, rename, removal after `fileDeleteDelayMs`. */
  delete(topicId: TopicId, partition: number): Promise<void>;
  gauges(): LogGauges;
  /** Back-pressure: resolves when pending bytes fall below their bound. */
  waitForPendingRoom(): Promise<void>;
  /**
   * Stops. `clean`: flushes everything and writes the clean marker; otherwise just lets go (tests).
   */
  close(clean: boolean): Promise<void>;
}

/** How a manager is opened; see `openLogManager`. */
export interface LogManagerOptions {
  readonly env: Env;
  readonly identity: DirectoryIdentity;
  readonly config: LogManagerConfig;
  /** Config of a partition found on disk, asked for at open. */
  readonly configFor: (topicId: TopicId, topic: string, partition: number) => LogConfig;
  readonly observer?: LogObserver;
  /** Cleans large logs, such as in a thread; without it the event loop does. */
  readonly beginCleaning?: BeginPass | undefined;
}
