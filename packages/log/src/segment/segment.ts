/** What the log keeps in memory of one segment file. */

import { offsetName } from "../files/paths.ts";
import type { IndexRow } from "./index-format.ts";

/** One `.log` file with its index. Numbers describe what was appended, which may be ahead of the file. */
export class Segment {
  readonly baseOffset: number;
  readonly path: string;
  /** Bytes appended. */
  sizeBytes = 0;
  /** Bytes that are in the page cache. */
  writtenBytes = 0;
  /** Offset after the last record. */
  endOffset: number;
  /** Wall time of the first append, milliseconds; undefined while empty. After a restart, of the load. */
  firstAppendMs: number | undefined;
  /** Largest record timestamp of what was appended since the segment was made or loaded; -1 for none. */
  runningMaxMs = -1;
  /** False after a load: `runningMaxMs` lacks what was there before, until the index cache has looked. */
  maxComplete = true;
  /** Written since the last fsync. */
  dirty = false;
  /** The file exists (its name maybe not yet durably). */
  created = false;
  /** Rows that are in the index files, when loaded. */
  rows: IndexRow[] | undefined = [];
  /** Rows that are not in the index files yet. */
  fresh: IndexRow[] = [];
  /** Rows in the index files, and the entries of the time index besides. */
  rowsOnDisk = 0;
  timeEntriesOnDisk = 0;
  /** Position of the newest row, of either kind. */
  lastRowPosition = -1;
  /** The time index ends with the segment's largest timestamp. */
  finished = false;
  /** Rises whenever the index files change, and is odd while they are: what was read meanwhile is void. */
  indexVersion = 0;
  /** Everything in the index files is fsynced. */
  indexSynced = false;

  constructor(directory: string, baseOffset: number) {
    this.baseOffset = baseOffset;
    this.endOffset = baseOffset;
    this.path = `${directory}/${offsetName(baseOffset)}.log`;
  }

  get indexPath(): string {
    return this.path.replace(/\.log$/, ".index");
  }

  get timeIndexPath(): string {
    return this.path.replace(/\.log$/, ".timeindex");
  }

  /** Largest record timestamp; -1 while empty; undefined when the index must be looked at first. */
  get maxTimestampMs(): number | undefined {
    return this.maxComplete ? this.runningMaxMs : undefined;
  }

  /** The part that was there before a load has timestamps up to `maxMs`. */
  completeMax(maxMs: number): void {
    if (this.maxComplete) return;
    this.fresh = this.fresh.map((row) => ({
      ...row,
      maxBeforeMs: Math.max(row.maxBeforeMs, maxMs),
    }));
    this.runningMaxMs = Math.max(this.runningMaxMs, maxMs);
    this.maxComplete = true;
  }

  /** Files of the segment, the log first. */
  get paths(): readonly string[] {
    return [this.path, this.indexPath, this.timeIndexPath];
  }

  /** Takes a batch of `bytes` at the end. */
  append(lastOffset: number, bytes: number, batchMaxMs: number, everyBytes: number): void {
    this.addRow(this.sizeBytes, this.endOffset, everyBytes);
    this.sizeBytes += bytes;
    this.endOffset = lastOffset + 1;
    this.finished = false;
    if (batchMaxMs > this.runningMaxMs) this.runningMaxMs = batchMaxMs;
  }

  /** An index row for the batch at `position`, unless the last row is near. The first batch of a segment
   * needs none. */
  addRow(position: number, offset: number, everyBytes: number): void {
    if (position === 0 || position - Math.max(0, this.lastRowPosition) < everyBytes) return;
    this.fresh.push({ offset, position, maxBeforeMs: this.runningMaxMs });
    this.lastRowPosition = position;
  }
}
