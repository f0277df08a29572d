/**
 * What is kept of a partition that cannot be recovered, before the journal goes on. The next start
 * no longer finds the damage in the journal, and must not take the rest for the whole log.
 */
import type { Disk } from "@millrace/env";
import { replaceBy } from "../files/checksummed-file.ts";
import { isPassing } from "../files/disk-errors.ts";
import type { PlannedEntry } from "../journal/scan.ts";

/**
 * Writes the sound batches to `salvaged-<round>.segment`, a `millrace.storage.v1.Segment`, durably:
 * in the partition's directory, or where that cannot be written, beside all partitions. Rejects
 * when neither is possible: the journal must not move on then.
 */
export const salvage = async (
  disk: Disk,
  directory: string,
  entries: readonly PlannedEntry[],
): Promise<void> => {
  const batches = entries.filter((entry) => entry.kind === "batch" && entry.sound);
  const first = batches[0];
  if (first === undefined) return;
  const name = `salvaged-${first.round}.segment`;
  try {
    await writeBatches(disk, directory, name, batches);
  } catch (thrown) {
    if (isPassing(thrown)) throw thrown;
    const partition = directory.slice(directory.lastIndexOf("/") + 1);
    await writeBatches(disk, ".", `${partition}-${name}`, batches);
  }
};

const writeBatches = async (
  disk: Disk,
  directory: string,
  name: string,
  batches: readonly PlannedEntry[],
): Promise<void> => {
  const path = directory === "." ? name : `${directory}/${name}`;
  if ((await disk.fileSize(path)) !== undefined) {
    // It may be the work of a start that died before the name was durable.
    await disk.syncDirectory(directory);
    return;
  }
  await replaceBy(disk, path, async (target) => {
    let at = 0;
    for (const entry of batches) {
      const source = await disk.open(entry.path, "read");
      const bytes = Buffer.alloc(entry.bytes);
      try {
        await source.read(bytes, 0, bytes.length, entry.at);
      } finally {
        await source.close();
      }
      await target.write([bytes], at);
      at += bytes.length;
    }
  });
};
