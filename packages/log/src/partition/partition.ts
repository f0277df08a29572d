/**
 * One partition's log: offsets, sequences, epochs, and what of it counts. The commit loop and the readers
 * do the I/O.
 *
 * Every change has one order. Appends are synchronous. Truncation, retention, deletion of records and of
 * the partition run one after another (`#changes`); what they do to files runs one after another, too, and
 * in the same order as checkpoints (`#fileWork`). Work on files never waits for the commit loop: the
 * commit loop may be waiting for a checkpoint, and the checkpoint for the files.
 */
import { assert, ErrorCode, hasCode, type MillraceError, must } from "@millrace/errors";
import type { RecoveryPoint } from "@millrace/proto/storage";
import { encodeStoredPrefix, type HeaderFields, type TopicId, varintBytes } from "@millrace/record";
import type {
  AppendBatch,
  AppendDone,
  Appended,
  LogConfig,
  PartitionLog,
  PartitionState,
  ReadLimit,
  ReadResult,
  TimestampOffset,
} from "../api.ts";
import { bugs } from "../bugs.ts";
import type { LogContext } from "../context.ts";
import { isPassing, storageError } from "../files/disk-errors.ts";
import { Durability } from "../files/durability.ts";
import { keepOffline } from "../files/offline-file.ts";
import { partitionDirectory } from "../files/paths.ts";
import { WorkQueue } from "../files/work-queue.ts";
import { entryKinds, type JournalEntry } from "../journal/format.ts";
import { cutFiles, dropSegments, finishIndex, persistIndex } from "../segment/files.ts";
import type { Place } from "../segment/place.ts";
import { relativeOffsetMax, Segment, segmentBytesMax } from "../segment/segment.ts";
import { errors } from "./errors.ts";
import { EpochCache } from "./leader-epochs.ts";
import { ProducerState } from "./producer-state.ts";
import type { Producer } from "./producer-table.ts";
import { PartitionReader } from "./reader.ts";
import { isUnusual, planRetention } from "./retention.ts";
import type { PartitionTail } from "./tail-cache.ts";

/** A sparser index makes every fetch read more than this from the disk before its first record. */
export const indexIntervalBytesMax = 1024 * 1024;
/** Index rows of a segment that are written before the next checkpoint. */
const freshRowsMax = 512;
/** Pause before file work that found no room is tried again, milliseconds. */
const retryMs = 200;

/** What else a manager does for its partitions. */
export interface PartitionOwner {
  readonly context: LogContext;
  /** Fsyncs everything that has completed, and moves the recovery points. */
  checkpoint(): Promise<void>;
  /** The disk failed under a change of files: the directory takes no more writes. */
  failed(error: MillraceError): void;
}

/** Which life of a partition a directory holds; see PartitionMeta in side_files.proto. */
export interface Life {
  readonly incarnation: bigint;
  readonly firstRound: number;
}

/** What recovery found. */
export interface Restored {
  readonly segments: readonly Segment[];
  readonly logStartOffset: number;
  readonly endOffset: number;
  readonly highWatermark: number;
  /** Offset of a producer snapshot that holds exactly what was found. */
  readonly snapshotOffset: number | undefined;
}

export class Partition implements PartitionLog {
  readonly topicId: TopicId;
  readonly topic: string;
  readonly partition: number;
  readonly directory: string;
  readonly life: Life;
  readonly epochs = new EpochCache();
  readonly producers = new ProducerState();
  /** Of the names in the directory. */
  readonly names = new Durability();
  readonly #owner: PartitionOwner;
  readonly #tail: PartitionTail;
  readonly #reader: PartitionReader;
  readonly #listeners = new Set<() => void>();
  readonly #changes = new WorkQueue();
  readonly #fileWork = new WorkQueue();
  /** In order; the last one takes appends. Never empty. */
  readonly #segments: Segment[];
  #state: PartitionState = { kind: "online" };
  #config: LogConfig;
  #logStartOffset = 0;
  #highWatermark = 0;
  #logEndOffset = 0;
  /** Where what counts ends. */
  #acked: { readonly segment: Segment; readonly place: Place };
  #logStartBeingMoved = 0;
  #truncating = false;
  /** Truncations so far: what was read across one is void. */
  #cuts = 0;
  #deleted = false;
  /** Whether the `offline` file says why; undefined while the partition is not offline. */
  #offlineRecord: Promise<boolean> | undefined;
  #lastPoint: RecoveryPoint | undefined;
  /** Rounds fsync the segments: the journal must not have a batch without those before it. */
  #syncDirectly = false;
  /** Batches are journalled although the flush policy does not ask for it: recovery takes nothing from
   * the segments behind a truncation that no recovery point covers. */
  #journalAnyway = false;
  #promises = 0;
  #promisedFrom = 0;
  #flushing = false;
  #lastFlushMs = 0;
  #rowsBeingWritten = false;
  /** Retention's settings were changed: the next round may delete any amount. */
  #retentionAsked = false;
  /** Log start that the last round of retention announced and did not move to. */
  #announcedStart: number | undefined;
  #notifying = false;
  #notifyAgain = false;

  constructor(
    owner: PartitionOwner,
    topicId: TopicId,
    topic: string,
    partition: number,
    config: LogConfig,
    life: Life,
  ) {
    this.#owner = owner;
    this.topicId = topicId;
    this.topic = topic;
    this.partition = partition;
    this.life = life;
    this.#config = usable(config);
    this.directory = partitionDirectory(topicId, partition);
    const segment = new Segment(this.directory, 0);
    this.#segments = [segment];
    this.#acked = { segment, place: segment.end };
    this.#tail = owner.context.tails.partition();
    this.#reader = new PartitionReader(owner.context, this);
  }

  get state(): PartitionState {
    return this.#state;
  }
  get config(): LogConfig {
    return this.#config;
  }
  get segments(): readonly Segment[] {
    return this.#segments;
  }
  get active(): Segment {
    return must(this.#segments.at(-1), "active segment");
  }
  get logStartOffset(): number {
    return this.#logStartOffset;
  }
  get logEndOffset(): number {
    return this.#logEndOffset;
  }
  get highWatermark(): number {
    return this.#highWatermark;
  }
  /** End of the batches that are in the journal, or in their files where the policy asks for no more. */
  get ackedEndOffset(): number {
    return this.#acked.place.offset;
  }
  get ackedSegment(): Segment {
    return this.#acked.segment;
  }
  get ackedPosition(): number {
    return this.#acked.place.position;
  }
  get cuts(): number {
    return this.#cuts;
  }
  get leaderEpoch(): number {
    return this.epochs.latest;
  }
  get deleted(): boolean {
    return this.#deleted;
  }
  get syncDirectly(): boolean {
    return this.#syncDirectly;
  }
  /** An interval flush is under way: the bytes it covers are not durable yet. */
  get flushing(): boolean {
    return this.#flushing;
  }
  /** What the recovery points say of the partition. */
  get promises(): number {
    return this.#promises;
  }
  get lastPoint(): RecoveryPoint | undefined {
    return this.#lastPoint;
  }
  get sizeBytes(): number {
    let bytes = 0;
    for (const segment of this.#segments) bytes += segment.sizeBytes;
    return bytes;
  }
  get segmentCount(): number {
    return this.#segments.length;
  }
  get name(): string {
    return `${this.topic}-${this.partition}`;
  }

  /** Takes over what recovery found. */
  restore(found: Restored): void {
    const { segments, logStartOffset, endOffset, highWatermark } = found;
    this.#segments.splice(0, this.#segments.length, ...segments);
    this.epochs.truncateFromStart(logStartOffset);
    this.#logStartOffset = logStartOffset;
    this.#logStartBeingMoved = logStartOffset;
    this.#logEndOffset = endOffset;
    this.#acked = { segment: this.active, place: { ...this.active.end, offset: endOffset } };
    this.#highWatermark = Math.min(Math.max(highWatermark, logStartOffset), endOffset);
    if (bugs.wrongHighWatermark) this.#highWatermark = endOffset;
    this.producers.restored(found.snapshotOffset);
  }

  /** The recovery points say this of the partition from now on; `promises` as they were when the point's
   * picture was taken. */
  checkpointed(point: RecoveryPoint, promises: number): void {
    this.#lastPoint = point;
    if (promises !== this.#promises || Number(point.offset) < this.#promisedFrom) return;
    this.#syncDirectly = false;
    this.#journalAnyway = false;
  }

  /** What an acknowledgement promises has changed. Until a recovery point covers everything up to here, new
   * batches keep the stronger promise. */
  #promiseAnew(): void {
    this.#promises += 1;
    this.#promisedFrom = this.#logEndOffset;
  }

  append(batch: AppendBatch, leaderEpoch: number, done: AppendDone): Appended {
    this.#checkAppend(batch, leaderEpoch);
    const { info } = batch;
    const duplicate = this.producers.latest.check(info);
    if (duplicate !== undefined) {
      this.#queueMarker(done);
      const { baseOffset, appendTimeMs } = duplicate;
      const lastOffset = baseOffset + info.lastOffsetDelta;
      return { baseOffset, lastOffset, appendTimeMs, duplicate: true };
    }
    const appendTimeMs = this.#owner.context.env.clock.wallMs();
    const baseOffset = this.#logEndOffset;
    const lastOffset = baseOffset + info.lastOffsetDelta;
    const fields = { baseOffset, leaderEpoch, appendTimeMs, bodyCrc: batch.bodyCrc };
    const prefix = encodeStoredPrefix(fields, batch.body.length);
    const segment = this.#segmentFor(prefix.length + batch.body.length, lastOffset, appendTimeMs);
    this.epochs.assign(leaderEpoch, baseOffset);
    const producer = this.producers.latest.record(info, baseOffset, appendTimeMs);
    this.#queueBatch(segment, batch, fields, prefix, lastOffset, producer, done);
    return { baseOffset, lastOffset, appendTimeMs, duplicate: false };
  }

  async becomeLeader(leaderEpoch: number): Promise<void> {
    this.#refuseUnlessOnline();
    if (leaderEpoch < this.epochs.latest) throw this.#fenced(leaderEpoch);
    if (!this.epochs.assign(leaderEpoch, this.#logEndOffset)) {
      await this.#marker();
      return;
    }
    await this.#control(entryKinds.epochStart, this.#logEndOffset, leaderEpoch);
  }

  updateHighWatermark(value: number): void {
    const end = bugs.wrongHighWatermark ? this.#logEndOffset : Math.min(value, this.#logEndOffset);
    if (end <= this.#highWatermark) return;
    this.#highWatermark = end;
    this.notify();
  }

  onProgress(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  read(offset: number, maxBytes: number, limit: ReadLimit): Promise<ReadResult> {
    return this.#reader.read(offset, maxBytes, limit);
  }

  tryReadTail(offset: number, maxBytes: number, limit: ReadLimit): ReadResult | undefined {
    const endOffset = this.readEnd(offset, limit);
    const found =
      offset >= endOffset
        ? { chunks: [], bytes: 0, nextOffset: offset }
        : this.#tail.read(offset, endOffset, maxBytes);
    if (offset < endOffset) this.#owner.context.observer.onTailCache?.(found !== undefined);
    if (found === undefined) return undefined;
    const { highWatermark, logStartOffset } = this;
    return { ...found, highWatermark, logStartOffset };
  }

  offsetForTimestamp(timestampMs: number): Promise<TimestampOffset | undefined> {
    return this.#reader.offsetForTimestamp(timestampMs);
  }
  maxTimestamp(): Promise<TimestampOffset | undefined> {
    return this.#reader.maxTimestamp();
  }
  endOffsetForEpoch(leaderEpoch: number): { leaderEpoch: number; endOffset: number } | undefined {
    return this.epochs.endOffsetFor(leaderEpoch, this.#logEndOffset);
  }
  epochOfOffset(offset: number): number {
    return this.epochs.epochOf(offset);
  }

  async advanceLogStart(offset: number): Promise<void> {
    this.#refuseUnlessOnline();
    await this.#changes.run(async () => {
      this.#refuseUnlessOnline();
      if (offset > this.#highWatermark) {
        throw errors.pastHighWatermark(this.name, offset, this.#highWatermark);
      }
      await this.#moveLogStart(offset);
      await this.#dropBelowLogStart();
    });
  }

  async truncateTo(offset: number): Promise<void> {
    this.#refuseUnlessOnline();
    assert(offset >= this.#logStartOffset, "truncation stays above the log start");
    // Nothing is appended until everything is done, whatever waits in between.
    this.#truncating = true;
    try {
      await this.#changes.run(() => this.#truncate(offset));
    } finally {
      this.#truncating = false;
    }
  }

  updateConfig(config: LogConfig): void {
    const before = this.#config;
    this.#config = usable(config);
    const { retentionMs, retentionBytes, retentionEnabled } = config;
    if (
      retentionMs !== before.retentionMs ||
      retentionBytes !== before.retentionBytes ||
      retentionEnabled !== before.retentionEnabled
    ) {
      this.#retentionAsked = true;
    }
    const journalled = config.flushPolicy === "commit";
    if ((before.flushPolicy === "commit") === journalled) return;
    // Until a checkpoint has covered what was appended under the old policy.
    this.#syncDirectly ||= journalled;
    this.#journalAnyway ||= !journalled;
    this.#promiseAnew();
    this.#coverSoon();
  }

  /** A checkpoint that fails leaves it to the next one. */
  #coverSoon(): void {
    this.flush().catch((thrown: unknown) => {
      const { topic, partition } = this;
      this.#owner.context.env.logger.debug({ topic, partition, err: thrown }, "a checkpoint waits");
    });
  }

  runRetention(): Promise<number> {
    return this.#changes.run(() => this.#retain());
  }

  async flush(): Promise<void> {
    await this.#marker();
    await this.#owner.checkpoint();
  }

  /** Before a clean stop: the active segment's index ends with its largest timestamp. */
  async finishIndexes(): Promise<void> {
    if (this.active.sizeBytes === 0 || !this.active.created) return;
    try {
      await this.fileWork(() => finishIndex(this.#owner.context, this, this.active));
    } catch (thrown) {
      if (!hasCode(thrown, ErrorCode.PARTITION_OFFLINE)) throw thrown;
      this.takeOffline(thrown.message);
    }
  }

  /** Fsyncs what was written, when the flush policy is `interval` and the interval has passed. */
  async flushIfDue(nowMs: number): Promise<void> {
    const { flushPolicy, flushIntervalMs } = this.#config;
    if (flushPolicy !== "interval" || this.#state.kind !== "online" || this.#deleted) return;
    if (nowMs - this.#lastFlushMs < flushIntervalMs) return;
    this.#lastFlushMs = nowMs;
    this.#flushing = true;
    try {
      await this.fileWork(() => this.#syncFiles());
    } finally {
      this.#flushing = false;
    }
  }

  /** Runs a change of the partition's files after all that were asked for before. It must not wait for the
   * commit loop or for a checkpoint. */
  fileWork<T>(work: () => Promise<T>): Promise<T> {
    return this.#fileWork.run(work);
  }

  /** Resolves once no change and no work on files is under way. */
  async settled(): Promise<void> {
    await this.#changes.run(async () => {});
    await this.#fileWork.run(async () => {});
  }

  /** Fsyncs the names in the directory, if they changed. Only as file work. */
  async syncNames(): Promise<void> {
    if (bugs.noDirectoryFsync) return;
    const { disk } = this.#owner.context.env;
    await this.names.settle(() => disk.syncDirectory(this.directory));
  }

  /** Calls the listeners, each at most twice in a row: they may raise the high watermark. */
  notify(): void {
    if (this.#notifying) {
      this.#notifyAgain = true;
      return;
    }
    this.#notifying = true;
    do {
      this.#notifyAgain = false;
      for (const listener of this.#listeners) {
        try {
          listener();
        } catch (thrown) {
          this.#calledOut(thrown);
        }
      }
    } while (this.#notifyAgain);
    this.#notifying = false;
  }

  /** Damage was met: nothing is served any more, now and after a restart. `recorded`: the `offline` file
   * says so already. */
  takeOffline(reason: string, recorded = false): void {
    if (this.#state.kind === "offline") return;
    this.#state = { kind: "offline", reason };
    const { disk, logger } = this.#owner.context.env;
    const { topic, partition } = this;
    logger.error({ topic, partition, reason }, "partition is offline");
    this.#tail.clear();
    this.#offlineRecord = recorded
      ? Promise.resolve(true)
      : keepOffline(disk, this.directory, reason).then(
          () => true,
          (thrown: unknown) => {
            const text = "the offline file cannot be written: the recovery points keep the reason";
            logger.error({ topic, partition, err: thrown }, text);
            return false;
          },
        );
    this.notify();
  }

  /** Why the partition is offline, if its directory could not keep it; "" otherwise. Damage must be known
   * to the next start before the journal moves on. */
  async unrecordedOfflineReason(): Promise<string> {
    if (this.#offlineRecord === undefined || (await this.#offlineRecord)) return "";
    return this.#state.kind === "offline" ? this.#state.reason : "";
  }

  /** The disk failed: no more appends. */
  stop(reason: string): void {
    if (this.#state.kind !== "online") return;
    this.#state = { kind: "stopped", reason };
    this.notify();
  }

  /** Ends the partition, durably in the journal: nothing is served or appended from here on. Resolves once
   * the changes that were under way are over: with false when the journal could not take it. */
  async markDeleted(): Promise<boolean> {
    this.#deleted = true;
    this.#tail.clear();
    const recorded = await this.#changes.run(() =>
      this.#control(entryKinds.deleted, 0, 0).then(
        () => true,
        () => false,
      ),
    );
    this.#state = { kind: "offline", reason: "the partition was deleted" };
    this.notify();
    return recorded;
  }

  /** Deletes the segments that lie wholly below the log start. After a crash, which may bring back what
   * retention had removed. */
  dropBelowLogStart(): Promise<number> {
    return this.#changes.run(() => this.#dropBelowLogStart());
  }

  /** Offset up to which `limit` lets a reader see. Throws for an offset that is not in the log. */
  readEnd(offset: number, limit: ReadLimit): number {
    if (this.#deleted) throw errors.changing(this.name, "deleted");
    if (this.#state.kind === "offline") throw errors.offline(this.name, this.#state.reason);
    if (offset < this.#logStartOffset || offset > this.#logEndOffset) {
      throw errors.outOfRange(this.name, offset, this.#logStartOffset, this.#logEndOffset);
    }
    return limit === "high_watermark" ? this.#highWatermark : this.#logEndOffset;
  }

  #checkAppend(batch: AppendBatch, leaderEpoch: number): void {
    this.#refuseUnlessOnline();
    const { context } = this.#owner;
    if (leaderEpoch < this.epochs.latest) throw this.#fenced(leaderEpoch);
    const bytes = batch.body.length + batchOverheadBytes;
    const offsets = batch.info.lastOffsetDelta + 1;
    if (!(offsets >= 1 && offsets <= relativeOffsetMax)) {
      throw errors.tooManyOffsets(offsets, relativeOffsetMax);
    }
    if (this.#logEndOffset + offsets > Number.MAX_SAFE_INTEGER) {
      throw errors.noOffsetsLeft(this.name, this.#logEndOffset);
    }
    if (context.diskFull) throw errors.diskFull(context.config.diskReserveBytes);
    const bytesMax = Math.min(context.committer.payloadBytesMax, segmentBytesMax);
    if (bytes > bytesMax) throw errors.tooLarge(bytes);
    const { pendingBytes } = context.committer;
    if (pendingBytes > 0 && pendingBytes + bytes > context.config.pendingBytesMax) {
      throw errors.tooMuchPending(pendingBytes);
    }
  }

  #refuseUnlessOnline(): void {
    if (this.#owner.context.closing) throw errors.closing();
    if (this.#deleted) throw errors.changing(this.name, "deleted");
    if (this.#truncating) throw errors.changing(this.name, "truncated");
    if (this.#state.kind !== "online") throw errors.noWrites(this.name, this.#state);
  }

  #fenced(leaderEpoch: number): MillraceError {
    return errors.fenced(this.name, leaderEpoch, this.epochs.latest);
  }

  #queueBatch(
    segment: Segment,
    batch: AppendBatch,
    fields: HeaderFields,
    prefix: Buffer,
    lastOffset: number,
    producer: Producer | undefined,
    done: AppendDone,
  ): void {
    const { context } = this.#owner;
    const { body, info } = batch;
    const { baseOffset, appendTimeMs } = fields;
    const { maxTimestampMs } = info;
    const bytes = prefix.length + body.length;
    const { indexIntervalBytes } = this.#config;
    const taken = { lastOffset, bytes, maxTimestampMs, appendTimeMs };
    const position = segment.append(taken, indexIntervalBytes);
    const place = { offset: lastOffset + 1, position: position + bytes };
    this.#logEndOffset = place.offset;
    context.retentionClock.observe(maxTimestampMs);
    this.#tail.push({ baseOffset, lastOffset, prefix, body });
    const chunks = [prefix, body];
    // Behind the header's CRC stand the body's field (5 bytes), the body's tag and its length.
    const headerCrcAt = prefix.length - varintBytes(body.length) - 10;
    const headerCrc = prefix.readUInt32LE(headerCrcAt);
    const journalled = this.#config.flushPolicy === "commit" || this.#journalAnyway;
    const { topicId, partition } = this;
    const entry: JournalEntry = {
      kind: entryKinds.batch,
      topicId,
      partition,
      value: baseOffset,
      aux: headerCrc,
      payload: chunks,
      payloadBytes: bytes,
    };
    context.committer.add({
      target: this,
      write: { segment, position, chunks, bytes },
      ...(journalled ? { entry } : {}),
      complete: () => {
        this.#acked = { segment, place };
        if (producer !== undefined) this.producers.adopt(info.producerId, producer);
        this.#finish(done, undefined);
      },
      fail: (error) => this.#finish(done, error),
    });
    if (segment.index.fresh.length >= freshRowsMax) this.#writeRows(segment);
  }

  /** Index rows must not gather in memory until the next checkpoint. Nothing relies on them. */
  #writeRows(segment: Segment): void {
    if (this.#rowsBeingWritten) return;
    this.#rowsBeingWritten = true;
    const { context } = this.#owner;
    this.fileWork(async () => {
      await context.writes.written(segment);
      if (!this.#segments.includes(segment) || !segment.created) return;
      await persistIndex(context, this, segment, false);
    })
      .catch((thrown: unknown) => {
        context.env.logger.debug({ err: thrown, path: segment.path }, "index rows wait");
      })
      .finally(() => {
        this.#rowsBeingWritten = false;
      });
  }

  /** The segment that takes `bytes` more; a new one where the active one is full or old. */
  #segmentFor(bytes: number, lastOffset: number, nowMs: number): Segment {
    const { active } = this;
    const { segmentBytes } = this.#config;
    const roll = !active.fits(bytes, lastOffset, segmentBytes) || this.#isOld(active, nowMs);
    return roll ? this.#roll() : active;
  }

  #isOld(segment: Segment, nowMs: number): boolean {
    const { firstAppendMs = nowMs, sizeBytes } = segment;
    return sizeBytes > 0 && nowMs - firstAppendMs > this.#config.segmentMs;
  }

  #roll(): Segment {
    const segment = new Segment(this.directory, this.#logEndOffset);
    this.#segments.push(segment);
    this.producers.rolled(this.#logEndOffset);
    this.#owner.context.observer.onRoll?.();
    return segment;
  }

  #queueMarker(done: AppendDone): void {
    this.#owner.context.committer.add({
      target: this,
      complete: () => this.#finish(done, undefined),
      fail: (error) => this.#finish(done, error),
    });
  }

  /** Resolves once everything that was appended counts. */
  #marker(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#queueMarker((error) => (error === undefined ? resolve() : reject(error)));
    });
  }

  /** Journals a change that is no batch. `apply` runs once the journal has it, before anything else of the
   * partition counts. */
  #control(
    kind: JournalEntry["kind"],
    value: number,
    aux: number,
    apply: () => void = () => {},
  ): Promise<void> {
    const unjournalled = kind === entryKinds.truncate && bugs.truncationNotJournalled;
    const { topicId, partition } = this;
    const entry: JournalEntry = {
      kind,
      topicId,
      partition,
      value,
      aux,
      payload: [],
      payloadBytes: 0,
    };
    return new Promise((resolve, reject) => {
      this.#owner.context.committer.add({
        target: this,
        ...(unjournalled ? {} : { entry }),
        complete: () => {
          apply();
          resolve();
        },
        fail: reject,
      });
    });
  }

  #finish(done: AppendDone, error: Error | undefined): void {
    try {
      done(error);
    } catch (thrown) {
      this.#calledOut(thrown);
    }
  }

  /** A callback threw. A mistake of the caller's is not a failure of the disk. */
  #calledOut(thrown: unknown): void {
    const { topic, partition } = this;
    this.#owner.context.env.logger.error(
      { topic, partition, err: thrown },
      "a callback of the log threw: this is a mistake in the server",
    );
  }

  async #truncate(wanted: number): Promise<void> {
    await this.#marker();
    const offset = Math.max(wanted, this.#logStartOffset);
    const atEnd = offset === this.#logEndOffset && (this.epochs.latestStart ?? -1) >= offset;
    if (offset >= this.#logEndOffset && !atEnd) return;
    const cut = atEnd ? this.active.end : await this.#reader.placeOf(offset);
    let cutting: Promise<void> | undefined;
    await this.#control(entryKinds.truncate, cut.offset, 0, () => {
      cutting = this.#cutTo(cut);
    });
    await cutting;
    if (this.#config.flushPolicy !== "commit") this.#coverSoon();
  }

  /**
   * Takes back everything from a batch on. The memory follows at once, so that a checkpoint sees the new
   * end together with the round of the truncation; the files follow as file work, before any checkpoint
   * can claim them. The commit loop does not wait for it.
   */
  #cutTo(cut: Place): Promise<void> {
    const keep = this.#segments.findLastIndex(({ baseOffset }) => baseOffset <= cut.offset);
    const segment = must(this.#segments[keep], "segment of a truncation");
    const dropped = this.#segments.splice(keep + 1);
    segment.cutTo(cut);
    // A log that is cut below its start begins again there.
    const end = Math.max(cut.offset, this.#logStartOffset);
    if (end > cut.offset) this.#segments.push(new Segment(this.directory, end));
    this.#cuts += 1;
    this.#tail.clear();
    this.#logEndOffset = end;
    this.#acked = { segment: this.active, place: { ...this.active.end, offset: end } };
    this.#highWatermark = Math.min(this.#highWatermark, end);
    this.epochs.truncateFromEnd(end);
    this.producers.cut(end);
    // Recovery takes nothing behind a truncation from the segments: until a recovery point covers it, the
    // journal must hold everything that follows.
    this.#journalAnyway = true;
    if (this.#config.flushPolicy !== "commit") this.#syncDirectly = true;
    this.#promiseAnew();
    return this.fileWork(() => this.#cutFiles(segment, dropped, end));
  }

  /** The journal has the truncation: it must happen, however long the disk has no room. */
  async #cutFiles(segment: Segment, dropped: readonly Segment[], end: number): Promise<void> {
    const { context, failed } = this.#owner;
    for (;;) {
      try {
        await cutFiles(context, this, segment, dropped);
        this.names.changed();
        await this.producers.rebuild(context, this.directory, this.#segments, end);
        return;
      } catch (thrown) {
        if (hasCode(thrown, ErrorCode.PARTITION_OFFLINE)) {
          this.takeOffline(thrown.message);
          throw thrown;
        }
        if (!isPassing(thrown)) {
          const error = storageError(`${segment.path} cannot be cut`, thrown);
          failed(error);
          throw error;
        }
        await context.env.clock.sleep(retryMs);
      }
    }
  }

  async #retain(): Promise<number> {
    const { context } = this.#owner;
    if (this.#state.kind !== "online" || this.#deleted || this.#truncating || context.closing) {
      return 0;
    }
    const { clock } = context.env;
    if (this.#isOld(this.active, clock.wallMs())) this.#roll();
    const nowMs = context.retentionClock.read();
    if (nowMs !== undefined) {
      this.producers.expire(nowMs - this.#config.producerExpiryMs, clock.monoMs());
    }
    const plan = await planRetention(
      this,
      (segment, now) => this.#reader.ageTimeOf(segment, now),
      nowMs,
    );
    if (this.#mustAnnounce(plan)) return 0;
    const { startOffset } = plan;
    // Nothing was appended to the active segment meanwhile: it is all too old.
    if (plan.roll && this.active.endOffset === startOffset) this.#roll();
    if (startOffset > this.#logStartOffset) await this.#moveLogStart(startOffset);
    return this.#dropBelowLogStart();
  }

  /** Says what would go, and leaves it to the next round, unless somebody asked for it. */
  #mustAnnounce(plan: { startOffset: number; oldBytes: number; roll: boolean }): boolean {
    const { sizeBytes } = this;
    const asked = this.#retentionAsked;
    this.#retentionAsked = false;
    const announced = this.#announcedStart;
    this.#announcedStart = undefined;
    if (!isUnusual(plan, sizeBytes)) return false;
    if (asked || (announced !== undefined && plan.startOffset <= announced)) return false;
    this.#announcedStart = plan.startOffset;
    const { topic, partition, logStartOffset } = this;
    this.#owner.context.env.logger.warn(
      {
        topic,
        partition,
        from_offset: logStartOffset,
        to_offset: plan.startOffset,
        bytes: plan.oldBytes,
        retention_ms: this.#config.retentionMs,
      },
      "more than half of a partition is too old: the next check of retention deletes it",
    );
    return true;
  }

  /** Raises the log start, durably before it resolves. */
  async #moveLogStart(offset: number): Promise<void> {
    if (offset <= this.#logStartBeingMoved) {
      await this.#marker();
      return;
    }
    this.#logStartBeingMoved = offset;
    await this.#control(entryKinds.logStart, offset, 0, () => this.#applyLogStart(offset));
  }

  #applyLogStart(offset: number): void {
    if (offset <= this.#logStartOffset) return;
    this.#logStartOffset = offset;
    this.epochs.truncateFromStart(offset);
    this.#moveAckedOn();
  }

  /** A segment that counts as a whole and is no longer active is not where the end lies: recovery points
   * must not name a segment that goes. */
  #moveAckedOn(): void {
    const { segment, place } = this.#acked;
    const next = this.#segments[this.#segments.indexOf(segment) + 1];
    if (next === undefined || place.position !== segment.sizeBytes) return;
    this.#acked = { segment: next, place: { offset: place.offset, position: 0 } };
  }

  async #dropBelowLogStart(): Promise<number> {
    this.#moveAckedOn();
    let count = 0;
    for (const segment of this.#segments) {
      if (segment === this.#acked.segment || segment.endOffset > this.#logStartOffset) break;
      count += 1;
    }
    const dropped = this.#segments.splice(0, count);
    if (dropped.length > 0) {
      const { context } = this.#owner;
      const first = must(this.#segments[0], "first segment").baseOffset;
      await this.fileWork(async () => {
        // What they say of producers must not go with them.
        if (await this.producers.writeRolls(context, this.directory, first)) {
          this.names.changed();
          await this.syncNames();
        }
        await dropSegments(context, this, dropped);
      });
    }
    return dropped.length;
  }

  async #syncFiles(): Promise<void> {
    const { context } = this.#owner;
    for (const segment of [...this.#segments]) {
      if (!segment.created) continue;
      const sync = (): Promise<void> => context.files.with(segment, (file) => file.sync());
      await segment.durability.settle(sync);
    }
    await this.syncNames();
  }
}

/** Most bytes that the log puts before a body. */
const batchOverheadBytes = 64;

/** A configuration without values that are valid and ruinous. */
const usable = (config: LogConfig): LogConfig => ({
  ...config,
  indexIntervalBytes: Math.min(config.indexIntervalBytes, indexIntervalBytesMax),
});
