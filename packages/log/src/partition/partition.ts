/** One partition's log: offsets, sequences, epochs, and what of it counts. I/O is the committer's and the readers'. */
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
import { partitionDirectory } from "../files/paths.ts";
import { entryKinds, type JournalEntry } from "../journal/format.ts";
import { dropSegments, finishIndex, truncateFiles } from "../segment/files.ts";
import { Segment } from "../segment/segment.ts";
import { errors } from "./errors.ts";
import { EpochCache } from "./leader-epochs.ts";
import { dropSnapshotsAbove, rebuildProducers } from "./producer-snapshots.ts";
import { type Producer, ProducerTable } from "./producer-table.ts";
import { PartitionReader } from "./reader.ts";
import { retentionStart } from "./retention.ts";
import type { PartitionTail } from "./tail-cache.ts";

const relativeOffsetMax = 0xffff_ffff;
const segmentBytesHardMax = 0x7fff_ffff;

/** What else a manager does for its partitions. */
export interface PartitionOwner {
  readonly context: LogContext;
  /** Fsyncs everything that has completed, and moves the recovery points. */
  checkpoint(): Promise<void>;
}

export class Partition implements PartitionLog {
  readonly topicId: TopicId;
  readonly topic: string;
  readonly partition: number;
  readonly directory: string;
  /** In order; the last one takes appends. Never empty. */
  readonly segments: Segment[];
  readonly epochs = new EpochCache();
  /** As of the log end: decides about the next append. */
  readonly producers = new ProducerTable();
  /** As of `writtenEnd`: what snapshots hold. */
  readonly completedProducers = new ProducerTable();
  readonly #owner: PartitionOwner;
  readonly #tail: PartitionTail;
  readonly #reader: PartitionReader;
  readonly #listeners = new Set<() => void>();
  state: PartitionState = { kind: "online" };
  config: LogConfig;
  logStartOffset = 0;
  highWatermark = 0;
  /** End of the batches that are in their segment files and, where the policy says so, in the journal. */
  ackedEndOffset = 0;
  /** Where `ackedEndOffset` lies. */
  ackedSegment: Segment;
  ackedPosition = 0;
  syncDirectly = false;
  /** An interval flush is under way: what it has taken on is not durable yet. */
  flushing = false;
  /** Names in the directory changed since its last fsync. */
  directoryDirty = false;
  /** Index files were cut and must be fsynced before the recovery point moves. */
  indexesCut: Segment[] = [];
  /** Offset of the producer snapshot on disk. */
  snapshotOffset: number | undefined;
  /** What the recovery points say of the partition, or will once the checkpoint under way is done. */
  lastPoint: RecoveryPoint | undefined;
  deleted = false;
  #logEndOffset = 0;
  #logStartBeingMoved = 0;
  #truncating = false;
  #exclusive: Promise<void> = Promise.resolve();
  #lastFlushMs = 0;
  #notifying = false;
  #notifyAgain = false;

  constructor(
    owner: PartitionOwner,
    topicId: TopicId,
    topic: string,
    partition: number,
    config: LogConfig,
  ) {
    this.#owner = owner;
    this.topicId = topicId;
    this.topic = topic;
    this.partition = partition;
    this.config = config;
    this.directory = partitionDirectory(topicId, partition);
    this.ackedSegment = new Segment(this.directory, 0);
    this.segments = [this.ackedSegment];
    this.#tail = owner.context.tails.partition();
    this.#reader = new PartitionReader(owner.context, this);
  }
  get logEndOffset(): number {
    return this.#logEndOffset;
  }
  get leaderEpoch(): number {
    return this.epochs.latest;
  }
  get sizeBytes(): number {
    let bytes = 0;
    for (const segment of this.segments) bytes += segment.sizeBytes;
    return bytes;
  }
  get segmentCount(): number {
    return this.segments.length;
  }
  get name(): string {
    return `${this.topic}-${this.partition}`;
  }
  get active(): Segment {
    return must(this.segments.at(-1), "active segment");
  }

  /** A segment of this partition that is not in its list yet. */
  newSegment(baseOffset: number): Segment {
    return new Segment(this.directory, baseOffset);
  }

  /** What recovery found. */
  restore(found: {
    readonly segments: readonly Segment[];
    readonly logStartOffset: number;
    readonly endOffset: number;
    readonly highWatermark: number;
  }): void {
    this.segments.splice(0, this.segments.length, ...found.segments);
    this.logStartOffset = found.logStartOffset;
    this.#logStartBeingMoved = found.logStartOffset;
    this.#logEndOffset = found.endOffset;
    this.ackedEndOffset = found.endOffset;
    this.ackedSegment = this.active;
    this.ackedPosition = this.active.sizeBytes;
    this.highWatermark = Math.min(
      Math.max(found.highWatermark, found.logStartOffset),
      found.endOffset,
    );
    if (bugs.wrongHighWatermark) this.highWatermark = found.endOffset;
    this.completedProducers.copyFrom(this.producers);
  }

  append(batch: AppendBatch, leaderEpoch: number, done: AppendDone): Appended {
    this.#checkAppend(batch, leaderEpoch);
    const { info } = batch;
    const duplicate = this.producers.check(info);
    if (duplicate !== undefined) {
      this.#queueMarker(done);
      const { baseOffset, appendTimeMs } = duplicate;
      const lastOffset = baseOffset + info.lastOffsetDelta;
      return { baseOffset, lastOffset, appendTimeMs, duplicate: true };
    }
    const { context } = this.#owner;
    const appendTimeMs = context.env.clock.wallMs();
    const baseOffset = this.#logEndOffset;
    const lastOffset = baseOffset + info.lastOffsetDelta;
    const fields = { baseOffset, leaderEpoch, appendTimeMs, bodyCrc: batch.bodyCrc };
    const prefix = encodeStoredPrefix(fields, batch.body.length);
    this.epochs.assign(leaderEpoch, baseOffset);
    const producer = this.producers.record(info, baseOffset, appendTimeMs);
    this.#queueBatch(batch, fields, prefix, lastOffset, producer, done);
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
    if (end <= this.highWatermark) return;
    this.highWatermark = end;
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
    return found === undefined ? undefined : this.#result(found);
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
    if (offset > this.highWatermark) {
      throw errors.pastHighWatermark(this.name, offset, this.highWatermark);
    }
    await this.moveLogStart(offset);
    await this.dropBelowLogStart();
  }

  async truncateTo(offset: number): Promise<void> {
    this.#refuseUnlessOnline();
    assert(offset >= this.logStartOffset, "truncation stays above the log start");
    assert(!this.#truncating, "one truncation at a time");
    this.#truncating = true;
    try {
      await this.#marker();
      if (offset >= this.#logEndOffset) return;
      const cut = await this.#reader.batchAt(offset);
      await this.#control(entryKinds.truncate, cut.offset, 0, () => this.#cut(cut));
      // Recovery takes nothing after a truncation from the segments. So it must be behind the recovery
      // point before anything follows that the journal does not hold.
      if (this.config.flushPolicy !== "commit") await this.#owner.checkpoint();
    } finally {
      this.#truncating = false;
    }
  }

  updateConfig(config: LogConfig): void {
    const weaker = this.config.flushPolicy !== "commit" && config.flushPolicy === "commit";
    this.config = config;
    // What was acknowledged from the page cache is not in the journal: until a checkpoint has fsynced
    // it, rounds fsync the segments themselves, so that the journal never has a batch without those before it.
    if (!weaker || this.syncDirectly) return;
    this.syncDirectly = true;
    this.flush().then(
      () => {
        this.syncDirectly = false;
      },
      () => {},
    );
  }

  async runRetention(): Promise<number> {
    if (this.state.kind !== "online" || this.deleted) return 0;
    const nowMs = this.#owner.context.env.clock.wallMs();
    this.producers.expire(nowMs - this.config.producerExpiryMs);
    this.completedProducers.expire(nowMs - this.config.producerExpiryMs);
    this.#rollIfOld(nowMs);
    const { startOffset, roll } = await retentionStart(
      this,
      (segment) => this.#reader.maxTimestampOf(segment),
      nowMs,
    );
    if (roll && this.active.endOffset === startOffset) this.#roll();
    if (startOffset > this.logStartOffset) await this.moveLogStart(startOffset);
    return this.dropBelowLogStart();
  }

  async flush(): Promise<void> {
    await this.#marker();
    await this.#owner.checkpoint();
  }

  /** Before a clean stop: the active segment's index ends with its largest timestamp. */
  async finishIndexes(): Promise<void> {
    if (this.active.sizeBytes === 0 || !this.active.created) return;
    try {
      await this.exclusively(() => finishIndex(this.#owner.context, this, this.active));
    } catch (thrown) {
      if (!hasCode(thrown, ErrorCode.PARTITION_OFFLINE)) throw thrown;
      this.takeOffline(thrown.message);
    }
  }

  /** Fsyncs what was written, when the flush policy is `interval` and the interval has passed. */
  async flushIfDue(nowMs: number): Promise<void> {
    const { flushPolicy, flushIntervalMs } = this.config;
    if (flushPolicy !== "interval" || this.state.kind !== "online" || this.deleted) return;
    if (nowMs - this.#lastFlushMs < flushIntervalMs) return;
    this.#lastFlushMs = nowMs;
    this.flushing = true;
    try {
      await this.exclusively(() => this.#syncFiles());
    } finally {
      this.flushing = false;
    }
  }

  async #syncFiles(): Promise<void> {
    const { context } = this.#owner;
    for (const segment of [...this.segments]) {
      if (!segment.dirty || !segment.created) continue;
      segment.dirty = false;
      await context.files.with(segment.path, false, (file) => file.sync());
    }
    await this.syncDirectory();
  }

  /** Fsyncs the names in the directory, if they changed. Only under `exclusively`. */
  async syncDirectory(): Promise<void> {
    if (!this.directoryDirty || bugs.noDirectoryFsync) return;
    this.directoryDirty = false;
    await this.#owner.context.env.disk.syncDirectory(this.directory);
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
      for (const listener of this.#listeners) listener();
    } while (this.#notifyAgain);
    this.#notifying = false;
  }

  /** Damage was met: nothing is served any more. */
  takeOffline(reason: string): void {
    if (this.state.kind === "offline") return;
    this.state = { kind: "offline", reason };
    this.#owner.context.env.logger.error(
      { topic: this.topic, partition: this.partition, reason },
      "partition is offline",
    );
    this.#tail.clear();
    this.notify();
  }

  /** The disk failed: no more appends. */
  stop(reason: string): void {
    if (this.state.kind !== "online") return;
    this.state = { kind: "stopped", reason };
    this.notify();
  }

  /** Journals the end of the partition; no more appends from here on. */
  async markDeleted(): Promise<void> {
    if (this.state.kind === "online") {
      const recorded = this.#control(entryKinds.deleted, 0, 0);
      this.deleted = true;
      await recorded;
    }
    this.deleted = true;
    this.state = { kind: "offline", reason: "the partition was deleted" };
    this.#tail.clear();
    this.notify();
  }

  /** Raises the log start, durably before it resolves. */
  async moveLogStart(offset: number): Promise<void> {
    if (offset <= this.#logStartBeingMoved) {
      await this.#marker();
      return;
    }
    this.#logStartBeingMoved = offset;
    await this.#control(entryKinds.logStart, offset, 0);
  }

  /** Deletes the segments that lie wholly below the log start; returns how many. */
  async dropBelowLogStart(): Promise<number> {
    this.#moveAckedOn();
    let count = 0;
    for (const segment of this.segments) {
      if (segment === this.ackedSegment || segment.endOffset > this.logStartOffset) break;
      count += 1;
    }
    const dropped = this.segments.splice(0, count);
    const drop = (): Promise<void> => dropSegments(this.#owner.context, this, dropped);
    if (dropped.length > 0) await this.exclusively(drop);
    return dropped.length;
  }

  /** Runs changes of index files one after another. */
  async exclusively<T>(run: () => Promise<T>): Promise<T> {
    const before = this.#exclusive;
    const mine = Promise.withResolvers<void>();
    this.#exclusive = mine.promise;
    await before;
    try {
      return await run();
    } finally {
      mine.resolve();
    }
  }

  /** A segment that is wholly acknowledged and no longer active is not where the end lies. */
  #moveAckedOn(): void {
    const index = this.segments.indexOf(this.ackedSegment);
    const next = this.segments[index + 1];
    if (next === undefined || this.ackedPosition !== this.ackedSegment.sizeBytes) return;
    this.ackedSegment = next;
    this.ackedPosition = 0;
  }

  #checkAppend(batch: AppendBatch, leaderEpoch: number): void {
    this.#refuseUnlessOnline();
    const { context } = this.#owner;
    if (leaderEpoch < this.epochs.latest) throw this.#fenced(leaderEpoch);
    const bytes = batch.body.length;
    if (context.diskFull) throw errors.diskFull(context.config.diskReserveBytes);
    if (bytes + 64 > context.committer.payloadBytesMax) throw errors.tooLarge(bytes);
    const { pendingBytes } = context.committer;
    if (pendingBytes > 0 && pendingBytes + bytes > context.config.pendingBytesMax) {
      throw errors.tooMuchPending(pendingBytes);
    }
  }

  #refuseUnlessOnline(): void {
    if (this.deleted) throw errors.changing(this.name, "deleted");
    if (this.#truncating) throw errors.changing(this.name, "truncated");
    if (this.state.kind !== "online") throw errors.noWrites(this.name, this.state);
  }

  #fenced(leaderEpoch: number): MillraceError {
    return errors.fenced(this.name, leaderEpoch, this.epochs.latest);
  }

  /** Offset up to which `limit` lets a reader see. Throws for an offset that is not in the log. */
  readEnd(offset: number, limit: ReadLimit): number {
    if (this.state.kind === "offline") throw errors.offline(this.name, this.state.reason);
    if (offset < this.logStartOffset || offset > this.#logEndOffset) {
      throw errors.outOfRange(this.name, offset, this.logStartOffset, this.#logEndOffset);
    }
    return limit === "high_watermark" ? this.highWatermark : this.#logEndOffset;
  }

  #result(found: { chunks: readonly Uint8Array[]; bytes: number; nextOffset: number }): ReadResult {
    const { highWatermark, logStartOffset } = this;
    return { ...found, highWatermark, logStartOffset };
  }

  #queueBatch(
    batch: AppendBatch,
    fields: HeaderFields,
    prefix: Buffer,
    lastOffset: number,
    producer: Producer | undefined,
    done: AppendDone,
  ): void {
    const { context } = this.#owner;
    const { body, info } = batch;
    const bytes = prefix.length + body.length;
    const segment = this.#segmentFor(bytes, lastOffset, fields.appendTimeMs);
    const position = segment.sizeBytes;
    segment.append(lastOffset, bytes, info.maxTimestampMs, this.config.indexIntervalBytes);
    this.#logEndOffset = lastOffset + 1;
    const { baseOffset } = fields;
    this.#tail.push({ baseOffset, lastOffset, prefix, body });
    const chunks = [prefix, body];
    const journalled = this.config.flushPolicy === "commit";
    // Behind the header's CRC stand the body's field (5 bytes), the body's tag and its length.
    const headerCrcAt = prefix.length - varintBytes(body.length) - 10;
    context.committer.add({
      target: this,
      write: { segment, position, chunks, bytes },
      ...(journalled
        ? {
            entry: this.#entry(
              entryKinds.batch,
              baseOffset,
              prefix.readUInt32LE(headerCrcAt),
              chunks,
              bytes,
            ),
          }
        : {}),
      complete: () => {
        this.ackedEndOffset = lastOffset + 1;
        this.ackedSegment = segment;
        this.ackedPosition = position + bytes;
        if (producer !== undefined) this.completedProducers.adopt(info.producerId, producer);
        done(undefined);
      },
      fail: done,
    });
  }

  #entry(
    kind: JournalEntry["kind"],
    value: number,
    aux: number,
    payload: readonly Uint8Array[] = [],
    payloadBytes = 0,
  ): JournalEntry {
    const { topicId, partition } = this;
    return { kind, topicId, partition, value, aux, payload, payloadBytes };
  }

  /** The segment that takes `bytes` more; a new one where the rules of semantics 2.2 ask for it. */
  #segmentFor(bytes: number, lastOffset: number, nowMs: number): Segment {
    let segment = this.active;
    const full =
      segment.sizeBytes + bytes > Math.min(this.config.segmentBytes, segmentBytesHardMax);
    const old =
      segment.firstAppendMs !== undefined && nowMs - segment.firstAppendMs > this.config.segmentMs;
    const far = lastOffset - segment.baseOffset > relativeOffsetMax;
    if (segment.sizeBytes > 0 && (full || old || far)) segment = this.#roll();
    segment.firstAppendMs ??= nowMs;
    return segment;
  }

  #roll(): Segment {
    const segment = new Segment(this.directory, this.#logEndOffset);
    this.segments.push(segment);
    this.#owner.context.observer.onRoll?.();
    return segment;
  }

  #rollIfOld(nowMs: number): void {
    const { firstAppendMs = nowMs, sizeBytes } = this.active;
    if (sizeBytes > 0 && nowMs - firstAppendMs > this.config.segmentMs) this.#roll();
  }

  #queueMarker(done: AppendDone): void {
    this.#owner.context.committer.add({
      target: this,
      complete: () => done(undefined),
      fail: done,
    });
  }

  #marker(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#queueMarker((error) => (error === undefined ? resolve() : reject(error)));
    });
  }

  /** Journals a change that is no batch. `effect` changes files once the journal has it. */
  #control(
    kind: JournalEntry["kind"],
    value: number,
    aux: number,
    effect?: () => Promise<void>,
  ): Promise<void> {
    const unjournalled = kind === entryKinds.truncate && bugs.truncationNotJournalled;
    return new Promise((resolve, reject) => {
      this.#owner.context.committer.add({
        target: this,
        ...(unjournalled ? {} : { entry: this.#entry(kind, value, aux) }),
        ...(effect === undefined ? {} : { effect }),
        complete: () => {
          if (kind === entryKinds.logStart) this.#applyLogStart(value);
          resolve();
        },
        fail: reject,
      });
    });
  }

  #applyLogStart(offset: number): void {
    if (offset <= this.logStartOffset) return;
    this.logStartOffset = offset;
    this.epochs.truncateFromStart(offset);
    this.producers.dropBelow(offset);
    this.completedProducers.dropBelow(offset);
  }

  /** Takes back everything from a batch on: memory and files. The journal has it already. */
  async #cut(cut: { readonly offset: number; readonly position: number }): Promise<void> {
    const keep = this.segments.findLastIndex((segment) => segment.baseOffset <= cut.offset);
    const segment = must(this.segments[keep], "segment of a truncation");
    const dropped = this.segments.splice(keep + 1);
    this.#tail.clear();
    const { context } = this.#owner;
    await this.exclusively(() => truncateFiles(context, this, segment, cut, dropped));
    await dropSnapshotsAbove(context.env.disk, this.directory, cut.offset);
    await rebuildProducers(context, this, cut.offset);
    // One synchronous step: a checkpoint must not see the new end with the old producers.
    this.#logEndOffset = cut.offset;
    this.ackedEndOffset = cut.offset;
    this.ackedSegment = segment;
    this.ackedPosition = cut.position;
    this.highWatermark = Math.min(this.highWatermark, cut.offset);
    this.epochs.truncateFromEnd(cut.offset);
    this.completedProducers.copyFrom(this.producers);
  }
}
