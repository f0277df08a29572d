/** Journal entries of a partition that can not be recovered, kept beside it before the journal goes on. */
import type { Disk } from "@millrace/env";
import { entryKinds } from "./journal-format.ts";
import type { PlannedEntry } from "./journal-scan.ts";

/** Writes the sound batches to `rescued-<round>.segment`, a `millrace.storage.v1.Segment`, durably. */
export const rescue = async (
  disk: Disk,
  directory: string,
  entries: readonly PlannedEntry[],
): Promise<void> => {
  const batches = entries.filter((entry) => entry.kind === entryKinds.batch && entry.sound);
  const first = batches[0];
  if (first === undefined) return;
  const path = `${directory}/rescued-${first.round}.segment`;
  if ((await disk.fileSize(path)) !== undefined) return;
  const target = await disk.open(`${path}.tmp`, "create");
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
