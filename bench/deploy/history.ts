/** What happened to the partitions of a group: who owned them when, and when they stood still. */
import { longestStall, type Span } from "../lib/stalls.ts";

/** A member got a partition, or gave it back. Milliseconds since the Unix epoch. */
export interface Ownership {
  readonly atMs: number;
  readonly member: string;
  readonly partition: number;
  readonly kind: "got" | "gave";
}

/** Records of a partition were handed to a member. */
export interface Read {
  readonly atMs: number;
  readonly member: string;
  readonly partition: number;
}

/** A member is asked to leave, and another one is started. */
export interface Replacement {
  readonly atMs: number;
  /** Everything that follows from it has happened by then. */
  readonly endMs: number;
  readonly leaves: string;
  readonly comes: string;
}

export interface History {
  readonly partitions: number;
  readonly ownerships: readonly Ownership[];
  readonly reads: readonly Read[];
}

/** What a group made of a deploy. */
export interface Outcome {
  /** Partitions that some member got, over all replacements. */
  readonly moves: number;
  /** Those that went from one member that stayed to another one that stayed. */
  readonly needlessMoves: number;
  /** Moves of one partition in one replacement, at most. */
  readonly movesMax: number;
  /** Longest time without records of a partition that did not move in a replacement, ms. */
  readonly gapMs: number;
  /** The same of partitions that moved. */
  readonly movedGapMs: number;
  /** Time from the beginning of a replacement to its last move, at most, ms. */
  readonly settlingMs: number;
}

/** Times at which each partition was read, rising. */
const timesOf = ({ partitions, reads }: History): number[][] => {
  const times: number[][] = Array.from({ length: partitions }, () => []);
  for (const { atMs, partition } of reads) times[partition]?.push(atMs);
  for (const list of times) list.sort((a, b) => a - b);
  return times;
};

/** The longest gap of any partition in a span, ms. */
export const longestGapOf = (history: History, span: Span): number =>
  Math.max(0, ...timesOf(history).map((times) => longestStall(times, span)));

/** The moves of each partition in a replacement, and those that nothing asked for. */
const movesOf = (
  { ownerships }: History,
  { atMs, endMs, leaves, comes }: Replacement,
): { readonly moves: ReadonlyMap<number, number>; readonly needless: number } => {
  const owners = new Map<number, string>();
  const moves = new Map<number, number>();
  let needless = 0;
  for (const { kind, member, partition, ...change } of ownerships) {
    if (change.atMs >= endMs) break;
    if (kind === "gave") continue;
    const owner = owners.get(partition);
    owners.set(partition, member);
    if (change.atMs < atMs) continue;
    moves.set(partition, (moves.get(partition) ?? 0) + 1);
    if (owner !== leaves && member !== comes) needless += 1;
  }
  return { moves, needless };
};

/** What the replacements cost. Under one name (a static member) its own partitions come back. */
export const outcomeOf = (history: History, replacements: readonly Replacement[]): Outcome => {
  const times = timesOf(history);
  const all = { moves: 0, needlessMoves: 0, movesMax: 0, gapMs: 0, movedGapMs: 0, settlingMs: 0 };
  for (const replacement of replacements) {
    const span = { fromMs: replacement.atMs, toMs: replacement.endMs };
    const { moves, needless } = movesOf(history, replacement);
    const counts = [...moves.values()];
    all.moves += counts.reduce((sum, count) => sum + count, 0);
    all.needlessMoves += needless;
    all.movesMax = Math.max(all.movesMax, ...counts);
    const within = history.ownerships.filter(({ atMs }) => atMs >= span.fromMs && atMs < span.toMs);
    const touched = new Set(within.map(({ partition }) => partition));
    for (const [partition, list] of times.entries()) {
      const gapMs = longestStall(list, span);
      if (touched.has(partition)) all.movedGapMs = Math.max(all.movedGapMs, gapMs);
      else all.gapMs = Math.max(all.gapMs, gapMs);
    }
    all.settlingMs = Math.max(all.settlingMs, (within.at(-1)?.atMs ?? span.fromMs) - span.fromMs);
  }
  return all;
};
