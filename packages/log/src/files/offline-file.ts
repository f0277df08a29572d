/** The `offline` file of a partition: damage that was met, for the next start and for people. */
import type { Disk } from "@millrace/env";
import { readWhole, replaceFile } from "./checksummed-file.ts";

const offlineName = "offline";

/** Why a partition stays offline, for people: delete the file after repairing the partition. */
export const offlinePath = (directory: string): string => `${directory}/${offlineName}`;

/**
 * The reason in a partition's offline file, or undefined when there is none among the `names` of
 * the directory.
 */
export const readOfflineReason = async (
  disk: Disk,
  directory: string,
  names: ReadonlySet<string>,
): Promise<string | undefined> => {
  if (!names.has(offlineName)) return undefined;
  const path = offlinePath(directory);
  const reason = (await readWhole(disk, path)).toString().trim();
  return `${reason}: restore the partition, then remove ${path}`;
};

/**
 * Writes the offline file, durably, unless there is one. The one that is there may be the work of a
 * process that died before its name was durable.
 */
export const keepOffline = async (disk: Disk, directory: string, reason: string): Promise<void> => {
  const path = offlinePath(directory);
  if ((await disk.fileSize(path)) !== undefined) await disk.syncDirectory(directory);
  else await replaceFile(disk, path, Buffer.from(`${reason}\n`));
};
