/**
 * A log that began anew. Until a recovery point covers that, the journal has it with all that came
 * after it, and the files may still be those of the old log.
 */
import type { Disk } from "@millrace/env";
import type { RecoveryPoint } from "@millrace/proto/storage";
import type { TopicId } from "@millrace/record";
import type { PlannedEntry } from "../journal/scan.ts";
import { removeOldLog } from "../partition/old-log.ts";
import { pointAnewAt } from "../partition/point-anew.ts";
import type { Life } from "../partition/types.ts";
import { listSegments } from "../segment/list.ts";
import { afterTruncations } from "./begin.ts";
import { lostBatch, PartitionDamage } from "./types.ts";

/** What recovery points and journal know of a partition. */
export interface Known {
  readonly topicId: TopicId;
  readonly partition: number;
  readonly life: Life;
  readonly point: RecoveryPoint | undefined;
  readonly entries: readonly PlannedEntry[];
  /** The log began anew behind the recovery point. */
  readonly beganAnew: boolean;
}

/** The same from the last reset of the journal on, if there is one: before it was another log. */
export const sinceReset = <T extends Known>(known: T): T => {
  const { entries } = known;
  const last = entries.findLastIndex(({ kind }) => kind === "reset");
  const reset = entries[last];
  if (reset?.kind !== "reset") return known;
  const point = pointAnewAt(known, reset.offset, BigInt(reset.round));
  return { ...known, point, entries: entries.slice(last + 1), beganAnew: true };
};

/**
 * Removes the files of the old log, and those of the new one: the journal has all of it. Throws
 * PartitionDamage, with the files as they are, where it has not. `pointsLost`: the reset may be
 * older than what the files hold.
 */
export const dropOldLog = async (
  disk: Disk,
  directory: string,
  { entries }: Known,
  pointsLost: boolean,
): Promise<void> => {
  for (const entry of afterTruncations(entries).entries) {
    if (entry.kind === "batch" && !entry.sound) throw lostBatch(entry.offset);
  }
  if (pointsLost) {
    const segments = await listSegments(disk, directory, new Set(await disk.list(directory)));
    if (segments.some(({ sizeBytes }) => sizeBytes > 0)) throw olderReset();
  }
  await removeOldLog(disk, directory);
};

/** Nobody can tell whether the segments are those of the log before. */
const olderReset = (): PartitionDamage =>
  new PartitionDamage(
    "the recovery points are lost, the journal begins the log anew, and there are segments",
  );
