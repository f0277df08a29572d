/**
 * Offline checks of a data directory: every CRC, offset, epoch, count and index. Reads only.
 */
import type { Compressor, Disk } from "@millrace/env";
import { MillraceError } from "@millrace/errors";
import {
  CleanShutdownSchema,
  DataDirectorySchema,
  LeaderEpochsSchema,
  PartitionMetaSchema,
  type RecoveryPoint,
} from "@millrace/proto/storage";
import { checkRecords } from "@millrace/record";
import { noPauses } from "../files/breathe.ts";
import { magics, readChecksummed, readWhole } from "../files/checksummed-file.ts";
import { isMissing } from "../files/disk-errors.ts";
import { offlinePath, readOfflineReason } from "../files/offline-file.ts";
import { parsePartitionDirectory, paths } from "../files/paths.ts";
import { type PlannedEntry, planKey, scanJournal } from "../journal/scan.ts";
import { entriesAfter, entriesOfLife, pointOfLife } from "../recovery/begin.ts";
import { markerHolds } from "../recovery/data-directory.ts";
import { readRecoveryPoints } from "../recovery/recovery-points.ts";
import { BatchScanner, type ScannedBatch } from "../segment/batch-scanner.ts";
import { deletedSuffix } from "../segment/files.ts";
import { decodeIndex, INDEX_ENTRY_BYTES, type IndexRow } from "../segment/index-format.ts";
import { listSegments } from "../segment/list.ts";
import type { Segment } from "../segment/segment.ts";

/** Something wrong, and where. */
export interface Damage {
  readonly path: string;
  readonly position: number;
  readonly reason: string;
}

export interface VerifyReport {
  readonly partitions: number;
  readonly segments: number;
  readonly batches: number;
  readonly records: number;
  readonly bytes: number;
  /** True after a clean stop: then there may be no unfinished tail at all. */
  readonly clean: boolean;
  /** Bytes past what is known to be durable that are not whole; the next start cuts them. */
  readonly tornBytes: number;
  readonly damages: readonly Damage[];
}

interface Counts {
  segments: number;
  batches: number;
  records: number;
  bytes: number;
  tornBytes: number;
}

const inflatedBytesMax = 256 * 1024 * 1024;

/**
 * Checks a whole data directory. Damage is reported, not thrown; the disk's own errors are thrown.
 */
export const verifyDirectory = async (
  disk: Disk,
  compressor: Compressor,
): Promise<VerifyReport> => {
  const damages: Damage[] = [];
  const counts: Counts = { segments: 0, batches: 0, records: 0, bytes: 0, tornBytes: 0 };
  const meta = await readChecksummed(disk, paths.meta, magics.dataDirectory, DataDirectorySchema);
  if (meta.kind !== "ok") {
    damages.push({ path: paths.meta, position: 0, reason: `the file is ${meta.kind}` });
    return { partitions: 0, ...counts, clean: false, damages };
  }
  const found = await readRecoveryPoints(noPauses, disk);
  const marker = await readChecksummed(disk, paths.clean, magics.clean, CleanShutdownSchema);
  const clean = marker.kind === "ok" && markerHolds(marker.message, found);
  if (found === undefined) {
    damages.push({
      path: paths.recoveryPoints,
      position: 0,
      reason: "the file is missing or damaged",
    });
  }
  const { directoryId } = meta.message;
  const plan = clean
    ? undefined
    : await scanJournal(noPauses, disk, directoryId, found?.coveredRound);
  if (plan?.damagedUpTo !== undefined) {
    const reason = `rounds up to ${plan.damagedUpTo} are damaged`;
    damages.push({ path: paths.journal, position: 0, reason });
  }
  let partitions = 0;
  for (const name of (await disk.list(paths.partitions)).sort()) {
    const place = parsePartitionDirectory(name);
    if (place === undefined || name.endsWith(deletedSuffix)) continue;
    const key = planKey(place.topicId, place.partition);
    const directory = `${paths.partitions}/${name}`;
    partitions += 1;
    const check = new PartitionCheck(disk, compressor, directory, damages, counts);
    await check.run(found?.points.get(key), plan?.entries.get(key) ?? [], clean);
  }
  return { partitions, ...counts, clean, damages };
};

class PartitionCheck {
  readonly #disk: Disk;
  readonly #compressor: Compressor;
  readonly #directory: string;
  readonly #damages: Damage[];
  readonly #counts: Counts;
  readonly #epochRuns: { leaderEpoch: number; startOffset: number; endOffset: number }[] = [];
  #end = -1;
  #logStart = 0;
  /** Indexes of segments that end no later are believed by the next start. */
  #indexedEnd = 0;
  #epoch = 0;

  constructor(
    disk: Disk,
    compressor: Compressor,
    directory: string,
    damages: Damage[],
    counts: Counts,
  ) {
    this.#disk = disk;
    this.#compressor = compressor;
    this.#directory = directory;
    this.#damages = damages;
    this.#counts = counts;
  }

  async run(
    foundPoint: RecoveryPoint | undefined,
    planned: readonly PlannedEntry[],
    clean: boolean,
  ): Promise<void> {
    const path = `${this.#directory}/meta`;
    const meta = await readChecksummed(this.#disk, path, magics.partitionMeta, PartitionMetaSchema);
    if (meta.kind !== "ok") this.#damage(path, 0, `the file is ${meta.kind}`);
    const known = meta.kind === "ok" ? meta.message : { incarnation: 0n, firstRound: 0n };
    const life = { incarnation: known.incarnation, firstRound: Number(known.firstRound) };
    const point = pointOfLife(foundPoint, life);
    const entries = entriesAfter(entriesOfLife(planned, life), point);
    if (point?.deleted === true) return;
    const offline = await readOfflineReason(this.#disk, this.#directory);
    if (offline !== undefined) this.#damage(offlinePath(this.#directory), 0, offline);
    const segments = await listSegments(this.#disk, this.#directory);
    const durable = point === undefined ? 0 : Number(point.offset);
    this.#logStart = Number(point?.logStartOffset ?? 0n);
    const replayed = endOfReplay(entries, durable);
    // Recovery checks the indexes from the segment on that it begins in, or that was cut.
    const base = Number(point?.segmentBaseOffset ?? 0n);
    this.#indexedEnd = replayed < durable ? Math.min(base, replayed - 1) : base;
    for (const segment of segments) {
      const whole = await this.#checkSegment(segment, replayed, clean);
      if (!whole) return;
    }
    // Nothing need be left of what lies below the log start.
    if (this.#end >= 0 && this.#end < replayed && replayed > this.#logStart) {
      const last = segments.at(-1)?.path ?? this.#directory;
      this.#damage(last, 0, `the log ends at ${this.#end}, it was durable up to ${replayed}`);
    }
    if (clean) await this.#checkEpochs(Number(point?.logStartOffset ?? 0n));
  }

  /** False when the log ends in it, damaged or torn. */
  async #checkSegment(segment: Segment, replayed: number, clean: boolean): Promise<boolean> {
    this.#counts.segments += 1;
    const restarted = segment.baseOffset === this.#logStart && this.#end <= this.#logStart;
    if (this.#end >= 0 && segment.baseOffset !== this.#end && !restarted) {
      if (this.#end >= replayed) return this.#torn(segment, 0);
      this.#damage(segment.path, 0, `begins at ${segment.baseOffset}, expected ${this.#end}`);
      return false;
    }
    this.#end = segment.baseOffset;
    const rows = await this.#index(segment, clean);
    const file = await this.#disk.open(segment.path, "read");
    try {
      const walker = new BatchScanner(file, 0, segment.sizeBytes);
      let maxMs = -1;
      for (;;) {
        const batch = await walker.peek();
        if ("end" in batch) {
          if (batch.end) break;
          if (this.#end >= replayed) return this.#torn(segment, walker.position);
          this.#damage(segment.path, walker.position, batch.reason);
          return false;
        }
        const reason = await this.#checkBatch(batch);
        if (reason !== undefined) {
          if (this.#end >= replayed) return this.#torn(segment, walker.position);
          this.#damage(segment.path, walker.position, reason);
          return false;
        }
        this.#checkRow(segment, rows, batch, maxMs);
        maxMs = Math.max(maxMs, batch.info.maxTimestampMs);
        walker.skip(batch);
      }
    } finally {
      await file.close();
    }
    for (const row of rows.values()) {
      if (row.offset < replayed)
        this.#damage(segment.index.path, 0, `no batch at offset ${row.offset}`);
    }
    return true;
  }

  #torn(segment: Segment, position: number): false {
    this.#counts.tornBytes += segment.sizeBytes - position;
    return false;
  }

  async #checkBatch(batch: ScannedBatch): Promise<string | undefined> {
    const { header, info, lastOffset, bytes } = batch;
    if (header.baseOffset !== this.#end)
      return `offset ${header.baseOffset}, expected ${this.#end}`;
    if (header.leaderEpoch < this.#epoch) return `leader epoch ${header.leaderEpoch} falls`;
    try {
      const records =
        info.compression === "none"
          ? info.records
          : await this.#compressor.decompress(info.compression, info.records, inflatedBytesMax);
      if (info.control === 0) checkRecords(records, info);
    } catch (thrown) {
      return MillraceError.from(thrown).message;
    }
    const run = this.#epochRuns.at(-1);
    const endOffset = lastOffset + 1;
    if (run?.leaderEpoch === header.leaderEpoch) run.endOffset = endOffset;
    else {
      const { leaderEpoch, baseOffset: startOffset } = header;
      this.#epochRuns.push({ leaderEpoch, startOffset, endOffset });
    }
    this.#epoch = header.leaderEpoch;
    this.#end = lastOffset + 1;
    this.#counts.batches += 1;
    this.#counts.records += info.recordCount;
    this.#counts.bytes += bytes;
    return undefined;
  }

  /**
   * Index rows by position. A file that cannot be read to its end is damage only where it must be
   * whole: the next start checks the others.
   */
  async #index(segment: Segment, clean: boolean): Promise<Map<number, IndexRow>> {
    const { rows } = decodeIndex(
      segment.baseOffset,
      await this.#read(segment.index.path),
      await this.#read(segment.index.timePath),
      Number.MAX_SAFE_INTEGER,
      segment.sizeBytes,
    );
    const isLast = segment.endOffset === segment.baseOffset;
    const mustBeWhole = clean || (!isLast && segment.endOffset <= this.#indexedEnd);
    if (rows.length < segment.index.rowsOnDisk && mustBeWhole) {
      const position = rows.length * INDEX_ENTRY_BYTES;
      this.#damage(
        segment.index.path,
        position,
        "the entry is damaged; it is built again when needed",
      );
    }
    return new Map(rows.map((row) => [row.position, row]));
  }

  async #read(path: string): Promise<Buffer> {
    try {
      return await readWhole(this.#disk, path);
    } catch (thrown) {
      if (isMissing(thrown)) return Buffer.alloc(0);
      throw thrown;
    }
  }

  #checkRow(
    segment: Segment,
    rows: Map<number, IndexRow>,
    batch: ScannedBatch,
    maxMs: number,
  ): void {
    const row = rows.get(batch.position);
    if (row === undefined) return;
    rows.delete(batch.position);
    const { baseOffset } = batch.header;
    if (row.offset !== baseOffset) {
      this.#damage(
        segment.index.path,
        0,
        `says offset ${row.offset} at ${batch.position}, there is ${baseOffset}`,
      );
    }
    if (row.maxBeforeMs !== Math.max(0, maxMs)) {
      const reason = `says ${row.maxBeforeMs} before offset ${baseOffset}, it is ${maxMs}`;
      this.#damage(segment.index.timePath, 0, reason);
    }
  }

  /**
   * Every epoch with records above the log start is known, and begins no later than its first batch
   * there.
   */
  async #checkEpochs(logStartOffset: number): Promise<void> {
    const path = `${this.#directory}/leader-epochs`;
    const file = await readChecksummed(this.#disk, path, magics.leaderEpochs, LeaderEpochsSchema);
    if (file.kind !== "ok") {
      if (this.#epochRuns.length > 0) this.#damage(path, 0, `the file is ${file.kind}`);
      return;
    }
    const known = new Map(file.message.entries.map((e) => [e.leaderEpoch, Number(e.startOffset)]));
    for (const { leaderEpoch, startOffset, endOffset } of this.#epochRuns) {
      if (endOffset <= logStartOffset) continue;
      const start = known.get(leaderEpoch);
      if (start === undefined) this.#damage(path, 0, `epoch ${leaderEpoch} is missing`);
      else if (start > Math.max(startOffset, logStartOffset)) {
        this.#damage(path, 0, `epoch ${leaderEpoch} begins at ${startOffset}, not ${start}`);
      }
    }
  }

  #damage(path: string, position: number, reason: string): void {
    this.#damages.push({ path, position, reason });
  }
}

/**
 * Least end that the recovery point and truncations in the journal leave to be expected of the
 * files.
 */
const endOfReplay = (entries: readonly PlannedEntry[], durable: number): number => {
  let end = durable;
  for (const entry of entries) {
    if (entry.kind === "truncate") end = Math.min(end, entry.offset);
  }
  return end;
};
