/** Members above the quota, and what they have to give up. */
import type { Pace, Steps } from "../../steps.ts";
import { type Board, nobody } from "../board.ts";
import type { Counts } from "../counts.ts";
import { isNear, type Racks } from "./racks.ts";
import type { Share } from "./share.ts";

export interface OverfullMember {
  readonly m: number;
  /** It gives up all of these: they are far, and it has enough that are near. */
  readonly forced: readonly number[];
  /** And some of these: as many as `must`, */
  readonly marginal: readonly number[];
  readonly must: number;
  /** and one more if it does not get one of the contested seats above the quota. */
  readonly contends: boolean;
}

export interface Overfull {
  readonly members: readonly OverfullMember[];
  /** How many that contend for a seat above the quota get none. */
  readonly losers: number;
}

interface Holdings {
  readonly m: number;
  readonly near: readonly number[];
  readonly far: readonly number[];
}

/** What members above the quota have. */
function* holdingsOf(
  { owners, partitionCount }: Board,
  { takers, quota }: Share,
  loads: Counts,
  racks: Racks | undefined,
  pace: Pace,
): Steps<Holdings[]> {
  const holdings = new Map<number, { m: number; near: number[]; far: number[] }>();
  for (const m of takers) if (loads.of(m) > quota) holdings.set(m, { m, near: [], far: [] });
  if (holdings.size === 0) return [];
  for (let g = 0; g < partitionCount; g += 1) {
    if (pace.took()) yield;
    const m = owners.of(g);
    const held = m === nobody ? undefined : holdings.get(m);
    if (held === undefined) continue;
    if (racks !== undefined && isNear(racks, m, g)) held.near.push(g);
    else held.far.push(g);
  }
  return [...holdings.values()];
}

/**
 * Far partitions go first: to keep a near one instead gains one, and costs at most one where the
 * other is placed. By the same exchange a seat above the quota is for those with more near ones
 * than the quota. Among equals, the contenders, the network of `plan.ts` decides.
 */
export function* overfullOf(
  board: Board,
  share: Share,
  loads: Counts,
  racks: Racks | undefined,
  pace: Pace,
): Steps<Overfull> {
  const holdings = yield* holdingsOf(board, share, loads, racks, pace);
  const { quota, rest } = share;
  const strong = holdings.filter(({ near }) => near.length > quota).length;
  const allKeepMore = holdings.length <= rest;
  const strongContend = !allKeepMore && strong >= rest;
  const seats = strongContend ? rest : rest - strong;
  const members = holdings.map(({ m, near, far }): OverfullMember => {
    const isStrong = near.length > quota;
    const contends = !allKeepMore && isStrong === strongContend;
    const keeps = !allKeepMore && strongContend && !isStrong ? quota : quota + 1;
    const enoughNear = near.length >= keeps;
    return {
      ...{ m, contends, forced: enoughNear ? far : [], marginal: enoughNear ? near : far },
      must: near.length + (enoughNear ? 0 : far.length) - keeps,
    };
  });
  const contenders = members.filter(({ contends }) => contends).length;
  return { members, losers: Math.max(0, contenders - seats) };
}
