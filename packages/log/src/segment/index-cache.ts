/**
 * Index rows in memory: loaded when needed, a bounded number of bytes, least recently used dropped
 * first.
 */
import type { Clock, Disk } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { inSteps } from "../files/breathe.ts";
import { readWhole } from "../files/checksummed-file.ts";
import { isMissing, isPassing } from "../files/disk-errors.ts";
import type { FileCache } from "../files/file-cache.ts";
import { BatchScanner } from "./batch-scanner.ts";
import { decodeIndexSteps, INDEX_ENTRY_BYTES, type IndexRow } from "./index-format.ts";
import type { Place } from "./place.ts";
import type { Segment } from "./segment.ts";
import type { SegmentWriter } from "./writer.ts";

/** Memory of one row, about. */
const rowBytes = 56;

interface Built {
  readonly rows: readonly IndexRow[];
  readonly maxMs: number;
}

export class IndexCache {
  readonly #clock: Clock;
  readonly #disk: Disk;
  readonly #files: FileCache;
  readonly #writes: Pick<SegmentWriter, "reach">;
  readonly #bytesMax: number;
  readonly #loading = new Map<Segment, Promise<void>>();
  readonly #loaded = new Map<Segment, number>();
  #bytes = 0;
  /** Indexes that had to be built from the log. */
  rebuilt = 0;

  constructor(
    clock: Clock,
    disk: Disk,
    files: FileCache,
    writes: Pick<SegmentWriter, "reach">,
    bytesMax: number,
  ) {
    this.#clock = clock;
    this.#disk = disk;
    this.#files = files;
    this.#writes = writes;
    this.#bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /**
   * Persisted rows and rows that are not persisted yet, in order; loads and rebuilds what is
   * missing. Throws PARTITION_OFFLINE on damage in the log.
   */
  async rows(
    segment: Segment,
    everyBytes: number,
  ): Promise<readonly [readonly IndexRow[], readonly IndexRow[]]> {
    const { index } = segment;
    if (!index.loaded || !index.complete) {
      await (this.#loading.get(segment) ?? this.#alone(segment, everyBytes, true));
    }
    this.touch(segment);
    return [index.rows, index.fresh];
  }

  /**
   * Builds the index of a segment from its log alone: what the index said led to damage, and its
   * files may be another log's, whole in themselves. False where another read had it built
   * meanwhile. Throws PARTITION_OFFLINE where the damage is the log's own.
   */
  async buildAnew(segment: Segment, everyBytes: number): Promise<boolean> {
    const { filesVersion } = segment.index;
    for (;;) {
      const loading = this.#loading.get(segment);
      if (loading === undefined) break;
      // Whoever asked for that load is told how it ended.
      await loading.catch(() => {});
    }
    if (segment.index.filesVersion !== filesVersion) return false;
    await this.#alone(segment, everyBytes, false);
    this.touch(segment);
    return true;
  }

  /** One load of a segment at a time; who comes meanwhile waits for it. */
  async #alone(segment: Segment, everyBytes: number, believing: boolean): Promise<void> {
    const loading = this.#load(segment, everyBytes, believing);
    this.#loading.set(segment, loading);
    try {
      await loading;
    } finally {
      this.#loading.delete(segment);
    }
  }

  /** The segment's rows were used, or grew. */
  touch(segment: Segment): void {
    const before = this.#loaded.get(segment) ?? 0;
    const now = segment.index.rows.length * rowBytes;
    this.#bytes += now - before;
    this.#loaded.delete(segment);
    if (now === 0) return;
    this.#loaded.set(segment, now);
    for (const [oldest, bytes] of this.#loaded) {
      if (this.#bytes <= this.#bytesMax || oldest === segment) return;
      oldest.index.unload();
      this.#loaded.delete(oldest);
      this.#bytes -= bytes;
    }
  }

  /** The segment is gone. */
  forget(segment: Segment): void {
    this.#bytes -= this.#loaded.get(segment) ?? 0;
    this.#loaded.delete(segment);
  }

  /**
   * Reads the index files, unless they are not believed, and builds what they lack. Taken up in one
   * synchronous step, and only if nobody changed the files meanwhile.
   */
  async #load(segment: Segment, everyBytes: number, believing: boolean): Promise<void> {
    for (let believed = believing; ; ) {
      const version = segment.index.filesVersion;
      try {
        const attempt = believed ? this.#attempt : this.#attemptAnew;
        if (await attempt.call(this, segment, everyBytes, version)) return;
      } catch (thrown) {
        // A cut meanwhile explains what looks like damage, and so may rows that are another log's.
        if (segment.index.filesVersion !== version) continue;
        if (!believed || !(thrown instanceof SegmentDamage)) throw thrown;
        believed = false;
      }
    }
  }

  /** `#attempt` without the files. */
  async #attemptAnew(segment: Segment, everyBytes: number, version: number): Promise<boolean> {
    const { index, end } = segment;
    await this.#writes.reach(segment, end.position);
    const { rows, maxMs } = await this.#build(segment, undefined, end, everyBytes);
    if (index.filesVersion !== version || index.filesChanging) return false;
    this.rebuilt += 1;
    index.builtAnew(rows, maxMs, end.position, segment.sizeBytes === end.position);
    return true;
  }

  /** False when somebody changed the files meanwhile. */
  async #attempt(segment: Segment, everyBytes: number, version: number): Promise<boolean> {
    const { index } = segment;
    const { fresh, rowsOnDisk, timesOnDisk } = index;
    const endOffset = fresh[0]?.offset ?? segment.endOffset;
    const endPosition = fresh[0]?.position ?? segment.sizeBytes;
    const decoded = await inSteps(
      this.#clock,
      decodeIndexSteps(
        segment.baseOffset,
        await this.#read(index.path, rowsOnDisk),
        await this.#read(index.timePath, timesOnDisk),
        endOffset,
        endPosition,
      ),
    );
    const { rows } = decoded;
    const whole = rows.length === rowsOnDisk;
    const known = index.complete || decoded.maxTimestampMs !== undefined;
    const built =
      whole && known
        ? undefined
        : await this.#build(
            segment,
            rows.at(-1),
            { offset: endOffset, position: endPosition },
            everyBytes,
          );
    if (index.filesVersion !== version || index.filesChanging) return false;
    if (built !== undefined) {
      this.rebuilt += 1;
      index.rebuilt(rows, decoded.timeEntries, built.rows, built.maxMs);
      return true;
    }
    if (decoded.maxTimestampMs !== undefined) index.completeMax(decoded.maxTimestampMs);
    index.load(rows);
    return true;
  }

  /** Rows and the largest timestamp of the log from the last row that can be believed. */
  async #build(
    segment: Segment,
    last: IndexRow | undefined,
    end: Place,
    everyBytes: number,
  ): Promise<Built> {
    const endPosition = end.position;
    const rows: IndexRow[] = [];
    let maxMs = last?.maxBeforeMs ?? -1;
    let rowPosition = last?.position ?? 0;
    let offset: number | undefined;
    // What a truncation left may still have to be written.
    await this.#writes.reach(segment, Math.min(endPosition, segment.index.unknownBytes));
    if (segment.writtenBytes === 0) return { rows, maxMs };
    await this.#files.with(segment, async (file) => {
      // Batches appended since the load have their rows, and their timestamps are known: no need to
      // wait until they are written.
      const writtenPosition = Math.min(endPosition, segment.writtenBytes);
      const from = last?.position ?? 0;
      const scanner = new BatchScanner(this.#clock, file, from, writtenPosition);
      for (;;) {
        const batch = await scanner.peek();
        if ("end" in batch) {
          if (!batch.end) throw damaged(segment, scanner.position, batch.reason);
          if (offset === undefined || scanner.position < endPosition || offset === end.offset)
            return;
          const lost = `offsets ${offset} to ${end.offset - 1} are missing behind it`;
          throw damaged(segment, scanner.position, lost);
        }
        const { position, header } = batch;
        if (offset === undefined && last !== undefined && header.baseOffset !== last.offset)
          throw damaged(segment, position, `no batch at offset ${last.offset}`);
        offset = batch.lastOffset + 1;
        if (position > 0 && position - rowPosition >= everyBytes) {
          rows.push({ offset: header.baseOffset, position, maxBeforeMs: maxMs });
          rowPosition = position;
        }
        maxMs = Math.max(maxMs, batch.info.maxTimestampMs);
        scanner.skip(batch);
      }
    });
    return { rows, maxMs };
  }

  /**
   * The first `entries` of an index file. Those behind them are not the segment's: a truncation is
   * about to cut them off, or a write of them failed. An index that cannot be read is built again
   * from the log.
   */
  async #read(path: string, entries: number): Promise<Buffer> {
    try {
      const bytes = await readWhole(this.#disk, path);
      return bytes.subarray(0, entries * INDEX_ENTRY_BYTES);
    } catch (thrown) {
      if (isPassing(thrown)) throw thrown;
      if (!isMissing(thrown)) this.unreadable += 1;
      return Buffer.alloc(0);
    }
  }

  /** Index files that could not be read. */
  unreadable = 0;
}

/** Damage that was met in a segment's file. */
const damageText = (path: string, position: number, reason: string): string =>
  `${path} is damaged at byte ${position}: ${reason}: ` +
  "restore the partition from a replica or a backup";

/** The error of damage at a place in a file. */
export const damagedFile = (path: string, position: number, reason: string): MillraceError =>
  new MillraceError(ErrorCode.PARTITION_OFFLINE, damageText(path, position, reason));

export class SegmentDamage extends MillraceError {
  // Private: loggers print what else an error has.
  readonly #segment: Segment;

  constructor(segment: Segment, position: number, reason: string) {
    super(ErrorCode.PARTITION_OFFLINE, damageText(segment.path, position, reason));
    this.#segment = segment;
  }

  get segment(): Segment {
    return this.#segment;
  }
}

/** The error of damage at a place in a segment. */
export const damaged = (segment: Segment, position: number, reason: string): SegmentDamage =>
  new SegmentDamage(segment, position, reason);
