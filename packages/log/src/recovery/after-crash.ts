/**
 * Recovery of one partition: from its recovery point through the journal to whatever the segments
 * still hold.
 *
 * Up to the recovery point the segments were fsynced; the journal's batches after it were
 * acknowledged. Both must be there in the end, or the partition stays offline with its files as
 * they are. Whatever follows them in the segments was promised to nobody: whole batches are kept,
 * the rest is cut.
 */
import { must } from "@millrace/errors";
import type { RecoveryPoint } from "@millrace/proto/storage";
import { Pace } from "../files/breathe.ts";
import type { PlannedEntry } from "../journal/scan.ts";
import type { Partition } from "../partition/partition.ts";
import { BatchScanner, type ScannedBatch } from "../segment/batch-scanner.ts";
import { cutFiles, dropSegments } from "../segment/files.ts";
import { listSegments } from "../segment/list.ts";
import { Segment } from "../segment/segment.ts";
import {
  afterTruncations,
  bytesOfBatches,
  finalLogStart,
  firstOffset,
  type Truncations,
} from "./begin.ts";
import { rememberDeleted } from "./deleted-batches.ts";
import { RecoveredEpochs } from "./epochs.ts";
import { JournalReader, type PlannedBatch } from "./journal-reader.ts";
import { RecoveredProducers } from "./producers.ts";
import { dirtyAgain, endSegmentAt, visitBatches, writeBytes } from "./segment-io.ts";
import {
  beginsAgain,
  damagedJournal,
  endsBefore,
  epochFalls,
  lostBatch,
  missing,
  olderTruncation,
  PartitionDamage,
  type RecoveryInput,
  unknownChange,
} from "./types.ts";
import { cameBackUnsynced } from "./unsynced.ts";

type PlannedEpoch = Extract<PlannedEntry, { readonly kind: "epochStart" }>;

/** Entries of the journal replayed in one turn of the event loop; some milliseconds. */
const entriesPerTurn = 256;

export class PartitionRecovery {
  readonly #input: RecoveryInput;
  readonly #partition: Partition;
  readonly #segments: Segment[] = [];
  readonly #journal: JournalReader;
  /** Sizes of files, where they were asked for. */
  readonly #fileBytes = new Map<Segment, number>();
  /** Segment that `#end` lies in, and where. */
  #index = 0;
  #position = 0;
  #end = 0;
  #logStart = 0;
  #truncations: Truncations = { entries: [], backTo: undefined };
  #scanner: { readonly scanner: BatchScanner; readonly close: () => Promise<void> } | undefined;
  /** Batches for the present segment that are not written yet. */
  #unwritten: Buffer[] = [];
  #unwrittenBytes = 0;
  /**
   * Nothing is left behind the present position: everything from here on comes from the journal.
   */
  #void = false;
  /** The segments have more behind what the journal has: its batches are put between. */
  #mending = false;
  /**
   * Where the batches begin, per segment, that were taken from the file behind the recovery point.
   */
  readonly #kept = new Map<Segment, number>();
  #stopReason = "";
  readonly #pace: Pace;
  readonly #epochs: RecoveredEpochs;
  readonly #producers: RecoveredProducers;

  constructor(input: RecoveryInput) {
    this.#input = input;
    this.#partition = input.partition;
    this.#journal = new JournalReader(input.context.env.disk);
    this.#pace = new Pace(input.context.env.clock, entriesPerTurn);
    this.#epochs = new RecoveredEpochs(input.context, input.partition);
    this.#producers = new RecoveredProducers(input.context, input.partition);
  }

  /** Brings the partition's files and memory to what must be there. Throws PartitionDamage. */
  async run(): Promise<void> {
    const { context, counts, damagedUpTo, point, pointsLost } = this.#input;
    if (damagedUpTo !== undefined) throw damagedJournal(damagedUpTo);
    try {
      await this.#begin();
      for (const entry of this.#truncations.entries) await this.#replay(entry);
      await this.#producers.goOn(this.#end);
      if (this.#truncations.backTo === undefined) await this.#keepTail();
      else if (pointsLost) await this.#refuseTail();
      await this.#cutHere();
      const truncated = this.#truncations.backTo !== undefined;
      await dirtyAgain(context, this.#segments, this.#kept, truncated);
      counts.indexesRebuilt += context.indexes.rebuilt;
    } finally {
      await this.#closeScanner();
      await this.#journal.close();
    }
    await this.#restartBehindLogStart();
    this.#partition.names.changed();
    this.#partition.restore({
      segments: this.#segments,
      logStartOffset: this.#logStart,
      endOffset: this.#end,
      // A truncation lowered it, whatever the recovery point says.
      highWatermark: Math.min(
        Number(point?.highWatermark ?? 0n),
        this.#truncations.backTo ?? Number.MAX_SAFE_INTEGER,
      ),
      snapshotOffset: this.#producers.snapshotAt(this.#end),
    });
  }

  async #begin(): Promise<void> {
    const { context, entries, names, point } = this.#input;
    const segments = await listSegments(context.env.disk, this.#partition.directory, names);
    this.#segments.push(...segments);
    this.#truncations = afterTruncations(entries);
    const { backTo } = this.#truncations;
    const first = this.#segments[0]?.baseOffset;
    const from = point === undefined ? firstOffset(this.#segments, entries) : Number(point.offset);
    this.#logStart = finalLogStart(entries, Number(point?.logStartOffset ?? from));
    const dropped = first !== undefined && first > from && first <= this.#logStart;
    if (dropped || point === undefined) await this.#beginWithSegment(dropped ? first : from);
    else if (backTo !== undefined && backTo < from) await this.#beginBefore(backTo);
    else await this.#beginAt(point);
    await this.#epochs.load(point, this.#end, async (take) => {
      for (const segment of this.#before()) await this.#visit(segment, take);
    });
    if (backTo !== undefined) this.#epochs.truncate(backTo);
    await this.#producers.load({
      ...{ point, names },
      from: Math.min(from, backTo ?? from),
      segments: this.#before(),
      end: this.#end,
      logStart: this.#logStart,
    });
  }

  /**
   * At the base of a segment: there is no recovery point, or the segments that it knew were deleted
   * because they lie below the log start.
   */
  async #beginWithSegment(base: number): Promise<void> {
    this.#end = base;
    if (this.#segments[0]?.baseOffset !== base) this.#segments.unshift(this.#newSegment(base));
    for (const segment of this.#segments) await this.#resetIndex(segment, 0);
  }

  async #beginAt(point: RecoveryPoint): Promise<void> {
    this.#end = Number(point.offset);
    this.#position = Number(point.positionBytes);
    const base = Number(point.segmentBaseOffset);
    this.#index = this.#segments.findIndex((segment) => segment.baseOffset === base);
    const present = this.#segments[this.#index];
    const { context } = this.#input;
    const end = { offset: this.#end, position: this.#position };
    const isShort = present === undefined || present.sizeBytes < end.position;
    if (isShort || (await cameBackUnsynced(context, present, end, this.#logStart))) {
      await this.#lackingSegment(base, present);
    }
    for (const [i, segment] of this.#segments.entries()) {
      if (i < this.#index) continue;
      await this.#resetIndex(segment, i === this.#index ? this.#position : 0);
    }
  }

  /**
   * A truncation went back behind the recovery point: only what stands before the cut was fsynced.
   */
  async #beginBefore(offset: number): Promise<void> {
    const { context } = this.#input;
    // Not the segment that begins at the cut: the one before it may still hold what was cut off.
    const before = this.#segments.findLastIndex((segment) => segment.baseOffset < offset);
    this.#index = Math.max(0, before);
    const segment = this.#segments[this.#index];
    let reached = segment?.baseOffset ?? -1;
    // What follows the cut may be anything, and is not looked at.
    if (segment !== undefined && reached < offset) {
      const visit = this.#visit(segment, (batch) => {
        reached = batch.lastOffset + 1;
        this.#position = batch.position + batch.bytes;
        return reached < offset;
      });
      await visit.catch(async (thrown: unknown) => {
        if (!(thrown instanceof PartitionDamage) || offset > this.#logStart) throw thrown;
        reached = -1;
        await dropSegments(context, this.#partition, this.#segments.splice(this.#index, 1));
      });
    }
    if (reached !== offset) {
      // What stood before the cut is below the log start, and may be gone.
      if (offset > this.#logStart) {
        throw endsBefore(segment?.path, reached, offset);
      }
      this.#beginEmptyAt(offset);
    }
    this.#end = offset;
    for (const [i, later] of this.#segments.entries()) {
      if (i >= this.#index) await this.#resetIndex(later, i === this.#index ? this.#position : 0);
    }
  }

  /** With an empty segment there, the one of this name if there is one. */
  #beginEmptyAt(base: number): void {
    this.#position = 0;
    this.#index = this.#segments.filter((segment) => segment.baseOffset < base).length;
    if (this.#segments[this.#index]?.baseOffset === base) return;
    this.#segments.splice(this.#index, 0, this.#newSegment(base));
    // The listing took the one before for the last one, and did not know where it ends.
    this.#segments[this.#index - 1]?.endsAt(base);
  }

  /**
   * The segment of the recovery point may not have been made yet, when nothing was in it; or all of
   * it is below the log start, and it is gone already, or came back: it was not fsynced any more.
   */
  async #lackingSegment(base: number, present: Segment | undefined): Promise<void> {
    const { context } = this.#input;
    if (this.#position > 0 && this.#logStart < this.#end) {
      const has = present === undefined ? "is missing" : `has ${present.sizeBytes} bytes`;
      throw new PartitionDamage(`segment ${base} ${has}, ${this.#position} bytes were fsynced`);
    }
    const deleted = present === undefined ? [] : this.#segments.splice(this.#index, 1);
    await dropSegments(context, this.#partition, deleted);
    this.#beginEmptyAt(this.#position > 0 ? this.#end : base);
  }

  #newSegment(base: number): Segment {
    return new Segment(this.#partition.directory, base);
  }

  /** What the segment's index says of the part before `position` is believed. */
  #resetIndex(segment: Segment, position: number): Promise<void> {
    const offset = position === 0 ? segment.baseOffset : this.#end;
    return endSegmentAt(this.#input.context, segment, { offset, position });
  }

  /** Segments up to the end that recovery has reached. */
  #before(): readonly Segment[] {
    return this.#segments.slice(0, this.#index + 1).filter((segment) => segment.sizeBytes > 0);
  }

  #visit(segment: Segment, take: (batch: ScannedBatch) => boolean): Promise<void> {
    return visitBatches(this.#input.context, segment, take);
  }

  /** Lets others run after some entries. */
  async #pause(): Promise<void> {
    if (this.#pace.took()) await this.#pace.pause();
  }

  async #replay(entry: PlannedEntry): Promise<void> {
    this.#input.counts.entriesReplayed += 1;
    await this.#pause();
    if (entry.kind === "batch") await this.#replayBatch(entry);
    else if (entry.kind === "truncate") await this.#advanceIfPresent(entry.offset);
    else if (entry.kind === "epochStart") await this.#beginEpoch(entry);
    else if (entry.kind === "unknown") {
      throw unknownChange(entry.code);
    }
  }

  #refuseBehind(offset: number): void {
    if (offset < this.#end) throw beginsAgain(this.#end, offset);
  }

  /** All before this offset was deleted, durably: it needs no recovery. */
  #isDeleted(offset: number): boolean {
    return offset < this.#end && offset < this.#logStart;
  }

  /**
   * What came before the epoch may have been acknowledged from the page cache alone, and be lost:
   * then the epoch begins where the log ends. Where the journal vouches for it, its batches were
   * replayed already.
   */
  async #beginEpoch(entry: PlannedEpoch): Promise<void> {
    await this.#advanceIfPresent(entry.offset);
    if (!this.#isDeleted(entry.offset)) this.#refuseBehind(entry.offset);
    this.#epochs.begin(entry.leaderEpoch, Math.min(entry.offset, this.#end));
  }

  async #replayBatch(entry: PlannedBatch): Promise<void> {
    await this.#requireThrough(entry.offset);
    if (this.#isDeleted(entry.offset)) {
      await this.#remember(entry);
      return;
    }
    this.#refuseBehind(entry.offset);
    await this.#producers.goOn(this.#end);
    const present = await this.#peek();
    if (present !== undefined && present.header.headerCrc === entry.headerCrc) {
      this.#accept(present);
      return;
    }
    if (!entry.sound) throw lostBatch(entry.offset);
    if (this.#mending && entry.offset < this.#backTo) await this.#mend(entry);
    else if (!this.#void && !(await this.#voidBehind(entry.offset))) await this.#remember(entry);
    else await (this.#void ? this.#write(entry) : this.#mend(entry));
  }

  #remember(entry: PlannedBatch): Promise<void> {
    return rememberDeleted(this.#journal, this.#partition, this.#producers, entry);
  }

  /** Offset from which on a truncation may have left another history in the segments. */
  get #backTo(): number {
    return this.#truncations.backTo ?? Number.MAX_SAFE_INTEGER;
  }

  /** Goes on through the segments up to `offset`, which the journal says was reached. */
  async #requireThrough(offset: number): Promise<void> {
    while (this.#end < offset) {
      const batch = await this.#next(offset);
      if (batch !== undefined) {
        this.#accept(batch);
      } else if (this.#end >= offset) {
        return;
      } else if (offset <= this.#logStart) {
        if (await this.#voidBehind(offset)) this.#beginAnew(offset);
      } else {
        throw missing(this.#end, offset, this.#stopReason);
      }
    }
  }

  /** Goes on through the segments up to `offset` as far as there are whole batches. */
  async #advanceIfPresent(offset: number): Promise<void> {
    while (this.#end < offset) {
      const batch = await this.#next(offset);
      if (batch === undefined || batch.lastOffset >= offset) return;
      this.#accept(batch);
    }
  }

  /** The log was cut below its start, and began again there. */
  #beginAnew(offset: number): void {
    this.#segments.push(this.#newSegment(offset));
    this.#index = this.#segments.length - 1;
    this.#position = 0;
    this.#end = offset;
  }

  /**
   * Cuts everything behind the present position: from `offset` on the journal has it. Where only
   * the segments have what comes then, nothing is cut: batches are put back between what they have.
   * False, with nothing cut, where they go on behind what was deleted.
   */
  async #voidBehind(offset: number): Promise<boolean> {
    let end = offset;
    for (const entry of this.#truncations.entries) {
      if (entry.kind !== "batch" || entry.offset < offset) continue;
      if (!entry.sound) throw lostBatch(entry.offset);
      if (entry.offset > end && entry.offset > this.#logStart) {
        if (await this.#goesOn(offset, end)) return true;
        if (await this.#passDeleted(this.#logStart)) return false;
        throw missing(end, entry.offset, this.#stopReason);
      }
      end = (await this.#journal.batch(entry)).lastOffset + 1;
      await this.#pause();
    }
    if (await this.#goesOn(offset, end)) return true;
    await this.#cutHere();
    this.#void = true;
    return true;
  }

  /**
   * Whether the segments have more behind `end`, up to where the journal has everything from
   * `offset` on: what was acknowledged from the page cache alone.
   */
  async #goesOn(offset: number, end: number): Promise<boolean> {
    if (offset < this.#logStart || end >= this.#backTo) return false;
    const holds = this.#segments.findLastIndex(({ baseOffset }) => baseOffset < end);
    const next = this.#segments[holds + 1];
    const segment = must(this.#segments[holds], "segment of the journal's end");
    const { entries } = this.#truncations;
    const from = Math.max(offset, segment.baseOffset);
    const before = holds === this.#index ? this.#position : 0;
    const goesOn = next !== undefined && next.baseOffset < this.#backTo;
    const bytes = before + bytesOfBatches(entries, from, end);
    this.#mending = goesOn || (await this.#bytesOf(segment)) > bytes;
    return this.#mending;
  }

  /**
   * The next batch in the segments. What is missing below the log start was deleted: recovery goes
   * on behind it, but not behind `upTo`.
   */
  async #next(upTo = Number.MAX_SAFE_INTEGER): Promise<ScannedBatch | undefined> {
    await this.#producers.goOn(this.#end);
    const batch = await this.#peek();
    if (batch !== undefined || this.#void) return batch;
    if (!(await this.#passDeleted(Math.min(this.#logStart, upTo)))) return undefined;
    // The journal goes on here.
    return this.#end < upTo ? this.#peek() : undefined;
  }

  /**
   * Goes on at the last segment that begins at or below `start`. Deleted segments lose their names
   * in any order, and nobody fsyncs them any more.
   */
  async #passDeleted(start: number): Promise<boolean> {
    const index = this.#segments.findLastIndex(({ baseOffset }) => baseOffset <= start);
    const segment = this.#segments[index];
    const passes = index > this.#index && (segment?.baseOffset ?? 0) > this.#end;
    if (segment === undefined || !passes) return false;
    await this.#closeScanner();
    this.#index = index;
    this.#position = 0;
    await this.#goOnAt(segment.baseOffset);
    this.#partition.producers.rolled(this.#end);
    return true;
  }

  /** The next batch in the segments, if it is whole and follows. */
  async #peek(): Promise<ScannedBatch | undefined> {
    const segment = this.#segments[this.#index];
    if (segment === undefined || this.#void) return this.#stop("there is nothing behind it");
    const bytes = await this.#bytesOf(segment);
    const next = this.#segments[this.#index + 1];
    if (this.#position >= bytes) {
      if (next === undefined || next.baseOffset !== this.#end) return this.#stop("the log ends");
      await this.#closeScanner();
      this.#index += 1;
      this.#position = 0;
      this.#partition.producers.rolled(this.#end);
      return this.#peek();
    }
    const { scanner } = this.#scanner ?? (await this.#openScanner(segment, bytes));
    const batch = await scanner.peek();
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

  async #bytesOf(segment: Segment): Promise<number> {
    const known = segment.created ? this.#fileBytes.get(segment) : 0;
    if (known !== undefined) return known;
    const bytes = (await this.#input.context.env.disk.fileSize(segment.path)) ?? 0;
    this.#fileBytes.set(segment, bytes);
    return bytes;
  }

  async #openScanner(segment: Segment, endPosition: number) {
    const file = await this.#input.context.env.disk.open(segment.path, "read");
    const { clock } = this.#input.context.env;
    const scanner = new BatchScanner(clock, file, this.#position, endPosition);
    const close = async (): Promise<void> => {
      this.#input.counts.segmentBytesScanned += scanner.bytesRead;
      await file.close();
    };
    this.#scanner = { scanner, close };
    return this.#scanner;
  }

  async #closeScanner(): Promise<void> {
    const scanner = this.#scanner;
    this.#scanner = undefined;
    await scanner?.close();
  }

  /** Takes a batch that lies where it should. */
  #accept(batch: ScannedBatch): void {
    const segment = this.#take(batch);
    segment.beginAt(segment.end);
    if (!this.#kept.has(segment)) this.#kept.set(segment, batch.position);
    this.#scanner?.scanner.skip(batch);
  }

  /** Appends a batch to what is known of the log. */
  #take(batch: Pick<ScannedBatch, "header" | "info" | "lastOffset" | "bytes">): Segment {
    const segment = must(this.#segments[this.#index], "segment in recovery");
    const { header, info, lastOffset, bytes } = batch;
    const { epochs, producers, config } = this.#partition;
    if (header.leaderEpoch < epochs.latest) {
      throw epochFalls(header.baseOffset, header.leaderEpoch, epochs.latest);
    }
    epochs.assign(header.leaderEpoch, header.baseOffset);
    producers.latest.record(info, header.baseOffset, header.appendTimeMs);
    const { maxTimestampMs } = info;
    const { appendTimeMs } = header;
    segment.append({ lastOffset, bytes, maxTimestampMs, appendTimeMs }, config.indexIntervalBytes);
    this.#position = segment.sizeBytes;
    this.#end = lastOffset + 1;
    this.#producers.reached(this.#end);
    return segment;
  }

  /** Puts a batch of the journal where the segments do not have it. */
  async #write(entry: PlannedBatch): Promise<void> {
    const { bytes, header, info, lastOffset } = await this.#journal.batch(entry);
    const { segmentBytes } = this.#partition.config;
    const present = this.#segments[this.#index];
    if (present === undefined || !present.fits(bytes.length, lastOffset, segmentBytes)) {
      await this.#flush();
      this.#partition.producers.rolled(this.#end);
      this.#segments.push(this.#newSegment(this.#end));
      this.#index = this.#segments.length - 1;
      this.#position = 0;
    }
    this.#take({ header, info, bytes: bytes.length, lastOffset });
    this.#unwritten.push(bytes);
    this.#unwrittenBytes += bytes.length;
    if (this.#unwrittenBytes >= writeBytes) await this.#flush();
  }

  /** Puts a batch of the journal where the segments have lost it. They go on behind it. */
  async #mend(entry: PlannedBatch): Promise<void> {
    const { bytes, header, info, lastOffset } = await this.#journal.batch(entry);
    await this.#closeScanner();
    const position = this.#position;
    const segment = this.#take({ header, info, bytes: bytes.length, lastOffset });
    await this.#input.context.files.withMade(segment, (file) => file.write([bytes], position));
    segment.wrote(segment.sizeBytes);
    this.#fileBytes.delete(segment);
  }

  /** Writes the batches that were gathered at the end of the present segment. */
  async #flush(): Promise<void> {
    if (this.#unwrittenBytes === 0) return;
    const segment = must(this.#segments[this.#index], "segment in recovery");
    const chunks = this.#unwritten;
    const position = segment.sizeBytes - this.#unwrittenBytes;
    this.#unwritten = [];
    this.#unwrittenBytes = 0;
    await this.#input.context.files.withMade(segment, (file) => file.write(chunks, position));
    segment.wrote(segment.sizeBytes);
    this.#fileBytes.delete(segment);
  }

  /** Makes the files end where recovery has come to. */
  async #cutHere(): Promise<void> {
    const { context, counts } = this.#input;
    await this.#flush();
    await this.#closeScanner();
    const segment = this.#segments[this.#index];
    if (segment === undefined) return;
    const dropped = this.#segments.splice(this.#index + 1);
    let cutBytes = 0;
    for (const gone of dropped) cutBytes += await this.#bytesOf(gone);
    cutBytes += Math.max(0, (await this.#bytesOf(segment)) - this.#position);
    if (cutBytes === 0 && dropped.length === 0) return;
    counts.bytesCut += cutBytes;
    this.#fileBytes.delete(segment);
    await cutFiles(context, this.#partition, segment, dropped);
  }

  async #keepTail(): Promise<void> {
    for (let batch = await this.#next(); batch !== undefined; batch = await this.#next()) {
      this.#accept(batch);
    }
  }

  /**
   * Without its recovery point nobody knows whether a truncation in the journal came before what
   * the segments hold, or after it.
   */
  async #refuseTail(): Promise<void> {
    if ((await this.#peek()) === undefined) return;
    throw olderTruncation(this.#end);
  }

  /** Segments wholly below the log start are gone; a log that ends below it begins again there. */
  async #restartBehindLogStart(): Promise<void> {
    if (this.#segments.length === 0) this.#segments.push(this.#newSegment(this.#end));
    if (this.#end >= this.#logStart) return;
    this.#segments.push(this.#newSegment(this.#logStart));
    await this.#goOnAt(this.#logStart);
  }

  /** Everything up to `offset` is deleted. */
  async #goOnAt(offset: number): Promise<void> {
    await this.#producers.goOnAt(offset, this.#end);
    this.#epochs.goOnAt(offset);
    this.#end = offset;
  }
}
