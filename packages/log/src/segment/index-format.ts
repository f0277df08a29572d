/**
 * The sparse index of one segment: where batches lie, and how late their timestamps are.
 *
 * In memory a row is (relative offset, position, largest timestamp of the segment's batches before
 * it). On disk the first two are `<base>.index`, the third is `<base>.timeindex`, in entries of 16
 * bytes that check themselves:
 *
 *     .index      relative_offset(4) position(4) 0(4) crc32c(4)
 *     .timeindex  timestamp_ms(8) relative_offset(4) crc32c(4)
 *
 * The CRC is over the base offset and the entry before it. A file is believed up to its first bad,
 * falling or out-of-range entry; everything past that is built again from the log.
 */
import { crcOf, readU64, writeU64 } from "@millrace/record";
import { atOnce } from "../files/breathe.ts";

export const INDEX_ENTRY_BYTES = 16;
/** Entries encoded or decoded in one turn of the event loop; about a millisecond. */
const entriesPerStep = 4096;

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

function* encodeEntries(
  baseOffset: number,
  rows: readonly IndexRow[],
  fill: (entry: Buffer, row: IndexRow) => void,
): Generator<undefined, Buffer, undefined> {
  const bytes = Buffer.alloc(rows.length * INDEX_ENTRY_BYTES);
  for (const [i, row] of rows.entries()) {
    if (i % entriesPerStep === entriesPerStep - 1) yield undefined;
    const entry = bytes.subarray(i * INDEX_ENTRY_BYTES, (i + 1) * INDEX_ENTRY_BYTES);
    fill(entry, row);
    entry.writeUInt32LE(entryCrc(baseOffset, entry), 12);
  }
  return bytes;
}

/** Bytes to append to `.index`, in steps: an index that was built anew is written whole. */
export const encodeOffsetSteps = (baseOffset: number, rows: readonly IndexRow[]) =>
  encodeEntries(baseOffset, rows, (entry, row) => {
    entry.writeUInt32LE(row.offset - baseOffset, 0);
    entry.writeUInt32LE(row.position, 4);
  });

/** Bytes to append to `.timeindex`. A row whose timestamp is -1 is written as 0. */
export const encodeTimeSteps = (baseOffset: number, rows: readonly IndexRow[]) =>
  encodeEntries(baseOffset, rows, (entry, row) => {
    writeU64(entry, 0, Math.max(0, row.maxBeforeMs));
    entry.writeUInt32LE(row.offset - baseOffset, 8);
  });

export const encodeOffsetEntries = (baseOffset: number, rows: readonly IndexRow[]): Buffer =>
  atOnce(encodeOffsetSteps(baseOffset, rows));

export const encodeTimeEntries = (baseOffset: number, rows: readonly IndexRow[]): Buffer =>
  atOnce(encodeTimeSteps(baseOffset, rows));

/** Whether an entry's CRC is right. */
const entryIsSound = (baseOffset: number, entry: Buffer): boolean =>
  entry.readUInt32LE(12) === entryCrc(baseOffset, entry);

const entryOf = (bytes: Buffer, number: number): Buffer =>
  bytes.subarray(number * INDEX_ENTRY_BYTES, (number + 1) * INDEX_ENTRY_BYTES);

/** What is believable of an index. */
export interface DecodedIndex {
  readonly rows: IndexRow[];
  /**
   * Entries of the time index up to the last row's: it also has one for each time the segment
   * ended.
   */
  readonly timeEntries: number;
  /** Largest timestamp of the segment, where the time index ends with it. */
  readonly maxTimestampMs: number | undefined;
}

/** Believable entries of the time index, in order. */
function* decodeTimes(
  baseOffset: number,
  timeIndex: Buffer,
  endOffset: number,
): Generator<undefined, { offsets: Float64Array; times: Float64Array; count: number }, undefined> {
  const most = Math.floor(timeIndex.length / INDEX_ENTRY_BYTES);
  const offsets = new Float64Array(most);
  const times = new Float64Array(most);
  let lastOffset = -1;
  let lastMs = -1;
  let count = 0;
  for (; count < most; count += 1) {
    if (count % entriesPerStep === entriesPerStep - 1) yield undefined;
    const entry = entryOf(timeIndex, count);
    if (!entryIsSound(baseOffset, entry)) break;
    const offset = baseOffset + entry.readUInt32LE(8);
    const maxBeforeMs = readU64(entry, 0);
    if (!(maxBeforeMs >= lastMs) || offset < lastOffset || offset > endOffset) break;
    offsets[count] = lastOffset = offset;
    times[count] = lastMs = maxBeforeMs;
  }
  return { offsets, times, count };
}

/**
 * What is believable of the two files of a segment that ends at `endOffset` and `endPosition`. In
 * steps: the index of a full segment has hundreds of thousands of entries.
 */
export function* decodeIndexSteps(
  baseOffset: number,
  index: Buffer,
  timeIndex: Buffer,
  endOffset: number,
  endPosition: number,
): Generator<undefined, DecodedIndex, undefined> {
  const { offsets, times, count } = yield* decodeTimes(baseOffset, timeIndex, endOffset);
  const rows: IndexRow[] = [];
  const most = Math.floor(index.length / INDEX_ENTRY_BYTES);
  let timeEntries = 0;
  let before: IndexRow = { offset: -1, position: -1, maxBeforeMs: -1 };
  for (let at = 0; at < most; at += 1) {
    if (at % entriesPerStep === entriesPerStep - 1) yield undefined;
    const entry = entryOf(index, at);
    if (!entryIsSound(baseOffset, entry)) break;
    const offset = baseOffset + entry.readUInt32LE(0);
    const position = entry.readUInt32LE(4);
    const rises = offset > before.offset && position > before.position;
    if (!rises || offset >= endOffset || position >= endPosition) break;
    // Both files rise. Of several time entries for one offset the last one counts.
    let next = timeEntries;
    while (next < count && (offsets[next] ?? 0) <= offset) next += 1;
    if (next === 0 || offsets[next - 1] !== offset) break;
    timeEntries = next;
    before = { offset, position, maxBeforeMs: times[next - 1] ?? -1 };
    rows.push(before);
  }
  const whole = count > 0 && offsets[count - 1] === endOffset && endOffset > baseOffset;
  return { rows, timeEntries, maxTimestampMs: whole ? times[count - 1] : undefined };
}

/** The same at once. */
export const decodeIndex = (...input: Parameters<typeof decodeIndexSteps>): DecodedIndex =>
  atOnce(decodeIndexSteps(...input));

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
