/** Checks what a partition's files hold between the ends that a start gives the log. */
import type { Compressor, Disk } from "@millrace/env";
import { MillraceError } from "@millrace/errors";
import { LeaderEpochsSchema } from "@millrace/proto/storage";
import { checkRecords } from "@millrace/record";
import { noPauses } from "../files/breathe.ts";
import { magics, readChecksummed, readFramed, readWhole } from "../files/checksummed-file.ts";
import { isMissing } from "../files/disk-errors.ts";
import { cleanerCheckpointName } from "../partition/cleaned-log.ts";
import type { Partition } from "../partition/partition.ts";
import { producersPath, snapshotOffsets } from "../partition/producer-snapshots.ts";
import { BatchScanner, type ScannedBatch } from "../segment/batch-scanner.ts";
import { decodeIndex, INDEX_ENTRY_BYTES, type IndexRow } from "../segment/index-format.ts";
import type { Segment } from "../segment/segment.ts";

/** Something wrong, and where. */
export interface Damage {
  readonly path: string;
  readonly position: number;
  readonly reason: string;
}

/** What was looked at. */
export interface Counts {
  segments: number;
  batches: number;
  records: number;
  bytes: number;
  tornBytes: number;
}

const inflatedBytesMax = 256 * 1024 * 1024;

export class PartitionCheck {
  /** As the start leaves it. */
  readonly #disk: Disk;
  readonly #compressor: Compressor;
  readonly #partition: Partition;
  readonly #damages: Damage[];
  readonly #counts: Counts;
  readonly #epochRuns: { leaderEpoch: number; startOffset: number; endOffset: number }[] = [];
  #end: number;
  #epoch = 0;

  constructor(
    disk: Disk,
    compressor: Compressor,
    partition: Partition,
    damages: Damage[],
    counts: Counts,
  ) {
    this.#disk = disk;
    this.#compressor = compressor;
    this.#partition = partition;
    this.#damages = damages;
    this.#counts = counts;
    this.#end = partition.logStartOffset;
  }

  /** `clean`: nothing was recovered, so the files of epochs must tell all. */
  async run(clean: boolean): Promise<void> {
    const { directory, logStartOffset, logEndOffset, segments } = this.#partition;
    let whole = true;
    for (const [i, segment] of segments.entries()) {
      // It is to go: nobody reads it any more.
      const deleted = (segments[i + 1]?.baseOffset ?? Number.MAX_SAFE_INTEGER) <= logStartOffset;
      if (segment.sizeBytes === 0 || deleted) continue;
      whole = await this.#checkSegment(segment);
      if (!whole) break;
    }
    if (whole && this.#end < logEndOffset) {
      const reason = `the log ends at ${this.#end}, it was durable up to ${logEndOffset}`;
      this.#damage(segments.at(-1)?.path ?? directory, 0, reason);
    }
    if (clean) await this.#checkEpochs(logStartOffset);
    await this.#checkSnapshots();
    await this.#checkCleaned();
  }

  /** False when the log cannot be followed any further. */
  async #checkSegment(segment: Segment): Promise<boolean> {
    this.#counts.segments += 1;
    const { baseOffset } = segment;
    // What is missing below the log start was deleted.
    if (baseOffset !== this.#end && baseOffset > this.#partition.logStartOffset) {
      this.#damage(segment.path, 0, `begins at ${baseOffset}, expected ${this.#end}`);
      return false;
    }
    this.#end = baseOffset;
    const rows = await this.#index(segment);
    const file = await this.#disk.open(segment.path, "read");
    try {
      const walker = new BatchScanner(noPauses, file, 0, segment.sizeBytes);
      let maxMs = -1;
      for (;;) {
        const batch = await walker.peek();
        if ("end" in batch && batch.end) break;
        const reason = "end" in batch ? batch.reason : await this.#checkBatch(batch);
        if ("end" in batch || reason !== undefined) {
          this.#damage(segment.path, walker.position, reason ?? "");
          return false;
        }
        this.#checkRow(segment, rows, batch, maxMs);
        maxMs = Math.max(maxMs, batch.info.maxTimestampMs);
        walker.skip(batch);
      }
    } finally {
      await file.close();
    }
    for (const { offset } of rows.values()) {
      this.#damage(segment.index.path, 0, `no batch at offset ${offset}`);
    }
    return true;
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

  /** Index rows by position. The start has cut what it checks, and believes the rest. */
  async #index(segment: Segment): Promise<Map<number, IndexRow>> {
    const { path, timePath } = segment.index;
    const index = await this.#read(path);
    const times = await this.#read(timePath);
    const { sizeBytes, baseOffset } = segment;
    const { rows } = decodeIndex(baseOffset, index, times, Number.MAX_SAFE_INTEGER, sizeBytes);
    if (rows.length < Math.floor(index.length / INDEX_ENTRY_BYTES)) {
      const reason = "the entry is damaged; it is built again when needed";
      this.#damage(path, rows.length * INDEX_ENTRY_BYTES, reason);
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
      const reason = `says offset ${row.offset} at ${batch.position}, there is ${baseOffset}`;
      this.#damage(segment.index.path, 0, reason);
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
    const path = `${this.#partition.directory}/leader-epochs`;
    const file = await readChecksummed(this.#disk, path, magics.leaderEpochs, LeaderEpochsSchema);
    if (file.kind !== "ok") {
      // A point has them where the file could not be written.
      const carried = this.#partition.lastPoint?.leaderEpochs !== undefined;
      if (this.#epochRuns.length > 0 && !carried) this.#damage(path, 0, `the file is ${file.kind}`);
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

  /** A snapshot gets its name once it is fsynced: no crash leaves half of one. */
  async #checkSnapshots(): Promise<void> {
    const { directory } = this.#partition;
    for (const offset of await snapshotOffsets(this.#disk, directory)) {
      const path = producersPath(directory, offset);
      const { kind } = await readFramed(this.#disk, path, magics.producers);
      if (kind !== "ok") this.#damage(path, 0, `the file is ${kind}`);
    }
  }

  async #checkCleaned(): Promise<void> {
    const path = `${this.#partition.directory}/${cleanerCheckpointName}`;
    const { kind } = await readFramed(this.#disk, path, magics.cleanerCheckpoint);
    if (kind === "damaged") this.#damage(path, 0, "the file is damaged: the log is cleaned anew");
  }

  #damage(path: string, position: number, reason: string): void {
    this.#damages.push({ path, position, reason });
  }
}
