/**
 * Recovery of one partition: from its recovery point through the journal to whatever the segments still hold.
 *
 * Up to the recovery point the segments were fsynced; what the journal holds after it was acknowledged. Both must
 * be there in the end, or the partition stays offline with its files as they are. What follows them in the segments was
 * promised to nobody: it is kept as far as it is whole, and cut there.
 */
import { must } from "@millrace/errors";
import { LeaderEpochsSchema, type RecoveryPoint } from "@millrace/proto/storage";
import { parseBody, readStored } from "@millrace/record";
import { bugs } from "../bugs.ts";
import type { SegmentContext } from "../context.ts";
import { magics, readChecksummed, readWhole } from "../files/checksummed-file.ts";
import { isMissing } from "../files/disk-errors.ts";
import { entryKinds } from "../journal/format.ts";
import type { PlannedEntry } from "../journal/scan.ts";
import type { Partition } from "../partition/partition.ts";
import {
  dropSnapshotsAbove,
  readSnapshot,
  replayProducers,
} from "../partition/producer-snapshots.ts";
import { BatchScanner, type ScannedBatch } from "../segment/batch-scanner.ts";
import { truncateFiles, truncateIndexFiles } from "../segment/files.ts";
import { decodeIndex, INDEX_ENTRY_BYTES } from "../segment/index-format.ts";
import { listSegments } from "../segment/list.ts";
import type { Segment } from "../segment/segment.ts";

/** Why a partition can not be served. Files are left as they are. */
export class PartitionDamage extends Error {
  override readonly name = "PartitionDamage";
}

export interface RecoveryCounts {
  segmentBytesScanned: number;
  entriesReplayed: number;
  bytesCut: number;
  indexesRebuilt: number;
}

export interface RecoveryInput {
  readonly context: SegmentContext;
  readonly partition: Partition;
  readonly point: RecoveryPoint | undefined;
  readonly entries: readonly PlannedEntry[];
  readonly damagedUpTo: number | undefined;
  /** False when the recovery points are lost; otherwise a partition without one is newer than they are. */
  readonly pointsKnown: boolean;
  readonly counts: RecoveryCounts;
}

export class PartitionRecovery {
  readonly #input: RecoveryInput;
  readonly #partition: Partition;
  readonly #segments: Segment[] = [];
  /** Segment that `#end` lies in, and where. */
  #index = 0;
  #position = 0;
  #end = 0;
  #logStart = 0;
  #truncated = false;
  #entries: readonly PlannedEntry[] = [];
  #walker: { readonly walker: BatchScanner; readonly close: () => Promise<void> } | undefined;
  #stopReason = "";

  constructor(input: RecoveryInput) {
    this.#input = input;
    this.#partition = input.partition;
  }

  /** Brings the partition's files and memory to what must be there. Throws PartitionDamage. */
  async run(): Promise<void> {
    const { context, point, counts, damagedUpTo } = this.#input;
    if (damagedUpTo !== undefined) {
      // Which partitions those rounds were about can not be told any more.
      throw new PartitionDamage(`the commit journal is damaged up to round ${damagedUpTo}`);
    }
    try {
      await this.#begin();
      for (const entry of this.#entries) await this.#replay(entry);
      if (!this.#truncated) await this.#keepTail();
      await this.#cutHere();
      await this.#closeWalker();
      counts.indexesRebuilt += context.indexes.rebuilt;
    } finally {
      await this.#closeWalker();
    }
    this.#restartBehindLogStart();
    this.#partition.producers.dropBelow(this.#logStart);
    this.#partition.epochs.truncateFromStart(this.#logStart);
    this.#partition.restore({
      segments: this.#segments,
      logStartOffset: this.#logStart,
      endOffset: this.#end,
      highWatermark: Number(point?.highWatermark ?? 0n),
    });
    this.#partition.directoryDirty = true;
  }

  async #begin(): Promise<void> {
    const { context, point } = this.#input;
    this.#segments.push(...(await listSegments(context.env.disk, this.#partition.directory)));
    this.#logStart = Number(point?.logStartOffset ?? this.#firstOffset());
    const durable = point === undefined ? undefined : Number(point.offset);
    const plan = afterTruncations(this.#input.entries, durable ?? Number.MAX_SAFE_INTEGER);
    this.#entries = plan.entries;
    this.#truncated = plan.truncated;
    if (point === undefined) {
      this.#end = this.#logStart;
      if (this.#segments[0]?.baseOffset !== this.#end) {
        this.#segments.unshift(this.#partition.newSegment(this.#end));
      }
      for (const segment of this.#segments) await this.#resetIndex(segment, 0);
      return;
    }
    if (plan.baseOffset < Number(point.offset)) await this.#beginBefore(plan.baseOffset, point);
    else await this.#beginAt(point);
  }

  /** Where a log without a recovery point begins. Its first segment's name may be lost, but not the journal. */
  #firstOffset(): number {
    if (this.#input.pointsKnown) return 0;
    const bases = this.#segments.slice(0, 1).map(({ baseOffset }) => baseOffset);
    for (const { kind, value } of this.#input.entries) {
      if (kind !== entryKinds.logStart) bases.push(value);
    }
    return bases.length === 0 ? 0 : Math.min(...bases);
  }

  async #beginAt(point: RecoveryPoint): Promise<void> {
    this.#end = Number(point.offset);
    this.#position = Number(point.positionBytes);
    const base = Number(point.segmentBaseOffset);
    this.#index = this.#segments.findIndex((segment) => segment.baseOffset === base);
    if (this.#index < 0) this.#missingSegment(base);
    for (const [i, segment] of this.#segments.entries()) {
      if (i < this.#index) continue;
      if (i === this.#index && segment.sizeBytes < this.#position) {
        throw new PartitionDamage(
          `${segment.path} has ${segment.sizeBytes} bytes, ${this.#position} were fsynced`,
        );
      }
      await this.#resetIndex(segment, i === this.#index ? this.#position : 0);
    }
    await this.#loadEpochs();
    await this.#loadProducers(point.producerSnapshot);
  }

  /** A truncation went back behind the recovery point: what stands before the cut was fsynced, no more. */
  async #beginBefore(offset: number, point: RecoveryPoint): Promise<void> {
    // Not the segment that begins at the cut: the one before it may still hold what was cut off.
    const before = this.#segments.findLastIndex((segment) => segment.baseOffset < offset);
    const index = Math.max(0, before);
    const segment = this.#segments[index];
    if (segment === undefined)
      throw new PartitionDamage(`the segment of offset ${offset} is missing`);
    let reached = segment.baseOffset;
    // What follows the cut may be anything, and is not looked at.
    if (reached < offset) {
      await this.#visit(segment, (batch) => {
        reached = batch.lastOffset + 1;
        this.#position = batch.position + batch.bytes;
        return reached < offset;
      });
    }
    if (reached !== offset) {
      throw new PartitionDamage(
        `${segment.path} ends at ${reached}, it was fsynced up to ${offset}`,
      );
    }
    this.#index = index;
    this.#end = offset;
    for (const [i, later] of this.#segments.entries()) {
      if (i >= index) await this.#resetIndex(later, i === index ? this.#position : 0);
    }
    await this.#loadEpochs();
    this.#partition.epochs.truncateFromEnd(offset);
    await this.#loadProducers(point.producerSnapshot);
  }

  /** The segment of the recovery point may not have been made yet, when nothing was in it; or all of it was below a log
   * start that the journal holds, and it is gone already. */
  #missingSegment(base: number): void {
    const dropped = this.#entries.some(
      ({ kind, value }) => kind === entryKinds.logStart && value >= this.#end,
    );
    if (this.#position > 0 && !dropped) {
      throw new PartitionDamage(`segment ${base} is missing, ${this.#position} bytes were fsynced`);
    }
    const at = this.#position > 0 ? this.#end : base;
    this.#position = 0;
    this.#index = this.#segments.filter((segment) => segment.baseOffset < at).length;
    if (this.#segments[this.#index]?.baseOffset === at) return;
    this.#segments.splice(this.#index, 0, this.#partition.newSegment(at));
  }

  /** A segment that ends at `position` for now: what its index says of the part before is believed. */
  async #resetIndex(segment: Segment, position: number): Promise<void> {
    const { context } = this.#input;
    segment.sizeBytes = position;
    segment.writtenBytes = position;
    segment.endOffset = position === 0 ? segment.baseOffset : this.#end;
    segment.dirty = segment.created;
    segment.finished = false;
    segment.indexSynced = false;
    if (bugs.indexNotRebuilt) {
      segment.maxComplete = position === 0;
      return;
    }
    const decoded = decodeIndex(
      segment.baseOffset,
      await readOrEmpty(context, segment.indexPath),
      await readOrEmpty(context, segment.timeIndexPath),
      segment.endOffset,
      position,
    );
    segment.rows = decoded.rows;
    segment.rowsOnDisk = decoded.rows.length;
    segment.timeEntriesOnDisk = decoded.timeEntries;
    segment.lastRowPosition = decoded.rows.at(-1)?.position ?? -1;
    segment.runningMaxMs = decoded.maxTimestampMs ?? -1;
    segment.maxComplete = position === 0 || decoded.maxTimestampMs !== undefined;
    await truncateIndexFiles(context, segment);
    this.#partition.indexesCut.push(segment);
  }

  async #loadEpochs(): Promise<void> {
    const { context } = this.#input;
    const { epochs, directory } = this.#partition;
    const path = `${directory}/leader-epochs`;
    const { disk } = context.env;
    const file = await readChecksummed(disk, path, magics.leaderEpochs, LeaderEpochsSchema);
    if (file.kind === "ok") {
      const entries = file.message.entries.map(({ leaderEpoch, startOffset }) => ({
        leaderEpoch,
        startOffset: Number(startOffset),
      }));
      epochs.load(entries.filter((entry) => entry.startOffset <= this.#end));
      // The file of most partitions stays as it is: ten thousand of them need not be written again.
      epochs.dirty = epochs.entries.length < entries.length;
      return;
    }
    if (file.kind === "missing" && this.#end === this.#logStart) return;
    for (const segment of this.#before()) {
      await this.#visit(segment, ({ header: { leaderEpoch, baseOffset } }) => {
        const last = epochs.entries.at(-1);
        if (last !== undefined && (leaderEpoch < last.leaderEpoch || baseOffset < last.startOffset))
          throw new PartitionDamage(`${segment.path}: epochs or offsets fall at ${baseOffset}`);
        epochs.assign(leaderEpoch, baseOffset);
        return true;
      });
    }
  }

  async #loadProducers(any: boolean): Promise<void> {
    const { context } = this.#input;
    const { producers, directory } = this.#partition;
    await dropSnapshotsAbove(context.env.disk, directory, this.#end);
    if (!any) return;
    const snapshot = await readSnapshot(context.env.disk, directory, this.#end);
    if (snapshot !== undefined) {
      producers.load(snapshot);
      this.#partition.snapshotOffset = this.#end;
      return;
    }
    const owner = this.#ownerView(this.#before());
    await replayProducers(context, owner, this.#logStart, this.#end);
  }

  /** Segments up to the end that recovery has reached. */
  #before(): readonly Segment[] {
    return this.#segments.slice(0, this.#index + 1).filter((segment) => segment.sizeBytes > 0);
  }

  #ownerView(segments: readonly Segment[]) {
    const { directory, producers, completedProducers } = this.#partition;
    return { directory, segments, producers, completedProducers, logStartOffset: this.#logStart };
  }

  /** Visits the whole batches of a segment until `take` returns false. Throws PartitionDamage. */
  async #visit(segment: Segment, take: (batch: ScannedBatch) => boolean): Promise<void> {
    await this.#input.context.files.with(segment.path, false, async (file) => {
      const walker = new BatchScanner(file, 0, segment.sizeBytes);
      for (;;) {
        const batch = await walker.peek();
        if ("end" in batch) {
          if (batch.end) return;
          throw new PartitionDamage(`${segment.path} at byte ${walker.position}: ${batch.reason}`);
        }
        if (!take(batch)) return;
        walker.skip(batch);
      }
    });
  }

  async #replay(entry: PlannedEntry): Promise<void> {
    this.#input.counts.entriesReplayed += 1;
    if (entry.kind === entryKinds.batch) await this.#replayBatch(entry);
    else if (entry.kind === entryKinds.truncate) await this.#advanceIfPresent(entry.value);
    else if (entry.kind === entryKinds.logStart) {
      this.#logStart = Math.max(this.#logStart, entry.value);
    } else if (entry.kind === entryKinds.epochStart) {
      await this.#beginEpoch(entry);
    }
  }

  /** The journal says that the log ended at `offset` at some time after the recovery point. */
  #refuseBehind(offset: number): void {
    if (offset >= this.#end) return;
    throw new PartitionDamage(
      `the log goes on to ${this.#end}, its journal begins again at ${offset}: a truncation is missing`,
    );
  }

  /** What came before the epoch may have been acknowledged from the page cache alone, and be lost: then the epoch
   * begins where the log ends. Where the journal vouches for it, its batches were replayed already. */
  async #beginEpoch(entry: PlannedEntry): Promise<void> {
    await this.#advanceIfPresent(entry.value);
    this.#refuseBehind(entry.value);
    // The file of epochs may be newer than the recovery point, and know this one and its successors.
    if (entry.aux <= this.#partition.epochs.latest) return;
    this.#partition.epochs.assign(entry.aux, Math.min(entry.value, this.#end));
  }

  async #replayBatch(entry: PlannedEntry): Promise<void> {
    await this.#requireThrough(entry.value);
    this.#refuseBehind(entry.value);
    const present = await this.#peek();
    if (present !== undefined && present.header.headerCrc === entry.aux) {
      await this.#accept(present);
      return;
    }
    if (!entry.sound) {
      throw new PartitionDamage(
        `the batch at offset ${entry.value} is damaged in the journal, and not in its segment`,
      );
    }
    await this.#write(entry);
  }

  /** Goes on through the segments up to `offset`, which an entry of the journal says was reached. */
  async #requireThrough(offset: number): Promise<void> {
    while (this.#end < offset) {
      const batch = await this.#peek();
      if (batch === undefined) {
        throw new PartitionDamage(
          `offsets ${this.#end} to ${offset - 1} were acknowledged and are missing: ${this.#stopReason}`,
        );
      }
      await this.#accept(batch);
    }
  }

  /** Goes on through the segments up to `offset` as far as there are whole batches. */
  async #advanceIfPresent(offset: number): Promise<void> {
    while (this.#end < offset) {
      const batch = await this.#peek();
      if (batch === undefined || batch.lastOffset >= offset) return;
      await this.#accept(batch);
    }
  }

  /** The next batch in the segments, if it is whole and follows. */
  async #peek(): Promise<ScannedBatch | undefined> {
    const segment = this.#segments[this.#index];
    if (segment === undefined) return this.#stop("there are no more segments");
    const file = await this.#fileBytes(segment);
    const next = this.#segments[this.#index + 1];
    if (this.#position >= file) {
      if (next === undefined || next.baseOffset !== this.#end) return this.#stop("the log ends");
      await this.#closeWalker();
      this.#index += 1;
      this.#position = 0;
      return this.#peek();
    }
    const { walker } = this.#walker ?? (await this.#openWalker(segment, file));
    const batch = await walker.peek();
    if ("end" in batch) return this.#stop(batch.end ? "the log ends" : batch.reason);
    if (batch.header.baseOffset !== this.#end) return this.#stop("offsets do not follow");
    if (batch.header.leaderEpoch < this.#partition.epochs.latest) {
      return this.#stop("leader epochs fall");
    }
    return batch;
  }

  #stop(reason: string): undefined {
    this.#stopReason = reason;
    return undefined;
  }

  async #fileBytes(segment: Segment): Promise<number> {
    return (await this.#input.context.env.disk.fileSize(segment.path)) ?? 0;
  }

  async #openWalker(segment: Segment, endPosition: number) {
    const file = await this.#input.context.env.disk.open(segment.path, "read");
    const walker = new BatchScanner(file, this.#position, endPosition);
    const close = async (): Promise<void> => {
      this.#input.counts.segmentBytesScanned += walker.bytesRead;
      await file.close();
    };
    this.#walker = { walker, close };
    return this.#walker;
  }

  async #closeWalker(): Promise<void> {
    const walker = this.#walker;
    this.#walker = undefined;
    await walker?.close();
  }

  /** Takes a batch that lies where it should. */
  async #accept(batch: ScannedBatch): Promise<void> {
    this.#take(batch);
    this.#walker?.walker.skip(batch);
  }

  #take(batch: Pick<ScannedBatch, "header" | "info" | "lastOffset" | "bytes">): void {
    const segment = must(this.#segments[this.#index], "segment in recovery");
    const { header, info, lastOffset, bytes } = batch;
    if (header.leaderEpoch < this.#partition.epochs.latest) {
      throw new PartitionDamage(
        `the batch at offset ${header.baseOffset} has leader epoch ${header.leaderEpoch}, ` +
          `${this.#partition.epochs.latest} began before it: a truncation is missing`,
      );
    }
    this.#partition.epochs.assign(header.leaderEpoch, header.baseOffset);
    this.#partition.producers.record(info, header.baseOffset, header.appendTimeMs);
    const { indexIntervalBytes } = this.#partition.config;
    segment.append(lastOffset, bytes, info.maxTimestampMs, indexIntervalBytes);
    segment.writtenBytes = segment.sizeBytes;
    this.#position = segment.sizeBytes;
    this.#end = lastOffset + 1;
  }

  /** Puts a batch of the journal where the segments do not have it; everything behind is void. */
  async #write(entry: PlannedEntry): Promise<void> {
    await this.#cutHere();
    const { context } = this.#input;
    const file = await context.env.disk.open(entry.path, "read");
    const bytes = Buffer.alloc(entry.bytes);
    try {
      await file.read(bytes, 0, bytes.length, entry.at);
    } finally {
      await file.close();
    }
    const header = readStored(bytes, 0);
    if ("fault" in header) throw new PartitionDamage(`the journal changed under recovery`);
    const info = parseBody(bytes.subarray(header.bodyStart, header.bodyEnd));
    let segment = this.#segments[this.#index];
    const full =
      segment !== undefined &&
      segment.sizeBytes > 0 &&
      segment.sizeBytes + bytes.length > this.#partition.config.segmentBytes;
    if (segment === undefined || full) {
      segment = this.#partition.newSegment(this.#end);
      this.#segments.push(segment);
      this.#index = this.#segments.length - 1;
      this.#position = 0;
    }
    const { path, sizeBytes } = segment;
    await context.files.with(path, true, (log) => log.write([bytes], sizeBytes));
    segment.created = true;
    segment.dirty = true;
    this.#take({
      header,
      info,
      bytes: bytes.length,
      lastOffset: entry.value + info.lastOffsetDelta,
    });
  }

  /** Makes the files end where recovery has come to. */
  async #cutHere(): Promise<void> {
    const { context, counts } = this.#input;
    await this.#closeWalker();
    const segment = this.#segments[this.#index];
    if (segment === undefined) return;
    const dropped = this.#segments.splice(this.#index + 1);
    let cutBytes = 0;
    for (const gone of dropped) cutBytes += await this.#fileBytes(gone);
    cutBytes += Math.max(0, (await this.#fileBytes(segment)) - this.#position);
    if (cutBytes === 0 && dropped.length === 0) return;
    counts.bytesCut += cutBytes;
    const cut = { offset: this.#end, position: this.#position };
    const { runningMaxMs, maxComplete, fresh, lastRowPosition } = segment;
    await truncateFiles(context, this.#partition, segment, cut, dropped);
    // Nothing that counted was cut, so what is known of the index stays true.
    segment.runningMaxMs = runningMaxMs;
    segment.maxComplete = maxComplete;
    segment.fresh = fresh;
    segment.lastRowPosition = lastRowPosition;
  }

  async #keepTail(): Promise<void> {
    for (let batch = await this.#peek(); batch !== undefined; batch = await this.#peek()) {
      await this.#accept(batch);
    }
  }

  /** Segments wholly below the log start are gone; a log that ends below it begins again there. */
  #restartBehindLogStart(): void {
    if (this.#segments.length === 0) this.#segments.push(this.#partition.newSegment(this.#end));
    if (this.#end >= this.#logStart) return;
    this.#segments.push(this.#partition.newSegment(this.#logStart));
    this.#end = this.#logStart;
  }
}

/** What truncations leave of a plan, and how far back behind the recovery point the first of them went. */
const afterTruncations = (
  entries: readonly PlannedEntry[],
  durable: number,
): { entries: readonly PlannedEntry[]; baseOffset: number; truncated: boolean } => {
  let kept: PlannedEntry[] = [];
  let baseOffset = durable;
  let truncated = false;
  for (const entry of entries) {
    if (entry.kind === entryKinds.truncate) {
      truncated = true;
      baseOffset = Math.min(baseOffset, entry.value);
      kept = kept.filter(({ kind, value }) => kind === entryKinds.logStart || value < entry.value);
    }
    kept.push(entry);
  }
  return { entries: kept, baseOffset, truncated };
};

const readOrEmpty = async (context: SegmentContext, path: string): Promise<Buffer> => {
  try {
    const bytes = await readWhole(context.env.disk, path);
    return bytes.subarray(0, bytes.length - (bytes.length % INDEX_ENTRY_BYTES));
  } catch (thrown) {
    if (isMissing(thrown)) return Buffer.alloc(0);
    throw thrown;
  }
};
