/** What a start believes of how far compaction had come. */
import { create } from "@bufbuild/protobuf";
import type { Disk } from "@millrace/env";
import { type RecoveryPoint, RecoveryPointSchema } from "@millrace/proto/storage";
import { topicIdBytes } from "@millrace/record";
import { isPassing } from "../files/disk-errors.ts";
import { parseSegmentName } from "../files/paths.ts";
import type { PlannedEntry } from "../journal/scan.ts";
import {
  cleanerCheckpointName,
  readCleanerCheckpoint,
  removeCleanerCheckpoint,
} from "../partition/cleaned-log.ts";
import type { Partition } from "../partition/partition.ts";
import type { Known } from "./began-anew.ts";

/**
 * A recovery point for a log whose own is lost, where segments of it were cleaned: batches of them
 * may still be in the journal as they were before. Undefined where none is needed.
 */
export const pointOfCleaning = async (
  disk: Disk,
  directory: string,
  { topicId, partition, life }: Pick<Known, "life" | "partition" | "topicId">,
): Promise<RecoveryPoint | undefined> => {
  const found = await readCleanerCheckpoint(disk, directory);
  if (found?.incarnation !== life.incarnation || found.endOffset === 0n) return undefined;
  const bases = await basesIn(disk, directory);
  // Retention may have come further.
  if (!bases.includes(Number(found.endOffset))) return undefined;
  const start = BigInt(Math.min(...bases));
  const { endOffset, journalRound, logStartOffset } = found;
  return create(RecoveryPointSchema, {
    ...{ topicId: topicIdBytes(topicId), partition, incarnation: life.incarnation, journalRound },
    ...{ offset: endOffset, segmentBaseOffset: endOffset, highWatermark: endOffset },
    logStartOffset: logStartOffset > start ? logStartOffset : start,
    producerSnapshot: true,
  });
};

/** Of the segments, in any order. Nothing where the directory cannot be read: others will tell. */
const basesIn = async (disk: Disk, directory: string): Promise<number[]> => {
  try {
    return (await disk.list(directory)).flatMap((name) => parseSegmentName(name) ?? []);
  } catch (thrown) {
    if (isPassing(thrown)) throw thrown;
    return [];
  }
};

/**
 * Takes up how far compaction had come. Without a recovery point nothing of it is believed, nor
 * where a truncation went back into what was cleaned: the segments may have another history.
 */
export const loadCleaned = async (
  disk: Disk,
  partition: Partition,
  { point, entries }: Pick<Known, "entries" | "point">,
  names: ReadonlySet<string>,
): Promise<void> => {
  if (!names.has(cleanerCheckpointName)) return;
  const { directory, life } = partition;
  const found = await readCleanerCheckpoint(disk, directory);
  const isOfLife = found !== undefined && found.incarnation === life.incarnation;
  const end = Number(found?.endOffset ?? 0n);
  const upTo = Number(found?.cleanedUpTo ?? 0n);
  if (point !== undefined && isOfLife && !isCutBelow(entries, Math.max(end, upTo))) {
    partition.cleaned.load(found, partition.segments);
    return;
  }
  await removeCleanerCheckpoint(disk, directory);
  partition.names.changed();
};

const isCutBelow = (entries: readonly PlannedEntry[], offset: number): boolean =>
  entries.some((entry) => entry.kind === "truncate" && entry.offset < offset);
