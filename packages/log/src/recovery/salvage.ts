/**
 * What is kept of a partition that can not be recovered, before the journal goes on: the next start has the damage before
 * it no more, and must not take what is left for the whole log.
 */
import type { Disk } from "@millrace/env";
import { createAnew, readWhole, replaceFile } from "../files/checksummed-file.ts";
import { entryKinds } from "../journal/format.ts";
import type { PlannedEntry } from "../journal/scan.ts";

/** Why a partition stays offline, for people, who remove the file once they have put the partition right. */
export const offlinePath = (directory: string): string => `${directory}/offline`;

/** The reason in a partition's offline file, or undefined when there is none. */
export const readOfflineReason = async (
  disk: Disk,
  directory: string,
): Promise<string | undefined> => {
  const path = offlinePath(directory);
  if ((await disk.fileSize(path)) === undefined) return undefined;
  const reason = (await readWhole(disk, path)).toString().trim();
  return `${reason}: restore the partition, then remove ${path}`;
};

/** Writes the offline file, durably, unless there is one. */
export const keepOffline = async (disk: Disk, directory: string, reason: string): Promise<void> => {
  const path = offlinePath(directory);
  if ((await disk.fileSize(path)) !== undefined) return;
  await replaceFile(disk, path, Buffer.from(`${reason}\n`));
};

/** Writes the sound batches to `salvaged-<round>.segment`, a `millrace.storage.v1.Segment`, durably. */
export const salvage = async (
  disk: Disk,
  directory: string,
  entries: readonly PlannedEntry[],
): Promise<void> => {
  const batches = entries.filter((entry) => entry.kind === entryKinds.batch && entry.sound);
  const first = batches[0];
  if (first === undefined) return;
  const path = `${directory}/salvaged-${first.round}.segment`;
  if ((await disk.fileSize(path)) !== undefined) return;
  const target = await createAnew(disk, `${path}.tmp`);
  try {
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
    await target.sync();
  } finally {
    await target.close();
  }
  await disk.rename(`${path}.tmp`, path);
  await disk.syncDirectory(directory);
};
