/**
 * One partition's log: offsets, sequences, epochs, and what counts. The commit loop and readers do
 * the I/O. Every change has one order. Appends are synchronous. Truncation, retention, cleaning and
 * deletions run one after another (`#changes`); what they do to files runs one after another, too,
 * in one order with checkpoints (`files`).
 */
import { assert, type MillraceError } from "@millrace/errors";
import type { RecoveryPoint } from "@millrace/proto/storage";
import { encodeStoredPrefix, type TopicId } from "@millrace/record";
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
import type { Durability } from "../files/durability.ts";
import { partitionDirectory } from "../files/paths.ts";
import { WorkQueue } from "../files/work-queue.ts";
import type { Place } from "../segment/place.ts";
import type { Segment } from "../segment/segment.ts";
import { Segments } from "../segment/segments.ts";
import { checkAppendLimits, checkReplicatedLimits, checkStart } from "./append-limits.ts";
import { CleanedLog } from "./cleaned-log.ts";
import { errors } from "./errors.ts";
import { FlushPromises } from "./flush-promises.ts";
import { JournalledChanges } from "./journalled-changes.ts";
import { EpochCache } from "./leader-epochs.ts";
import { OfflineRecord } from "./offline-record.ts";
import { PartitionFiles } from "./partition-files.ts";
import { pointAnewAt } from "./point-anew.ts";
import { ProducerState } from "./producer-state.ts";
import { mistakeOf, Progress } from "./progress.ts";
import { PartitionReader } from "./reader.ts";
import { type HeadedBatch, headerCrcOf, parseReplicated } from "./replicated.ts";
import { keepsLess, RetentionAnnouncements, retain } from "./retention.ts";
import type { PartitionTail } from "./tail-cache.ts";
import { type Life, type PartitionOwner, pointCutTo, type Restored, usable } from "./types.ts";

/** Index rows of a segment that are written before the next checkpoint. */
const freshRowsMax = 512;

export class Partition implements PartitionLog {
  readonly topicId: TopicId;
  readonly topic: string;
  readonly partition: number;
  readonly directory: string;
  readonly life: Life;
  readonly epochs = new EpochCache();
  readonly producers: ProducerState;
  readonly files: PartitionFiles;
  readonly offlineRecord: OfflineRecord;
  readonly reader: PartitionReader;
  readonly cleaned = new CleanedLog();
  readonly #owner: PartitionOwner;
  readonly #tail: PartitionTail;
  readonly #progress: Progress;
  readonly #journalled: JournalledChanges;
  readonly promises = new FlushPromises();
  readonly #announcements = new RetentionAnnouncements();
  readonly #changes = new WorkQueue();
  readonly #segments: Segments;
  #state: PartitionState = { kind: "online" };
  #config: LogConfig;
  #logStartOffset = 0;
  #highWatermark = 0;
  #logEndOffset = 0;
  /** Where what counts ends. */
  #acked: { readonly segment: Segment; readonly place: Place };
  #logStartBeingMoved = 0;
  #truncating = false;
  /** Truncations and resets so far: what was read across one is void. */
  #cuts = 0;
  #deletion: "none" | "asked" | "recorded" = "none";
  #lastPoint: RecoveryPoint | undefined;

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
    this.#config = usable(config, owner.context.config);
    this.directory = partitionDirectory(topicId, partition);
    this.#segments = new Segments(this.directory);
    this.#acked = { segment: this.active, place: this.active.end };
    const { context } = owner;
    const onThrown = mistakeOf(context.env.logger, this);
    this.producers = new ProducerState(context.producers);
    this.files = new PartitionFiles(context, this);
    this.offlineRecord = new OfflineRecord(context, this.directory);
    this.#tail = context.tails.partition();
    this.reader = new PartitionReader(context, this, this.#tail);
    this.#progress = new Progress(onThrown);
    this.#journalled = new JournalledChanges(context, this, onThrown);
  }

  get state(): PartitionState {
    return this.#state;
  }
  get config(): LogConfig {
    return this.#config;
  }
  get segments(): readonly Segment[] {
    return this.#segments.all;
  }
  get active(): Segment {
    return this.#segments.active;
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
  /**
   * End of the batches that are in the journal, or in their files where the policy asks for no
   * more.
   */
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
  get swaps(): number {
    return this.#segments.swaps;
  }
  get leaderEpoch(): number {
    return this.epochs.latest;
  }
  /** The journal has the deletion: checkpoints forget the partition. */
  get deleted(): boolean {
    return this.#deletion === "recorded";
  }
  get deleting(): boolean {
    return this.#deletion !== "none";
  }
  get names(): Durability {
    return this.files.names;
  }
  /** What the recovery points say of the partition. */
  get lastPoint(): RecoveryPoint | undefined {
    return this.#lastPoint;
  }
  get sizeBytes(): number {
    return this.#segments.sizeBytes;
  }
  get segmentCount(): number {
    return this.#segments.all.length;
  }
  get name(): string {
    return `${this.topic}-${this.partition}`;
  }

  /** Takes over what recovery found. */
  restore(found: Restored): void {
    const { segments, logStartOffset, endOffset, highWatermark } = found;
    this.#segments.replace(segments);
    this.epochs.truncateFromStart(logStartOffset);
    this.#logStartOffset = logStartOffset;
    this.#logStartBeingMoved = logStartOffset;
    this.#logEndOffset = endOffset;
    this.#acked = { segment: this.active, place: { ...this.active.end, offset: endOffset } };
    this.#highWatermark = Math.min(Math.max(highWatermark, logStartOffset), endOffset);
    if (bugs.wrongHighWatermark) this.#highWatermark = endOffset;
    this.producers.restored(found.snapshotOffset);
  }

  /**
   * The recovery points say this of the partition from now on; `version` of the promises as it was
   * when the point's picture was taken.
   */
  checkpointed(point: RecoveryPoint, version: number): void {
    // Before a cut it was another log's; the one before it was cut, too.
    if (version === this.promises.version) this.#lastPoint = point;
    this.promises.covered(Number(point.offset), version);
  }

  append(batch: AppendBatch, leaderEpoch: number, done: AppendDone): Appended {
    this.#checkAppend(batch, leaderEpoch);
    const { info } = batch;
    const duplicate = this.producers.latest.check(info);
    if (duplicate !== undefined) {
      this.#owner.context.env.sim?.sometimes("log: a batch came again");
      this.#journalled.markerFor(done);
      const lastOffset = duplicate.baseOffset + info.lastOffsetDelta;
      return { ...duplicate, lastOffset, duplicate: true };
    }
    const appendTimeMs = this.#owner.context.env.clock.wallMs();
    const baseOffset = this.#logEndOffset;
    const lastOffset = baseOffset + info.lastOffsetDelta;
    const fields = { baseOffset, leaderEpoch, appendTimeMs, bodyCrc: batch.bodyCrc };
    const { body, ownTime } = batch;
    const prefix = encodeStoredPrefix(fields, body.length);
    this.#take({ fields, prefix, body, info, lastOffset, ownTime }, appendTimeMs, done);
    return { baseOffset, lastOffset, appendTimeMs, duplicate: false };
  }

  appendReplicated(bytes: Uint8Array, leaderEpoch: number, done: AppendDone): number {
    this.#refuseUnlessOnline();
    const { name, logEndOffset } = this;
    const latestEpoch = this.epochs.latest;
    if (leaderEpoch < latestEpoch) throw this.#fenced(leaderEpoch);
    const batches = parseReplicated(bytes, { name, logEndOffset, latestEpoch, leaderEpoch });
    checkReplicatedLimits(this.#owner.context, name, logEndOffset, batches);
    const last = batches.at(-1);
    if (last === undefined) this.#journalled.markerFor(done);
    const nowMs = this.#owner.context.env.clock.wallMs();
    for (const batch of batches) this.#take(batch, nowMs, batch === last ? done : () => {});
    return this.#logEndOffset;
  }

  async becomeLeader(leaderEpoch: number): Promise<void> {
    this.#refuseUnlessOnline();
    if (leaderEpoch < this.epochs.latest) throw this.#fenced(leaderEpoch);
    if (!this.epochs.assign(leaderEpoch, this.#logEndOffset)) {
      await this.#journalled.marker();
      return;
    }
    const offset = this.#logEndOffset;
    await this.#journalled.record({ kind: "epochStart", offset, leaderEpoch });
  }

  updateHighWatermark(value: number): void {
    const end = bugs.wrongHighWatermark ? this.#logEndOffset : Math.min(value, this.#logEndOffset);
    if (end <= this.#highWatermark) return;
    this.#highWatermark = end;
    this.notify();
  }

  onProgress(listener: () => void): () => void {
    return this.#progress.add(listener);
  }

  read(offset: number, maxBytes: number, limit: ReadLimit): Promise<ReadResult> {
    return this.reader.read(offset, maxBytes, limit);
  }

  tryReadTail(offset: number, maxBytes: number, limit: ReadLimit): ReadResult | undefined {
    return this.reader.tryReadTail(offset, maxBytes, limit);
  }

  offsetForTimestamp(timestampMs: number): Promise<TimestampOffset | undefined> {
    return this.reader.offsetForTimestamp(timestampMs);
  }
  maxTimestamp(): Promise<TimestampOffset | undefined> {
    return this.reader.maxTimestamp();
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
    await this.#withoutAppends(() => this.#truncate(offset));
  }

  async resetTo(startOffset: number): Promise<void> {
    this.#refuseUnlessOnline();
    checkStart(this.name, startOffset);
    await this.#withoutAppends(() => this.#reset(startOffset));
  }

  /** Nothing is appended until everything is done, whatever waits in between. */
  async #withoutAppends(change: () => Promise<void>): Promise<void> {
    this.#truncating = true;
    try {
      await this.#changes.run(change);
    } finally {
      this.#truncating = false;
    }
  }

  updateConfig(config: LogConfig): void {
    const before = this.#config;
    this.#config = usable(config, this.#owner.context.config);
    if (keepsLess(config, before)) this.#announcements.asked();
    const { flushPolicy } = before;
    const changed = this.promises.policyChanged(flushPolicy, config.flushPolicy, this.logEndOffset);
    if (changed) this.#coverSoon();
  }

  /** A checkpoint that fails leaves it to the next one. */
  #coverSoon(): void {
    this.flush().catch((err: unknown) => {
      this.#owner.context.env.logger.debug({ log: this.name, err }, "a checkpoint waits");
    });
  }

  runRetention(): Promise<number> {
    // It may wait for the room that retention of other partitions makes.
    if (this.#truncating) return Promise.resolve(0);
    return this.#changes.run(() => this.#retain());
  }

  runCompaction(): Promise<boolean> {
    return this.#owner.compact(this);
  }

  /** Runs a change of the log after those that were asked for before. */
  change<T>(work: (segments: Segments) => Promise<T>): Promise<T> {
    return this.#changes.run(() => work(this.#segments));
  }

  async flush(): Promise<void> {
    await this.#journalled.marker();
    await this.#owner.checkpoint();
  }

  /** Fsyncs what was written, when the flush policy is `interval` and the interval has passed. */
  flushIfDue(nowMs: number): Promise<void> | undefined {
    // A truncation may take long, and a checkpoint follows it.
    const interval = this.#config.flushPolicy === "interval" && !this.#truncating;
    if (!interval || this.#state.kind !== "online" || this.deleted) return undefined;
    return this.files.flushIfDue(nowMs);
  }

  /** Resolves once no change and no work on files is under way. */
  async settled(): Promise<void> {
    await this.#changes.run(() => this.files.run(async () => {}));
  }

  /** Calls the listeners. They may raise the high watermark. */
  notify(): void {
    this.#progress.notify();
  }

  /**
   * Damage was met: nothing is served any more. A restart remembers it, unless the disk has failed:
   * what that dropped is in the journal. `recorded`: the `offline` file says so already.
   */
  takeOffline(reason: string, recorded = false): void {
    const { kind } = this.#state;
    if (kind === "offline") return;
    this.#state = { kind: "offline", reason };
    const { topic, partition } = this;
    this.#owner.context.env.logger.error({ topic, partition, reason }, "partition is offline");
    this.#tail.clear();
    if (!recorded && kind !== "stopped") this.offlineRecord.note(reason);
    this.notify();
  }

  /** The disk failed: no more appends. */
  stop(reason: string): void {
    if (this.#state.kind !== "online") return;
    this.#state = { kind: "stopped", reason };
    this.notify();
  }

  /**
   * Ends the partition, durably in the journal: nothing is served or appended from here on. `apply`
   * runs with the journal's round. Resolves to false once the commit loop has failed, and told so.
   */
  async markDeleted(apply: () => void): Promise<boolean> {
    this.#deletion = "asked";
    this.#tail.clear();
    await this.#changes.run(() =>
      this.#journalled
        .record({ kind: "deleted" }, () => {
          this.#deletion = "recorded";
          apply();
        })
        .catch(() => {}),
    );
    this.#state = { kind: "offline", reason: "the partition was deleted" };
    this.notify();
    return this.deleted;
  }

  /** Deletes what lies wholly below the log start: a crash may bring it back. */
  dropBelowLogStart(): Promise<number> {
    return this.#changes.run(() => this.#dropBelowLogStart());
  }

  /** Offset up to which `limit` lets a reader see. Throws for an offset that is not in the log. */
  readEnd(offset: number, limit: ReadLimit): number {
    if (this.#deletion !== "none") throw errors.changing(this.name, "deleted");
    if (this.#state.kind === "offline") throw errors.offline(this.name, this.#state.reason);
    if (offset < this.#logStartOffset || offset > this.#logEndOffset) {
      throw errors.outOfRange(this.name, offset, this.#logStartOffset, this.#logEndOffset);
    }
    return limit === "high_watermark" ? this.#highWatermark : this.#logEndOffset;
  }

  #checkAppend(batch: AppendBatch, leaderEpoch: number): void {
    this.#refuseUnlessOnline();
    if (leaderEpoch < this.epochs.latest) throw this.#fenced(leaderEpoch);
    checkAppendLimits(this.#owner.context, this.name, this.#logEndOffset, batch);
  }

  #refuseUnlessOnline(): void {
    if (this.#owner.context.closing) throw errors.closing();
    if (this.#deletion !== "none") throw errors.changing(this.name, "deleted");
    if (this.#truncating) throw errors.changing(this.name, "truncated");
    if (this.#state.kind !== "online") throw errors.noWrites(this.name, this.#state);
  }

  #fenced(leaderEpoch: number): MillraceError {
    return errors.fenced(this.name, leaderEpoch, this.epochs.latest);
  }

  /** Takes a batch at the log end: from here on all of it follows in order. */
  #take(batch: HeadedBatch, nowMs: number, done: AppendDone): void {
    const { context } = this.#owner;
    const { body, fields, info, lastOffset, ownTime, prefix } = batch;
    const { appendTimeMs, baseOffset, leaderEpoch } = fields;
    // Closures take what they need of it, so that its message can be collected.
    const { maxTimestampMs } = info;
    const bytes = prefix.length + body.length;
    const fits = this.#segments.fits(bytes, lastOffset, this.#config, nowMs);
    const segment = fits ? this.active : this.#roll();
    this.epochs.assign(leaderEpoch, baseOffset);
    const producer = this.producers.latest.record(info, baseOffset, appendTimeMs);
    const { indexIntervalBytes } = this.#config;
    const appendMonoMs = context.env.clock.monoMs();
    const taken = { lastOffset, bytes, maxTimestampMs, appendTimeMs, appendMonoMs };
    const position = segment.append(taken, indexIntervalBytes);
    const place = { offset: lastOffset + 1, position: position + bytes };
    this.#logEndOffset = place.offset;
    if (ownTime !== true) context.retentionClock.observe(maxTimestampMs);
    const held = this.#tail.push({ baseOffset, lastOffset, prefix, body });
    const chunks = held === undefined ? [prefix, body] : [held.chunk];
    const journalled = this.#config.flushPolicy === "commit" || this.promises.journalAnyway;
    this.#journalled.batch(
      { segment, position, chunks, bytes, held },
      baseOffset,
      journalled ? headerCrcOf(batch) : undefined,
      () => {
        this.#acked = { segment, place };
        if (producer !== undefined) this.producers.adopt(producer);
      },
      done,
    );
    if (segment.index.fresh.length >= freshRowsMax) this.files.writeRows(segment);
  }

  #roll(): Segment {
    const segment = this.#segments.begin(this.#logEndOffset);
    this.producers.rolled(this.#logEndOffset);
    this.#owner.context.observer.onRoll?.();
    return segment;
  }

  async #truncate(wanted: number): Promise<void> {
    await this.#journalled.marker();
    const offset = Math.max(wanted, this.#logStartOffset);
    const atEnd = offset === this.#logEndOffset && (this.epochs.latestStart ?? -1) >= offset;
    if (offset >= this.#logEndOffset && !atEnd) return;
    const cut = atEnd ? this.active.end : await this.reader.placeOf(offset);
    let cutting: Promise<void> | undefined;
    const kept = this.#logStartOffset - 1;
    await this.#journalled.truncation(cut.offset, kept, this.epochs.epochOf(kept), () => {
      cutting = this.#cutTo(cut);
    });
    await cutting;
    if (this.#config.flushPolicy !== "commit") this.#coverSoon();
  }

  /**
   * Takes back everything from a batch on. The memory follows at once, so that a checkpoint sees
   * the new end together with the round of the truncation; the files follow as file work, before
   * any checkpoint can claim them. The commit loop does not wait for it.
   */
  #cutTo(cut: Place): Promise<void> {
    const { segment, dropped } = this.#segments.cutTo(cut);
    this.#lastPoint = pointCutTo(this.#lastPoint, segment.baseOffset, cut);
    // A log that is cut below its start begins again there.
    const end = Math.max(cut.offset, this.#logStartOffset);
    if (end > cut.offset) this.#segments.begin(end);
    this.#endAt(end, Math.min(this.#highWatermark, end));
    this.epochs.truncateFromEnd(end);
    this.producers.cut(end);
    this.cleaned.cutTo(cut.offset);
    this.promises.truncated(end, this.#config.flushPolicy === "commit");
    return this.files.cut(segment, dropped, end);
  }

  /** What was read of the log as it was before is void. */
  #endAt(offset: number, highWatermark: number): void {
    this.#cuts += 1;
    this.#tail.clear();
    this.#logEndOffset = offset;
    this.#acked = { segment: this.active, place: { ...this.active.end, offset } };
    this.#highWatermark = highWatermark;
  }

  async #reset(startOffset: number): Promise<void> {
    await this.#journalled.marker();
    // Of a log that is damaged nothing may go.
    if (this.#state.kind !== "online") throw errors.noWrites(this.name, this.#state);
    let removing: Promise<void> | undefined;
    await this.#journalled.record({ kind: "reset", offset: startOffset }, () => {
      removing = this.#beginAnew(startOffset);
    });
    await removing;
    if (this.#config.flushPolicy !== "commit") this.#coverSoon();
  }

  /** The memory first, then the files, as `#cutTo` does. */
  #beginAnew(start: number): Promise<void> {
    const dropped = this.#segments.beginAnew(start);
    this.#lastPoint = pointAnewAt(this, start, this.#lastPoint?.journalRound ?? 0n);
    this.#logStartOffset = start;
    this.#logStartBeingMoved = start;
    this.#endAt(start, start);
    this.epochs.beginAnew(start);
    this.producers.beginAnew();
    this.cleaned.forget();
    this.#announcements.beginAnew();
    // Nothing before it is left that an fsync could owe.
    this.promises.truncated(start, true);
    return this.files.beginAnew(dropped);
  }

  async #retain(): Promise<number> {
    const { context } = this.#owner;
    const changing = this.#deletion !== "none" || this.#truncating || context.closing;
    if (this.#state.kind !== "online" || changing) return 0;
    await retain(context, this, this.#announcements, {
      isActiveOld: () => this.#segments.isOld(this.#config, context.env.clock.wallMs()),
      roll: () => this.#roll(),
      moveLogStart: (offset) => this.#moveLogStart(offset),
    });
    return this.#dropBelowLogStart();
  }

  /** Raises the log start, durably before it resolves. */
  async #moveLogStart(offset: number): Promise<void> {
    if (offset <= this.#logStartBeingMoved) {
      await this.#journalled.marker();
      return;
    }
    this.#logStartBeingMoved = offset;
    await this.files.settleNames();
    await this.#journalled.record({ kind: "logStart", offset }, () => this.#applyLogStart(offset));
  }

  #applyLogStart(offset: number): void {
    if (offset <= this.#logStartOffset) return;
    this.#logStartOffset = offset;
    this.epochs.truncateFromStart(offset);
    this.#moveAckedOn();
  }

  /**
   * A segment that counts as a whole and is no longer active is not where the end lies: recovery
   * points must not name a segment that goes.
   */
  #moveAckedOn(): void {
    const { segment, place } = this.#acked;
    const next = this.#segments.after(segment);
    if (next === undefined || place.position !== segment.sizeBytes) return;
    this.#acked = { segment: next, place: { offset: place.offset, position: 0 } };
  }

  async #dropBelowLogStart(): Promise<number> {
    this.#moveAckedOn();
    const dropped = this.#segments.dropBelow(this.#logStartOffset, this.#acked.segment);
    await this.files.drop(dropped, this.#segments.first.baseOffset);
    return dropped.length;
  }
}
