/**
 * The sparse index of one segment: where batches lie, and how late their timestamps are.
 *
 * In memory a row is (relative offset, position, largest timestamp of the segment's batches before it). On disk the first
 * two are `<base>.index`, the third is `<base>.timeindex`, in entries of 16 bytes that check themselves:
 *
 *     .index      relative_offset(4) position(4) 0(4) crc32c(4)
 *     .timeindex  timestamp_ms(8) relative_offset(4) crc32c(4)
 *
 * The CRC is over the base offset and the entry before it. A file is believed up to its first bad, falling
 * or out-of-range entry; everything past that is built again from the log.
 */
import { crcOf, readU64, writeU64 } from "@millrace/record";

export const INDEX_ENTRY_BYTES = 16;

export interface IndexRow {
  readonly offset: number;
  readonly position: number;
  /** Largest timestamp of the batches before the row; -1 when there are none. Milliseconds. */
  readonly maxBeforeMs: number;
}

const scratch = Buffer.alloc(20);

const entryCrc = (baseOffset: number, entry: Buffer): number => {
  writeU64(scratch, 0, baseOffset);
  entry.copy(scratch, 8, 0, 12);
  return crcOf(scratch);
};

const encodeEntries = (
  baseOffset: number,
  rows: readonly IndexRow[],
  fill: (entry: Buffer, row: IndexRow) => void,
): Buffer => {
  const bytes = Buffer.alloc(rows.length * INDEX_ENTRY_BYTES);
  for (const [i, row] of rows.entries()) {
    const entry = bytes.subarray(i * INDEX_ENTRY_BYTES, (i + 1) * INDEX_ENTRY_BYTES);
    fill(entry, row);
    entry.writeUInt32LE(entryCrc(baseOffset, entry), 12);
  }
  return bytes;
};

/** Bytes to append to `.index`. */
export const encodeOffsetEntries = (baseOffset: number, rows: readonly IndexRow[]): Buffer =>
  encodeEntries(baseOffset, rows, (entry, row) => {
    entry.writeUInt32LE(row.offset - baseOffset, 0);
    entry.writeUInt32LE(row.position, 4);
  });

/** Bytes to append to `.timeindex`. A row whose timestamp is -1 is written as 0. */
export const encodeTimeEntries = (baseOffset: number, rows: readonly IndexRow[]): Buffer =>
  encodeEntries(baseOffset, rows, (entry, row) => {
    writeU64(entry, 0, Math.max(0, row.maxBeforeMs));
    entry.writeUInt32LE(row.offset - baseOffset, 8);
  });

export interface TimeEntry {
  readonly offset: number;
  readonly maxBeforeMs: number;
}

/** Believable entries of an index file, each accepted by `take` (which returns false to stop). */
const eachEntry = (baseOffset: number, bytes: Buffer, take: (entry: Buffer) => boolean): number => {
  let at = 0;
  while (at + INDEX_ENTRY_BYTES <= bytes.length) {
    const entry = bytes.subarray(at, at + INDEX_ENTRY_BYTES);
    if (entry.readUInt32LE(12) !== entryCrc(baseOffset, entry) || !take(entry)) break;
    at += INDEX_ENTRY_BYTES;
  }
  return at;
};

/** What is believable of an index. */
export interface DecodedIndex {
  readonly rows: IndexRow[];
  /** Entries of the time index up to the last row's: it also has one for each time that the segment ended. */
  readonly timeEntries: number;
  /** Largest timestamp of the segment, where the time index ends with it. */
  readonly maxTimestampMs: number | undefined;
}

/** What is believable of the two files of a segment that ends at `endOffset` and `endPosition`. */
export const decodeIndex = (
  baseOffset: number,
  index: Buffer,
  timeIndex: Buffer,
  endOffset: number,
  endPosition: number,
): DecodedIndex => {
  const times = new Map<number, number>();
  const places = new Map<number, number>();
  let last: TimeEntry = { offset: -1, maxBeforeMs: -1 };
  let count = 0;
  eachEntry(baseOffset, timeIndex, (entry) => {
    const offset = baseOffset + entry.readUInt32LE(8);
    const maxBeforeMs = readU64(entry, 0);
    if (!(maxBeforeMs >= last.maxBeforeMs) || offset < last.offset || offset > endOffset)
      return false;
    last = { offset, maxBeforeMs };
    times.set(offset, maxBeforeMs);
    count += 1;
    places.set(offset, count);
    return true;
  });
  const rows: IndexRow[] = [];
  eachEntry(baseOffset, index, (entry) => {
    const offset = baseOffset + entry.readUInt32LE(0);
    const position = entry.readUInt32LE(4);
    const before = rows.at(-1);
    const maxBeforeMs = times.get(offset);
    const rises = before === undefined || (offset > before.offset && position > before.position);
    if (!rises || offset >= endOffset || position >= endPosition) return false;
    if (maxBeforeMs === undefined) return false;
    rows.push({ offset, position, maxBeforeMs });
    return true;
  });
  const whole = last.offset === endOffset && endOffset > baseOffset;
  const timeEntries = places.get(rows.at(-1)?.offset ?? -1) ?? 0;
  return { rows, timeEntries, maxTimestampMs: whole ? last.maxBeforeMs : undefined };
};

/** Index of the last row for which `before` holds, or -1; `before` must hold for a prefix. */
const lastRow = (rows: readonly IndexRow[], before: (row: IndexRow) => boolean): number => {
  let low = -1;
  let high = rows.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    const row = rows[middle];
    if (row !== undefined && before(row)) low = middle;
    else high = middle - 1;
  }
  return low;
};

/** The last row at or before `offset`, or undefined: begin at the segment's start. */
export const rowForOffset = (rows: readonly IndexRow[], offset: number): IndexRow | undefined =>
  rows[lastRow(rows, (row) => row.offset <= offset)];

/** The last row before which every timestamp is below `timestampMs`, or undefined. */
export const rowForTimestamp = (
  rows: readonly IndexRow[],
  timestampMs: number,
): IndexRow | undefined => rows[lastRow(rows, (row) => row.maxBeforeMs < timestampMs)];
