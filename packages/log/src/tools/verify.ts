/**
 * Offline checks of a data directory: what the next start would say of it, and then every CRC,
 * offset, epoch, count and index of what that start would serve. Reads only.
 */
import type { Compressor, Disk } from "@millrace/env";
import { type DataDirectory, DataDirectorySchema } from "@millrace/proto/storage";
import { noPauses } from "../files/breathe.ts";
import { magics, readChecksummed, readFramed } from "../files/checksummed-file.ts";
import { offlinePath } from "../files/offline-file.ts";
import { parsePartitionDirectory, parseSegmentName, paths } from "../files/paths.ts";
import type { Partition } from "../partition/partition.ts";
import { FORMAT_VERSION, markerHolds, takeCleanMarker } from "../recovery/data-directory.ts";
import { type FoundPoints, readRecoveryPoints } from "../recovery/recovery-points.ts";
import { BatchScanner } from "../segment/batch-scanner.ts";
import { type Counts, type Damage, PartitionCheck } from "./check-partition.ts";
import { DryDisk } from "./dry-disk.ts";
import { startDry } from "./dry-start.ts";

export type { Damage } from "./check-partition.ts";

export interface VerifyReport {
  readonly partitions: number;
  readonly segments: number;
  readonly batches: number;
  readonly records: number;
  readonly bytes: number;
  /** True after a clean stop: then there may be no unfinished tail at all. */
  readonly clean: boolean;
  /** Bytes that are not whole batches, and that the next start cuts: nobody relies on them. */
  readonly tornBytes: number;
  readonly damages: readonly Damage[];
}

/**
 * Checks a whole data directory. Damage is reported, not thrown; the disk's own errors are thrown.
 */
export const verifyDirectory = async (
  disk: Disk,
  compressor: Compressor,
): Promise<VerifyReport> => {
  const dry = new DryDisk(disk);
  let report: VerifyReport = { partitions: 0, ...noCounts(), clean: false, damages: [] };
  try {
    report = await new DirectoryCheck(new DryDisk(disk, dry), dry, compressor).run();
  } catch (thrown) {
    if (dry.vanished.size === 0) throw thrown;
  }
  if (dry.vanished.size === 0) return report;
  const reason = "it vanished while it was read: the directory is in use: stop the server";
  // Nothing else that was seen in there means anything.
  return { ...report, damages: [...dry.vanished].map((path) => ({ path, position: 0, reason })) };
};

const noCounts = (): Counts => ({ segments: 0, batches: 0, records: 0, bytes: 0, tornBytes: 0 });

class DirectoryCheck {
  /** As it is. */
  readonly #disk: Disk;
  /** As the start leaves it. */
  readonly #dry: DryDisk;
  readonly #compressor: Compressor;
  readonly #damages: Damage[] = [];
  readonly #counts = noCounts();

  constructor(disk: Disk, dry: DryDisk, compressor: Compressor) {
    this.#disk = disk;
    this.#dry = dry;
    this.#compressor = compressor;
  }

  async run(): Promise<VerifyReport> {
    const damages = this.#damages;
    const meta = await this.#meta();
    if (meta === undefined) return { partitions: 0, ...this.#counts, clean: false, damages };
    const marker = await takeCleanMarker(this.#dry);
    const found = await readRecoveryPoints(noPauses, this.#dry);
    const clean = markerHolds(marker, found);
    await this.#checkPoints(found, clean);
    const { brokerId, clusterId, directoryId } = meta;
    const compressor = this.#compressor;
    const identity = { brokerId, clusterId };
    const dry = this.#dry;
    const partitions = await startDry({
      disk: dry,
      compressor,
      identity,
      directoryId,
      found,
      clean,
    });
    for (const partition of partitions) {
      if (partition.state.kind === "online") await this.#checkOnline(partition, clean);
      else await this.#tellOffline(partition);
    }
    return { partitions: partitions.length, ...this.#counts, clean, damages };
  }

  async #meta(): Promise<DataDirectory | undefined> {
    const { meta: path } = paths;
    const meta = await readChecksummed(this.#dry, path, magics.dataDirectory, DataDirectorySchema);
    if (meta.kind !== "ok") {
      this.#damage(path, `the file is ${meta.kind}`);
      return undefined;
    }
    const { formatVersion } = meta.message;
    if (formatVersion <= FORMAT_VERSION) return meta.message;
    this.#damage(path, `its format ${formatVersion} is newer: use a newer version`);
    return undefined;
  }

  /** A start needs one of the two files, and a crash may come before either is written. */
  async #checkPoints(found: FoundPoints | undefined, clean: boolean): Promise<void> {
    for (const path of [paths.recoveryPoints, paths.recoveryPointsCopy]) {
      const { kind } = await readFramed(this.#dry, path, magics.recoveryPoints);
      if (kind === "damaged" || (clean && kind === "missing")) {
        this.#damage(path, `the file is ${kind}`);
      }
    }
    if (found !== undefined || this.#damages.length > 0) return;
    const names = await this.#dry.list(paths.partitions);
    if (names.every((name) => parsePartitionDirectory(name) === undefined)) return;
    this.#damage(paths.recoveryPoints, "the file is missing or damaged");
  }

  async #checkOnline(partition: Partition, clean: boolean): Promise<void> {
    const { directory, segments } = partition;
    const check = new PartitionCheck(
      this.#dry,
      this.#compressor,
      partition,
      this.#damages,
      this.#counts,
    );
    await check.run(clean);
    if (clean) return;
    const kept = new Map(segments.map(({ baseOffset, sizeBytes }) => [baseOffset, sizeBytes]));
    for (const name of await this.#disk.list(directory)) {
      const base = parseSegmentName(name);
      // What lies below the log start was deleted.
      const counts = base !== undefined && (kept.has(base) || base >= partition.logStartOffset);
      if (!counts) continue;
      const path = `${directory}/${name}`;
      // One that is made anew has nothing in common with what stands there.
      const from = this.#dry.keeps(path) ? (kept.get(base) ?? 0) : 0;
      await this.#countTorn(path, from);
    }
  }

  /** From the first bytes behind `from` on that are no whole batch. */
  async #countTorn(path: string, from: number): Promise<void> {
    const bytes = (await this.#disk.fileSize(path)) ?? 0;
    if (bytes <= from) return;
    const file = await this.#disk.open(path, "read");
    try {
      const walker = new BatchScanner(noPauses, file, from, bytes);
      for (;;) {
        const batch = await walker.peek();
        if ("end" in batch) break;
        walker.skip(batch);
      }
      this.#counts.tornBytes += bytes - walker.position;
    } finally {
      await file.close();
    }
  }

  async #tellOffline({ directory, state }: Partition): Promise<void> {
    const path = offlinePath(directory);
    const known = (await this.#disk.fileSize(path)) !== undefined;
    this.#damage(known ? path : directory, "reason" in state ? state.reason : state.kind);
  }

  #damage(path: string, reason: string): void {
    this.#damages.push({ path, position: 0, reason });
  }
}
