/** Reading the journal after an unclean stop. Decides nothing about partitions. */
import type { Disk } from "@millrace/env";
import { JournalFilesSchema } from "@millrace/proto/storage";
import { bodyCrcMatches, readStored, type TopicId } from "@millrace/record";
import { bugs } from "../bugs.ts";
import { breathe, inSteps, Pace, type Pauses } from "../files/breathe.ts";
import { magics, readOptional, readWhole } from "../files/checksummed-file.ts";
import { paths } from "../files/paths.ts";
import {
  decodeRoundSteps,
  type FoundRound,
  type JournalChange,
  ROUND_ALIGN_BYTES,
  type UnknownChange,
} from "./format.ts";
import { journalFileName, parseJournalName } from "./journal.ts";

/** An entry to replay. */
export type PlannedEntry = (JournalChange | UnknownChange) & PlannedPayload;

/** Where an entry stands in the journal. */
export interface PlannedPayload {
  readonly round: number;
  /** Where the payload lies, and whether its CRCs are right. */
  readonly path: string;
  readonly at: number;
  readonly bytes: number;
  readonly sound: boolean;
}

/** What the journal holds after the recovery points. */
export interface JournalPlan {
  /** Entries per partition (`<topic id>#<partition>`), in the order of their rounds. */
  readonly entries: ReadonlyMap<string, readonly PlannedEntry[]>;
  /** Last round that was found, whole or not; new rounds go on behind it. */
  readonly lastRound: number;
  readonly rounds: number;
  /**
   * Rounds that must have been durable and are damaged: the last of them. Infinity where a file is
   * gone: nobody knows how many rounds it had.
   */
  readonly damagedUpTo: number | undefined;
  /** Where the last round lies that counts. */
  readonly last: { readonly path: string; readonly at: number; readonly bytes: number } | undefined;
}

export const planKey = (topicId: TopicId, partition: number): string => `${topicId}#${partition}`;

/** The reverse. */
export const parsePlanKey = (
  key: string,
): { readonly topicId: TopicId; readonly partition: number } => {
  const [topicId = "", partition = ""] = key.split("#");
  return { topicId: topicId as TopicId, partition: Number(partition) };
};

interface LocatedRound {
  readonly found: FoundRound;
  readonly path: string;
  readonly at: number;
  readonly sound: readonly boolean[];
}

/** True when the payload is the batch that its entry names. */
const payloadSound = (
  file: Buffer,
  at: number,
  bytes: number,
  offset: number,
  headerCrc: number,
): boolean => {
  const stored = readStored(file.subarray(at, at + bytes), 0);
  if ("fault" in stored || stored.bodyEnd !== bytes) return false;
  if (stored.baseOffset !== offset || stored.headerCrc !== headerCrc) return false;
  return bodyCrcMatches(file.subarray(at, at + bytes), stored);
};

/** Entries looked at in one turn of the event loop; some milliseconds. */
const entriesPerTurn = 1024;
/** A payload takes as long to check as one more entry for each of these. */
const bytesPerEntry = 8 * 1024;
/** Pages looked at in one turn of the event loop for the beginning of a round. */
const pagesPerTurn = 4096;

const locate = async (
  clock: Pauses,
  file: Buffer,
  path: string,
  directoryId: Uint8Array,
  after: number,
): Promise<LocatedRound[]> => {
  const rounds: LocatedRound[] = [];
  // Rounds are small mostly: the pace is that of the file.
  const pace = new Pace(clock, entriesPerTurn);
  let at = 0;
  let pages = 0;
  while (at < file.length) {
    const found = await inSteps(clock, decodeRoundSteps(file, at, directoryId));
    pages += 1;
    if (pages % pagesPerTurn === 0) await breathe(clock);
    if (found === undefined) {
      at += ROUND_ALIGN_BYTES;
      continue;
    }
    // Also of a round that is not wanted: there may be a million entries of those.
    if (pace.took(found.entries.length)) await pace.pause();
    if (found.round > after) {
      rounds.push({ found, path, at, sound: await soundOf(pace, file, at, found) });
    }
    at += found.bytes;
  }
  return rounds;
};

/** For each entry of a round whether its payload is right. */
const soundOf = async (
  pace: Pace,
  file: Buffer,
  at: number,
  { entries }: FoundRound,
): Promise<boolean[]> => {
  const sound: boolean[] = [];
  for (const { change, payloadAt, payloadBytes } of entries) {
    sound.push(
      change.kind !== "batch" ||
        payloadSound(file, at + payloadAt, payloadBytes, change.offset, change.headerCrc),
    );
    if (pace.took(1 + payloadBytes / bytesPerEntry)) await pace.pause();
  }
  return sound;
};

/**
 * Reads every round after `after` (undefined when the recovery points are lost). The last one found
 * counts only when all of it is right: its write may have been torn. A missing or damaged one
 * before it was durable once, because a later round was written.
 */
export const scanJournal = async (
  clock: Pauses,
  disk: Disk,
  directoryId: Uint8Array,
  after: number | undefined,
): Promise<JournalPlan> => {
  const located: LocatedRound[] = [];
  for (const name of (await disk.list(paths.journal)).sort()) {
    const number = parseJournalName(name);
    if (number === undefined) continue;
    const path = journalFileName(number);
    const file = await readWhole(disk, path);
    for (const round of await locate(clock, file, path, directoryId, after ?? 0))
      located.push(round);
  }
  located.sort((a, b) => a.found.round - b.found.round);
  const missing = await missingFile(disk);
  const lastRound = located.at(-1)?.found.round ?? after ?? 0;
  const torn = located.at(-1)?.sound.includes(false) === true ? located.pop() : undefined;
  const usable = after === undefined ? contiguousEnd(located) : located;
  let damagedUpTo: number | undefined;
  let expected =
    after === undefined ? (usable[0]?.found.round ?? torn?.found.round ?? 0) : after + 1;
  const kept: LocatedRound[] = [];
  for (const round of usable) {
    if (round.found.round > expected) {
      if (bugs.cutAtMiddleCrc) break;
      damagedUpTo = round.found.round - 1;
    }
    if (bugs.cutAtMiddleCrc && round.sound.includes(false)) break;
    kept.push(round);
    expected = round.found.round + 1;
  }
  // A torn round does not count, but it was not begun before the one before it was durable.
  if (torn !== undefined && torn.found.round > expected && kept.length === usable.length) {
    if (!bugs.cutAtMiddleCrc) damagedUpTo = torn.found.round - 1;
  }
  if (missing) damagedUpTo = Number.POSITIVE_INFINITY;
  const final = kept.at(-1);
  const last = final && { path: final.path, at: final.at, bytes: final.found.bytes };
  const entries = await entriesOf(clock, kept);
  return { entries, lastRound, rounds: kept.length, damagedUpTo, last };
};

/** Whether a file of the journal is gone, or shorter than it was. Older versions kept no list. */
const missingFile = async (disk: Disk): Promise<boolean> => {
  const list = await readOptional(
    disk,
    paths.journalFiles,
    magics.journalFiles,
    JournalFilesSchema,
  );
  if (list.kind !== "ok") return false;
  for (const number of list.message.numbers) {
    const bytes = await disk.fileSize(journalFileName(number));
    if (bytes !== Number(list.message.fileBytes)) return true;
  }
  return false;
};

/**
 * Makes the last round durable. The process that wrote it may have died before its fsync, or of it,
 * and then it is in the page cache alone: recovery must not act on what a power cut takes back.
 * Every round before it was durable when it was written.
 */
export const secureLastRound = async (disk: Disk, { last }: JournalPlan): Promise<void> => {
  if (last === undefined) return;
  const file = await disk.open(last.path, "writeDurably");
  try {
    const round = Buffer.alloc(last.bytes);
    const bytes = await file.read(round, 0, round.length, last.at);
    await file.write([round.subarray(0, bytes)], last.at);
  } finally {
    await file.close();
  }
};

/**
 * Without a known beginning, older rounds may have been written over in parts: the run up to the
 * last.
 */
const contiguousEnd = (rounds: readonly LocatedRound[]): readonly LocatedRound[] => {
  let first = rounds.length - 1;
  while (first > 0 && rounds[first - 1]?.found.round === (rounds[first]?.found.round ?? 0) - 1) {
    first -= 1;
  }
  return rounds.slice(Math.max(0, first));
};

const entriesOf = async (
  clock: Pauses,
  rounds: readonly LocatedRound[],
): Promise<Map<string, PlannedEntry[]>> => {
  const entries = new Map<string, PlannedEntry[]>();
  const pace = new Pace(clock, entriesPerTurn);
  for (const { found, path, at, sound } of rounds) {
    for (const [i, entry] of found.entries.entries()) {
      const key = planKey(entry.topicId, entry.partition);
      const list = entries.get(key) ?? [];
      entries.set(key, list);
      list.push({
        ...entry.change,
        round: found.round,
        path,
        at: at + entry.payloadAt,
        bytes: entry.payloadBytes,
        sound: sound[i] ?? false,
      });
      if (pace.took()) await pace.pause();
    }
  }
  return entries;
};
