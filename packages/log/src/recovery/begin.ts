/** Where the recovery of a partition begins: decisions without I/O. */
import type { RecoveryPoint } from "@millrace/proto/storage";
import type { PlannedEntry } from "../journal/scan.ts";
import type { Life } from "../partition/types.ts";
import type { Segment } from "../segment/segment.ts";

/**
 * Entries of a partition's present life. One that was deleted and made again under its id leaves
 * the entries of its earlier lives in the journal.
 */
export const entriesOfLife = (
  entries: readonly PlannedEntry[],
  life: Life,
): readonly PlannedEntry[] => entries.filter(({ round }) => round >= life.firstRound);

/** The recovery point, unless it is about another life of the partition. */
export const pointOfLife = (
  point: RecoveryPoint | undefined,
  life: Life,
): RecoveryPoint | undefined =>
  point !== undefined && (point.incarnation === life.incarnation || ends(point, life))
    ? point
    : undefined;

/** Whether a deletion or a loss, of whichever life, came after this one had begun. */
const ends = (point: RecoveryPoint, { firstRound }: Life): boolean => {
  const { deleted, incarnation, journalRound, offlineReason } = point;
  const lost = incarnation === 0n && offlineReason !== "";
  return (deleted || lost) && journalRound > 0n && firstRound <= Number(journalRound);
};

/** Entries that the recovery point does not reflect yet. */
export const entriesAfter = (
  entries: readonly PlannedEntry[],
  point: RecoveryPoint | undefined,
): readonly PlannedEntry[] => {
  const covered = Number(point?.journalRound ?? 0n);
  return entries.filter(({ round }) => round > covered);
};

/** The damaged rounds, unless all of them are older than the partition's life or its point. */
export const damageAfter = (
  damagedUpTo: number | undefined,
  life: Life,
  point: RecoveryPoint | undefined,
): number | undefined => {
  const covered = Math.max(life.firstRound - 1, Number(point?.journalRound ?? 0n));
  return damagedUpTo !== undefined && damagedUpTo > covered ? damagedUpTo : undefined;
};

/** Whether a change is about something below `offset`. */
const isBefore = (entry: PlannedEntry, offset: number): boolean =>
  !("offset" in entry) || entry.offset < offset;

export interface Truncations {
  /** Entries that still hold. */
  readonly entries: readonly PlannedEntry[];
  /** Lowest offset that a truncation went back to; undefined without one. */
  readonly backTo: number | undefined;
}

/** What truncations leave of a plan. */
export const afterTruncations = (entries: readonly PlannedEntry[]): Truncations => {
  let kept: PlannedEntry[] = [];
  let backTo: number | undefined;
  for (const entry of entries) {
    if (entry.kind === "truncate") {
      backTo = Math.min(backTo ?? entry.offset, entry.offset);
      kept = kept.filter((before) => before.kind === "logStart" || isBefore(before, entry.offset));
    }
    kept.push(entry);
  }
  return { entries: kept, backTo };
};

/** The log start after all entries. It never falls, and truncations do not undo it. */
export const finalLogStart = (entries: readonly PlannedEntry[], before: number): number =>
  entries.reduce(
    (start, entry) => (entry.kind === "logStart" ? Math.max(start, entry.offset) : start),
    before,
  );

/**
 * Where a log without a recovery point begins. Its first segment's name may be lost, but not the
 * journal; the journal may know nothing of it, because the directory came back from a backup.
 */
export const firstOffset = (
  segments: readonly Segment[],
  entries: readonly PlannedEntry[],
): number => {
  const bases = segments.slice(0, 1).map(({ baseOffset }) => baseOffset);
  for (const entry of entries) {
    if ("offset" in entry && entry.kind !== "logStart") bases.push(entry.offset);
  }
  return bases.length === 0 ? 0 : Math.min(...bases);
};

/** Bytes that the journal's batches from `from` up to `end` take in a segment. */
export const bytesOfBatches = (
  entries: readonly PlannedEntry[],
  from: number,
  end: number,
): number =>
  entries.reduce((sum, entry) => {
    const isThere = entry.kind === "batch" && entry.offset >= from && entry.offset < end;
    return isThere ? sum + entry.bytes : sum;
  }, 0);
