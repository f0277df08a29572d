/** One segment of a partition as the log knows it in memory. */
import { assert } from "@millrace/errors";
import { Durability } from "../files/durability.ts";
import { offsetName } from "../files/paths.ts";
import type { IndexRow } from "./index-format.ts";
import type { Place } from "./place.ts";
import { SegmentIndex } from "./segment-index.ts";

/** What a segment must know of a batch that it takes. */
export interface SegmentBatch {
  readonly lastOffset: number;
  readonly bytes: number;
  /** Largest record timestamp, milliseconds. */
  readonly maxTimestampMs: number;
  /** Wall time at which the log took the batch, milliseconds. */
  readonly appendTimeMs: number;
  /** The same by the monotonic clock; absent for a batch that recovery found. */
  readonly appendMonoMs?: number;
}

/** What is left of a segment. */
export interface CleanedSegment {
  readonly sizeBytes: number;
  readonly endOffset: number;
  readonly firstAppendMs: number;
  readonly lastAppendMs: number;
  /** Largest record timestamp, -1 for none. */
  readonly maxTimestampMs: number;
  readonly rows: readonly IndexRow[];
}

/** Offsets and positions of index entries are unsigned 32-bit numbers, relative to the segment. */
export const relativeOffsetMax = 0xffff_ffff;
export const segmentBytesMax = 0x7fff_ffff;

/**
 * One `.log` file with its index. The numbers describe what was appended, which may be ahead of the
 * file. Only this class changes them.
 */
export class Segment {
  readonly baseOffset: number;
  readonly path: string;
  readonly index: SegmentIndex;
  /** Of the bytes in the file. */
  readonly durability = new Durability();
  #sizeBytes = 0;
  #writtenBytes = 0;
  #endOffset: number;
  #created = false;
  #cutting = false;
  #dropped = false;
  #firstAppendMs: number | undefined;
  #lastAppendMs: number | undefined;
  #lastAppendMonoMs: number | undefined;

  constructor(directory: string, baseOffset: number) {
    this.baseOffset = baseOffset;
    this.#endOffset = baseOffset;
    this.path = `${directory}/${offsetName(baseOffset)}.log`;
    this.index = new SegmentIndex(this.path);
  }

  /** A segment whose files are there, believed to hold whole batches up to `endOffset`. */
  static found(
    directory: string,
    baseOffset: number,
    sizeBytes: number,
    endOffset: number,
    entries: { readonly rows: number; readonly times: number; readonly there: boolean },
  ): Segment {
    const segment = new Segment(directory, baseOffset);
    segment.#created = true;
    segment.#sizeBytes = sizeBytes;
    segment.#writtenBytes = sizeBytes;
    segment.#endOffset = endOffset;
    segment.index.found(entries.rows, entries.times, entries.there);
    return segment;
  }

  /** A segment that was written anew, and fsynced, but for its index. */
  static cleaned(directory: string, baseOffset: number, left: CleanedSegment): Segment {
    const segment = new Segment(directory, baseOffset);
    const { endOffset, sizeBytes } = left;
    segment.#sizeBytes = sizeBytes;
    segment.#endOffset = endOffset;
    segment.#firstAppendMs = left.firstAppendMs;
    segment.#lastAppendMs = left.lastAppendMs;
    segment.wrote(sizeBytes);
    segment.durability.durableUpTo(segment.durability.version);
    segment.index.builtAnew(left.rows, left.maxTimestampMs, sizeBytes, true);
    return segment;
  }

  /** Bytes appended. */
  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Bytes that are in the page cache. */
  get writtenBytes(): number {
    return this.#writtenBytes;
  }

  /** Offset after the last record. */
  get endOffset(): number {
    return this.#endOffset;
  }

  /** The place after the last record. */
  get end(): Place {
    return { offset: this.#endOffset, position: this.#sizeBytes };
  }

  /** The file exists, its name maybe not yet durably. */
  get created(): boolean {
    return this.#created;
  }

  /** Taken out of the log: its files go, and nothing reaches them any more. */
  get dropped(): boolean {
    return this.#dropped;
  }

  /** Wall time of the first batch, if this life of the process appended it or looked it up. */
  get firstAppendMs(): number | undefined {
    return this.#firstAppendMs;
  }

  /** Wall time of the newest batch, if it was appended or looked up in this life of the process. */
  get lastAppendMs(): number | undefined {
    return this.#lastAppendMs;
  }

  /** Monotonic time of the newest batch, if it was appended in this life of the process. */
  get lastAppendMonoMs(): number | undefined {
    return this.#lastAppendMonoMs;
  }

  /** Files of the segment, the log first. */
  get paths(): readonly string[] {
    return [this.path, ...this.index.paths];
  }

  /** Whether a batch fits: by size, and by what an index entry can hold. */
  fits(bytes: number, lastOffset: number, segmentBytes: number): boolean {
    if (this.#sizeBytes === 0) return true;
    return (
      this.#sizeBytes + bytes <= Math.min(segmentBytes, segmentBytesMax) &&
      // An entry may hold the offset after the batch, too.
      lastOffset + 1 - this.baseOffset <= relativeOffsetMax
    );
  }

  /** Takes a batch at the end; returns its position. The bytes are still to be written. */
  append(batch: SegmentBatch, everyBytes: number): number {
    const position = this.#sizeBytes;
    const { lastOffset, bytes, maxTimestampMs, appendTimeMs, appendMonoMs } = batch;
    assert(lastOffset >= this.#endOffset, "offsets of a segment rise");
    assert(
      lastOffset + 1 - this.baseOffset <= relativeOffsetMax,
      "a segment's offsets fit its index",
    );
    this.index.append({ offset: this.#endOffset, position }, maxTimestampMs, everyBytes);
    this.#sizeBytes += bytes;
    this.#endOffset = lastOffset + 1;
    if (position === 0) this.#firstAppendMs = appendTimeMs;
    this.#lastAppendMs = appendTimeMs;
    this.#lastAppendMonoMs = appendMonoMs;
    return position;
  }

  /** The append time of the first batch was read from the file. */
  foundFirstAppend(appendTimeMs: number): void {
    this.#firstAppendMs ??= appendTimeMs;
  }

  /** The append time of the newest batch was read from the file. */
  foundLastAppend(appendTimeMs: number): void {
    this.#lastAppendMs ??= appendTimeMs;
  }

  /** The file has everything up to `endPosition`. An fsync that began before does not cover it. */
  wrote(endPosition: number): void {
    this.#created = true;
    this.#writtenBytes = Math.max(this.#writtenBytes, endPosition);
    this.durability.changed();
  }

  /** Ends at `cut` from now on; what was behind it is void. The file is still to be cut. */
  cutTo(cut: Place): void {
    this.#sizeBytes = cut.position;
    this.#writtenBytes = Math.min(this.#writtenBytes, cut.position);
    this.#endOffset = cut.offset;
    this.#lastAppendMs = undefined;
    this.#lastAppendMonoMs = undefined;
    this.#cutting = true;
    this.index.cutTo(cut);
  }

  /**
   * Recovery: what is known of the segment ends at `end`; recovery appends what it finds behind.
   */
  beginAt(end: Place): void {
    this.#sizeBytes = end.position;
    this.#writtenBytes = end.position;
    this.#endOffset = end.offset;
    if (this.#created) this.durability.changed();
  }

  /** Takes the segment out of the log, for good. Its files are still to be removed. */
  drop(): void {
    this.#dropped = true;
  }

  /** The file, if there is one, ends where the segment does. */
  fileCut(): void {
    this.#cutting = false;
    this.#writtenBytes = Math.min(this.#writtenBytes, this.#sizeBytes);
    if (this.#created) this.durability.changed();
  }

  /** The file is still to be cut: an fsync before that does not make the cut durable. */
  get cutting(): boolean {
    return this.#cutting;
  }

  /** Where a segment that was found ends, once somebody knows better than the listing. */
  endsAt(endOffset: number): void {
    this.#endOffset = endOffset;
  }
}
