/** Index rows in memory: loaded when needed, a bounded number of bytes, least recently used dropped first. */
import type { Disk } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { readWhole } from "../files/checksummed-file.ts";
import { isMissing } from "../files/disk-errors.ts";
import type { FileCache } from "../files/file-cache.ts";
import { BatchScanner } from "./batch-scanner.ts";
import { decodeIndex, INDEX_ENTRY_BYTES, type IndexRow } from "./index-format.ts";
import type { Segment } from "./segment.ts";

/** Memory of one row, about. */
const rowBytes = 56;

interface Built {
  readonly rows: readonly IndexRow[];
  readonly maxMs: number;
}

const noRows: readonly IndexRow[] = [];

export class IndexCache {
  readonly #disk: Disk;
  readonly #files: FileCache;
  readonly #bytesMax: number;
  readonly #loading = new Map<Segment, Promise<void>>();
  readonly #loaded = new Map<Segment, number>();
  #bytes = 0;
  /** Indexes that had to be built from the log. */
  rebuilt = 0;

  constructor(disk: Disk, files: FileCache, bytesMax: number) {
    this.#disk = disk;
    this.#files = files;
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** Persisted rows and rows that are not persisted yet, in order; loads and rebuilds what is missing. Throws
   * PARTITION_OFFLINE on damage in the log. */
  async rows(
    segment: Segment,
    everyBytes: number,
  ): Promise<readonly [readonly IndexRow[], readonly IndexRow[]]> {
    if (segment.rows === undefined || !segment.maxComplete) {
      const loading = this.#loading.get(segment) ?? this.#load(segment, everyBytes);
      this.#loading.set(segment, loading);
      try {
        await loading;
      } finally {
        this.#loading.delete(segment);
      }
    }
    this.touch(segment);
    return [segment.rows ?? noRows, segment.fresh];
  }

  /** The segment's rows were used, or grew. */
  touch(segment: Segment): void {
    const before = this.#loaded.get(segment) ?? 0;
    const now = (segment.rows?.length ?? 0) * rowBytes;
    this.#bytes += now - before;
    this.#loaded.delete(segment);
    if (now === 0) return;
    this.#loaded.set(segment, now);
    for (const [oldest, bytes] of this.#loaded) {
      if (this.#bytes <= this.#bytesMax || oldest === segment) return;
      oldest.rows = undefined;
      this.#loaded.delete(oldest);
      this.#bytes -= bytes;
    }
  }

  /** The segment is gone. */
  forget(segment: Segment): void {
    this.#bytes -= this.#loaded.get(segment) ?? 0;
    this.#loaded.delete(segment);
  }

  /** Reads the index files, and builds what they lack. Taken up in one synchronous step, and only if nobody
   * changed the files meanwhile. */
  async #load(segment: Segment, everyBytes: number): Promise<void> {
    for (;;) {
      const version = segment.indexVersion;
      const { fresh, rowsOnDisk } = segment;
      const endOffset = fresh[0]?.offset ?? segment.endOffset;
      const endPosition = fresh[0]?.position ?? segment.sizeBytes;
      const decoded = decodeIndex(
        segment.baseOffset,
        await this.#read(segment.indexPath),
        await this.#read(segment.timeIndexPath),
        endOffset,
        endPosition,
      );
      const rows = decoded.rows.slice(0, rowsOnDisk);
      const whole = rows.length === rowsOnDisk;
      const known = segment.maxComplete || decoded.maxTimestampMs !== undefined;
      const built =
        whole && known
          ? undefined
          : await this.#build(segment, rows.at(-1), endPosition, everyBytes);
      if (segment.indexVersion !== version || version % 2 === 1) continue;
      if (built !== undefined) this.#takeBuilt(segment, rows.length, decoded.timeEntries, built);
      else if (decoded.maxTimestampMs !== undefined) segment.completeMax(decoded.maxTimestampMs);
      segment.rows = rows;
      return;
    }
  }

  /** Rows and the largest timestamp of the log from the last row that can be believed. */
  async #build(
    segment: Segment,
    last: IndexRow | undefined,
    endPosition: number,
    everyBytes: number,
  ): Promise<Built> {
    const rows: IndexRow[] = [];
    let maxMs = last?.maxBeforeMs ?? -1;
    let rowPosition = last?.position ?? 0;
    await this.#files.with(segment.path, false, async (file) => {
      // What was appended since the load has its rows, and its timestamps are known: it need not be waited for.
      const writtenPosition = Math.min(endPosition, segment.writtenBytes);
      const walker = new BatchScanner(file, last?.position ?? 0, writtenPosition);
      for (;;) {
        const batch = await walker.peek();
        if ("end" in batch) {
          if (batch.end) return;
          throw damaged(segment, walker.position, batch.reason);
        }
        if (batch.position > 0 && batch.position - rowPosition >= everyBytes) {
          const { position, header } = batch;
          rows.push({ offset: header.baseOffset, position, maxBeforeMs: maxMs });
          rowPosition = position;
        }
        maxMs = Math.max(maxMs, batch.info.maxTimestampMs);
        walker.skip(batch);
      }
    });
    return { rows, maxMs };
  }

  #takeBuilt(
    segment: Segment,
    believedRows: number,
    timeEntries: number,
    { rows, maxMs }: Built,
  ): void {
    this.rebuilt += 1;
    segment.rowsOnDisk = believedRows;
    segment.timeEntriesOnDisk = timeEntries;
    segment.finished = false;
    segment.indexVersion += 2;
    segment.completeMax(maxMs);
    segment.fresh = [...rows, ...segment.fresh];
  }

  async #read(path: string): Promise<Buffer> {
    try {
      const bytes = await readWhole(this.#disk, path);
      return bytes.subarray(0, bytes.length - (bytes.length % INDEX_ENTRY_BYTES));
    } catch (thrown) {
      if (isMissing(thrown)) return Buffer.alloc(0);
      throw thrown;
    }
  }
}

/** The error of damage at a place in a segment. */
export const damaged = (segment: Segment, position: number, reason: string): MillraceError =>
  new MillraceError(
    ErrorCode.PARTITION_OFFLINE,
    `${segment.path} is damaged at byte ${position}: ${reason}: restore the partition from a replica or a backup`,
  );
