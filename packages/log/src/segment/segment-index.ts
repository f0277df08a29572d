/**
 * The sparse index of one segment in memory: rows that are in the index files, rows that are not
 * yet, and the largest timestamp. See `index-format.ts` for the files.
 */
import { assert } from "@millrace/errors";
import { Durability } from "../files/durability.ts";
import type { IndexRow } from "./index-format.ts";
import type { Place } from "./place.ts";

/** What one write adds to the index files. */
export interface IndexWrite {
  readonly rows: readonly IndexRow[];
  /** Rows for the time index: the same, and the entry that ends it. */
  readonly times: readonly IndexRow[];
  readonly rowsAt: number;
  readonly timesAt: number;
  /** The files are not added to but replaced: what they held was lost. */
  readonly replaces: boolean;
  /** Where the segment ended, if the write ends the time index with its largest timestamp. */
  readonly endOffset: number | undefined;
  /** Cuts of the segment before the write. */
  readonly cuts: number;
}

export class SegmentIndex {
  readonly #logPath: string;
  /** Of the index files. */
  readonly durability = new Durability();
  /** Rows in the index files; undefined while they are not loaded. */
  #rows: IndexRow[] | undefined = [];
  /** Rows that are not in the index files yet. */
  #fresh: IndexRow[] = [];
  #rowsOnDisk = 0;
  #timesOnDisk = 0;
  #replaces = false;
  #filesThere = false;
  /** Position of the newest row, of either kind. */
  #lastRowPosition = -1;
  /** Largest timestamp of what was appended since the segment was made or loaded; -1 for none. */
  #runningMaxMs = -1;
  #unknownBytes = 0;
  /** False after a load: `#runningMaxMs` lacks what was there before. */
  #maxComplete = true;
  /** The time index ends with the segment's largest timestamp. */
  #finished = false;
  /** Rises with every change of the index files, and is odd during one. */
  #filesVersion = 0;
  #cuts = 0;
  /** Version of the last cut of the files. */
  #cutVersion = 0;

  constructor(logPath: string) {
    this.#logPath = logPath;
  }

  get path(): string {
    return this.#logPath.replace(/\.log$/, ".index");
  }

  get timePath(): string {
    return this.#logPath.replace(/\.log$/, ".timeindex");
  }

  get paths(): readonly string[] {
    return [this.path, this.timePath];
  }

  get loaded(): boolean {
    return this.#rows !== undefined;
  }

  get rows(): readonly IndexRow[] {
    return this.#rows ?? [];
  }

  get fresh(): readonly IndexRow[] {
    return this.#fresh;
  }

  get rowsOnDisk(): number {
    return this.#rowsOnDisk;
  }

  get timesOnDisk(): number {
    return this.#timesOnDisk;
  }

  get finished(): boolean {
    return this.#finished;
  }

  /** The largest timestamp is known. */
  get complete(): boolean {
    return this.#maxComplete;
  }

  /** Largest record timestamp, -1 while empty; undefined when the index must be looked at first. */
  get maxTimestampMs(): number | undefined {
    return this.#maxComplete ? this.#runningMaxMs : undefined;
  }

  get filesVersion(): number {
    return this.#filesVersion;
  }

  /** A change of the index files is under way: what is read of them now is void. */
  get filesChanging(): boolean {
    return this.#filesVersion % 2 === 1;
  }

  /** One of the files may be there. */
  get filesThere(): boolean {
    return this.#filesThere;
  }

  /**
   * The segment's file was found, and index files with so many entries, if they are `there`;
   * nothing of them is loaded.
   */
  found(rows: number, times: number, there: boolean): void {
    this.#filesThere = there;
    this.#rows = undefined;
    this.#rowsOnDisk = rows;
    this.#timesOnDisk = times;
    this.#maxComplete = false;
    this.#finished = true;
  }

  /** A batch was appended at `place`. */
  append(place: Place, batchMaxMs: number, everyBytes: number): void {
    this.#addRow(place, everyBytes);
    this.#finished = false;
    if (batchMaxMs > this.#runningMaxMs) this.#runningMaxMs = batchMaxMs;
  }

  /** A row unless the last one is near. The first batch of a segment needs none. */
  #addRow({ offset, position }: Place, everyBytes: number): void {
    if (position === 0 || position - Math.max(0, this.#lastRowPosition) < everyBytes) return;
    this.#fresh.push({ offset, position, maxBeforeMs: this.#runningMaxMs });
    this.#lastRowPosition = position;
  }

  /** The part that was there before a load has timestamps up to `maxMs`. */
  completeMax(maxMs: number): void {
    if (this.#maxComplete) return;
    this.#fresh = this.#fresh.map((row) => ({
      ...row,
      maxBeforeMs: Math.max(row.maxBeforeMs, maxMs),
    }));
    this.#runningMaxMs = Math.max(this.#runningMaxMs, maxMs);
    this.#maxComplete = true;
  }

  /** After a clean stop, without loading the rows: the position of the newest one. */
  lastRowAt(position: number): void {
    this.#lastRowPosition = position;
  }

  /** The rows were read from the files. */
  load(rows: IndexRow[]): void {
    this.#rows = rows;
  }

  /** The rows leave the memory; they can be read again. */
  unload(): void {
    this.#rows = undefined;
  }

  /**
   * The files hold the rows `kept`, in `times` entries of time, that can be believed; `rows` follow
   * them. Where rows were lost the files are replaced: recovery does not look at those of segments
   * below its point any more, and would not see what a crash leaves of an addition.
   */
  rebuilt(kept: IndexRow[], times: number, rows: readonly IndexRow[], maxMs: number): void {
    const lost = rows.length > 0 || kept.length < this.#rowsOnDisk;
    this.#finished = false;
    this.#filesVersion += 2;
    this.completeMax(maxMs);
    this.#rows = lost ? [] : kept;
    if (lost) this.#fresh = [...kept, ...rows, ...this.#fresh];
    this.#rowsOnDisk = this.#rows.length;
    this.#timesOnDisk = lost ? 0 : times;
    this.#replaces ||= lost;
  }

  /**
   * The files are another log's, or none, and nothing of them counts: they are not added to, as in
   * `rebuilt`. The log has `rows` up to a position, with timestamps up to `maxMs`; rows of later
   * appends stay, and so does the largest timestamp that was known with them, which may be too
   * late: a lookup then looks at more than it must.
   */
  builtAnew(
    rows: readonly IndexRow[],
    maxMs: number,
    endPosition: number,
    nothingSince: boolean,
  ): void {
    this.#fresh = [...rows, ...this.#fresh.filter((row) => row.position >= endPosition)];
    this.#rows = [];
    this.#rowsOnDisk = 0;
    this.#timesOnDisk = 0;
    this.#lastRowPosition = this.#fresh.at(-1)?.position ?? -1;
    this.#runningMaxMs = nothingSince ? maxMs : Math.max(this.#runningMaxMs, maxMs);
    this.#maxComplete = true;
    this.#finished = false;
    this.#filesVersion += 2;
    this.#replaces = true;
  }

  /** Recovery: what can be believed of the files of a segment that ends at `end` for now. */
  restart(rows: IndexRow[], times: number, maxMs: number | undefined, empty: boolean): void {
    this.#rows = rows;
    this.#fresh = [];
    this.#rowsOnDisk = rows.length;
    this.#timesOnDisk = times;
    this.#lastRowPosition = rows.at(-1)?.position ?? -1;
    this.#runningMaxMs = maxMs ?? -1;
    this.#maxComplete = empty || maxMs !== undefined;
    this.#finished = false;
  }

  /** The segment ends at `cut`. Rows behind it are void, and its largest timestamp may be. */
  cutTo(cut: Place): void {
    const persisted = this.#rows ?? [];
    // Where the time index has more entries than rows, its end is not where the rows end: begin
    // anew.
    const simple = this.#timesOnDisk === this.#rowsOnDisk;
    // Rows that are not in the files are built again, together with the largest timestamp.
    this.#fresh = [];
    this.#rows = simple ? persisted.filter((row) => row.position < cut.position) : [];
    this.#rowsOnDisk = this.#rows.length;
    this.#timesOnDisk = this.#rowsOnDisk;
    this.#lastRowPosition = this.#rows.at(-1)?.position ?? -1;
    this.#runningMaxMs = -1;
    this.#maxComplete = cut.position === 0;
    this.#unknownBytes = cut.position;
    this.#finished = false;
    this.#filesVersion += 2;
    this.#cuts += 1;
    this.filesCut();
  }

  /** Bytes from the beginning of the segment on that only its file tells about, since a cut. */
  get unknownBytes(): number {
    return this.#unknownBytes;
  }

  /** The files were cut, or are about to be: an fsync that began before does not cover it. */
  filesCut(): void {
    this.durability.changed();
    this.#cutVersion = this.durability.version;
  }

  /**
   * Entries that were cut off may come back: they check themselves, but are another history's. They
   * must be gone durably before a recovery point moves past them.
   */
  get cutPending(): boolean {
    return !this.durability.covers(this.#cutVersion);
  }

  /**
   * What can be added to the files: rows below `writtenBytes`, and with `finish` the entry that
   * ends the time index. Undefined when there is nothing, and until the timestamps before the rows
   * are known.
   */
  nextWrite(writtenBytes: number, finish: boolean, endOffset: number): IndexWrite | undefined {
    const maxMs = this.maxTimestampMs;
    if (maxMs === undefined) return undefined;
    const count = this.#fresh.findIndex((row) => row.position >= writtenBytes);
    // A copy: appends go on while it is written.
    const rows = this.#fresh.slice(0, count < 0 ? this.#fresh.length : count);
    const last = finish && !this.#finished;
    if (rows.length === 0 && !last) return undefined;
    const times = [...rows];
    if (last) times.push({ offset: endOffset, position: 0, maxBeforeMs: maxMs });
    return {
      rows,
      times,
      rowsAt: this.#rowsOnDisk,
      timesAt: this.#timesOnDisk,
      replaces: this.#replaces,
      endOffset: last ? endOffset : undefined,
      cuts: this.#cuts,
    };
  }

  writing(): void {
    assert(!this.filesChanging, "one change of index files at a time");
    this.#filesThere = true;
    this.#filesVersion += 1;
    this.durability.changed();
  }

  /** The write under way is over; `written` is undefined when it failed. */
  wrote(written: IndexWrite | undefined, endOffset: number): void {
    this.#filesVersion += 1;
    // A cut meanwhile made these rows void; it also cuts them off the files.
    if (written === undefined || written.cuts !== this.#cuts) return;
    this.#replaces = false;
    this.#fresh = this.#fresh.slice(written.rows.length);
    // One by one: those of a large segment are too many for the arguments of a call.
    for (const row of written.rows) this.#rows?.push(row);
    this.#rowsOnDisk += written.rows.length;
    this.#timesOnDisk += written.times.length;
    if (written.endOffset === endOffset) this.#finished = true;
  }
}
