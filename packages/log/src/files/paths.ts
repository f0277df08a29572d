/** Names of everything in a data directory. */
import type { TopicId } from "@millrace/record";

export const paths = {
  meta: "meta",
  clean: "clean",
  recoveryPoints: "recovery-points",
  recoveryPointsCopy: "recovery-points.copy",
  reserve: "reserve",
  journal: "journal",
  journalFiles: "journal-files",
  partitions: "partitions",
} as const;

/** `partitions/<topic id>-<partition>`. */
export const partitionDirectory = (topicId: TopicId, partition: number): string =>
  `${paths.partitions}/${topicId}-${String(partition).padStart(5, "0")}`;

/** Topic id and partition of a directory name, or undefined for another name. */
export const parsePartitionDirectory = (
  name: string,
): { readonly topicId: TopicId; readonly partition: number } | undefined => {
  const match = /^([0-9a-f]{32})-([0-9]{5,10})$/.exec(name);
  if (match === null) return undefined;
  return { topicId: match[1] as TopicId, partition: Number(match[2]) };
};

/** 20 digits, as Kafka names its segments. */
export const offsetName = (offset: number): string => String(offset).padStart(20, "0");

/** Base offset of `<20 digits>.log`, or undefined for another name. */
export const parseSegmentName = (name: string): number | undefined => {
  const match = /^([0-9]{20})\.log$/.exec(name);
  if (match === null) return undefined;
  const base = Number(match[1]);
  return Number.isSafeInteger(base) ? base : undefined;
};
