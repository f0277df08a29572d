/** What the recovery of a partition takes and tells. */
import type { RecoveryPoint } from "@millrace/proto/storage";
import type { SegmentContext } from "../context.ts";
import type { PlannedEntry } from "../journal/scan.ts";
import type { Partition } from "../partition/partition.ts";

/** Why a partition cannot be served. Files are left as they are. */
export class PartitionDamage extends Error {
  override readonly name = "PartitionDamage";
}

/** The disk does not give the journal, which all share: no partition is to blame. */
export class JournalUnreadable extends Error {
  override readonly name = "JournalUnreadable";
}

/** A batch that neither the journal nor the segments have whole where it should be. */
export const lostBatch = (offset: number): PartitionDamage =>
  new PartitionDamage(
    `the batch at offset ${offset} is damaged in the journal, and not in its segment`,
  );

/**
 * Rounds up to `upTo` are damaged, all where a file is gone (Infinity): nobody can tell which
 * partitions they were about.
 */
export const damagedJournal = (upTo: number): PartitionDamage =>
  new PartitionDamage(
    upTo === Number.POSITIVE_INFINITY
      ? "a file of the commit journal is gone, or short: what it held is lost"
      : `the commit journal is damaged up to round ${upTo}`,
  );

export const unknownChange = (code: number): PartitionDamage =>
  new PartitionDamage(`its journal has a change of kind ${code}: use a newer version`);

/** The journal says that the log ended at `offset` at some time after the recovery point. */
export const beginsAgain = (end: number, offset: number): PartitionDamage =>
  new PartitionDamage(
    `the log goes on to ${end}, its journal begins again at ${offset}: a truncation is missing`,
  );

export const epochFalls = (offset: number, epoch: number, latest: number): PartitionDamage =>
  new PartitionDamage(
    `the batch at offset ${offset} has leader epoch ${epoch}, ` +
      `${latest} began before it: a truncation is missing`,
  );

/** Of the segment that a truncation cut, if it is there. */
export const endsBefore = (
  path: string | undefined,
  reached: number,
  offset: number,
): PartitionDamage =>
  new PartitionDamage(
    path === undefined
      ? `the segment of offset ${offset} is missing`
      : `${path} ends at ${reached}, it was fsynced up to ${offset}`,
  );

/** Nobody can tell whether the truncation is older than what stands behind it. */
export const olderTruncation = (end: number): PartitionDamage =>
  new PartitionDamage(
    `the recovery points are lost, the journal cuts the log at ${end}, ` +
      "and its segments go on behind that",
  );

export const missing = (from: number, to: number, reason: string): PartitionDamage =>
  new PartitionDamage(`offsets ${from} to ${to - 1} were acknowledged and are missing: ${reason}`);

export interface RecoveryCounts {
  segmentBytesScanned: number;
  entriesReplayed: number;
  bytesCut: number;
  indexesRebuilt: number;
}

export interface RecoveryInput {
  readonly context: SegmentContext;
  readonly partition: Partition;
  /** In the partition's directory. */
  readonly names: ReadonlySet<string>;
  /** Of the partition's present life, as `entries` are. */
  readonly point: RecoveryPoint | undefined;
  /** A partition without a point may have had one: the journal may be older than its segments. */
  readonly pointsLost: boolean;
  readonly entries: readonly PlannedEntry[];
  readonly damagedUpTo: number | undefined;
  readonly counts: RecoveryCounts;
}
