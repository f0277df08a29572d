/** What a snapshot of producers that cannot be read takes: batches that no other file has. */
import { crcOf } from "@millrace/record";
import type { SimDisk } from "../disk.ts";
import type { ModelBatch } from "./batches.ts";
import type { PartitionModel } from "./model.ts";

/** The files of a data directory, as the next process reads them. */
export type Files = Pick<SimDisk, "paths" | "content">;

/** Offset of a snapshot's file, or undefined for another path. */
export const snapshotOffsetOf = (path: string): number | undefined => {
  const match = /\/producers\.(\d+)$/.exec(path);
  return match === null ? undefined : Number(match[1]);
};

/** True for the content of a checksummed file: magic, CRC, message. */
const isSound = (content: Buffer): boolean =>
  content.toString("latin1", 0, 4) === "MRPS" &&
  content.readUInt32LE(4) === crcOf(content.subarray(8));

/**
 * Lets the model doubt what the log can no longer know of its producers, as the files are now. A
 * snapshot that rotted takes with it the batches behind the one before it, as far as their segments
 * are deleted. Retention goes on and snapshots are written again, so it is asked anew at every
 * moment at which the log reads its snapshots. One that the disk did not give (`unread`, paths) is
 * lost, too: what is written after it was missed does not know those batches.
 */
export const doubtLostProducers = (
  disk: Files,
  directory: string,
  model: PartitionModel,
  unread: Iterable<string> = [],
): void => {
  const { batches, producers, rottenSnapshots, truncation } = model;
  const missed = [...unread].filter((path) => path.startsWith(`partitions/${directory}/`));
  if (rottenSnapshots.size === 0 && missed.length === 0) return;
  const paths = disk.paths().filter((path) => path.startsWith(`partitions/${directory}/`));
  const contentOf = (path: string): Buffer => disk.content(path) ?? Buffer.alloc(0);
  const snapshots = paths.flatMap((path) => {
    const offset = snapshotOffsetOf(path);
    if (offset === undefined) return [];
    return { offset, rotten: rottenSnapshots.has(offset) && !isSound(contentOf(path)) };
  });
  const logs = paths.filter((path) => path.endsWith(".log")).map(contentOf);
  // Whoever sent it: the log cannot tell, and believes no sequences from before it.
  const isLost = ({ batch }: ModelBatch): boolean => !logs.some((log) => log.includes(batch.body));
  // A snapshot counts where recovery begins behind it: not before the last recovery or flush, also
  // when the recovery points rot and their copy is older.
  const end = Math.min(model.durableEnd, truncation?.offset ?? Number.MAX_SAFE_INTEGER);
  const sound = snapshots.filter(({ rotten }) => !rotten).map(({ offset }) => offset);
  /** End of what is lost with the snapshot of an offset; 0 when it is all somewhere else. */
  const lostWith = (offset: number): number => {
    const from = Math.max(0, ...sound.filter((other) => other < offset));
    const lost = batches.findLast(
      (batch) => batch.baseOffset >= from && batch.lastOffset < offset && isLost(batch),
    );
    return lost === undefined ? 0 : lost.lastOffset + 1;
  };
  for (const { offset, rotten } of snapshots) {
    if (!rotten) continue;
    const newer = sound.some((other) => other > offset && other <= end);
    // The newer one has it all, as long as the log reaches there.
    if (newer) producers.doubtWindowsAfterCut(lostWith(offset));
    else producers.doubtWindows(lostWith(offset));
  }
  for (const path of missed) producers.doubtWindows(lostWith(snapshotOffsetOf(path) ?? 0));
};

/** The truncation that is under way is over. */
export const tookEffect = (
  run: { readonly disk: Files; readonly faults: { readonly unreadSnapshots: Iterable<string> } },
  { directory }: { readonly directory: string },
  model: PartitionModel,
): void => {
  doubtLostProducers(run.disk, directory, model, run.faults.unreadSnapshots);
  model.truncated();
};
