/** Bytes: brokers far above the mean swap replicas with those below, while that is worth it. */
import type { Board, Seat } from "./board.ts";
import type { PlanRequest, Unmet } from "./types.ts";

interface Swap {
  /** Partition that goes, and the one that comes for it. */
  readonly large: number;
  readonly small: number;
  /** What the fuller one of the two has afterwards. */
  readonly bytes: number;
}

/** Whether each of two replicas may be where the other one is. */
const canSwap = (board: Board, large: number, from: Seat, small: number, to: Seat): boolean => {
  if (board.isFixed(large) || board.isFixed(small)) return false;
  const [a, b] = [from.broker.id, to.broker.id];
  const [ofLarge, ofSmall] = [board.replicas[large] ?? [], board.replicas[small] ?? []];
  if (ofLarge.includes(b) || ofSmall.includes(a)) return false;
  const more = board.bytesOf(large) - board.bytesOf(small);
  if (to.bytes + more > to.broker.bytesMax) return false;
  return (
    board.racksMissingWith(large, a, b) <= board.racksMissing(large) &&
    board.racksMissingWith(small, b, a) <= board.racksMissing(small)
  );
};

/** Candidates near what would make both equal that are looked at for each replica. */
const candidatesMax = 8;
/** Swaps of one plan: the next plan goes on. */
const swapsMax = 2_000;
/** Brokers above the mean that are named. */
const overMax = 5;
/** A swap has to gain such a part of what is too much, or of what may be. */
const gainPart = 1 / 4;

/** Replicas of brokers by their bytes, sorted again only after a change. */
class ByBytes {
  readonly #board: Board;
  readonly #known = new Map<Seat, { readonly version: number; readonly list: readonly number[] }>();

  constructor(board: Board) {
    this.#board = board;
  }

  of(seat: Seat): readonly number[] {
    const { version } = seat;
    const known = this.#known.get(seat);
    if (known?.version === version) return known.list;
    const bytesOf = (p: number): number => this.#board.bytesOf(p);
    const list = [...seat.partitions].sort((a, b) => bytesOf(a) - bytesOf(b) || a - b);
    this.#known.set(seat, { version, list });
    return list;
  }
}

/** The swap that leaves the fuller of the two with the least, if that is less by `gainMin`. */
const bestSwap = (
  board: Board,
  sorted: ByBytes,
  from: Seat,
  to: Seat,
  gainMin: number,
): Swap | undefined => {
  const half = (from.bytes - to.bytes) / 2;
  const smalls = sorted.of(to);
  let best: Swap | undefined;
  let at = 0;
  for (const large of sorted.of(from)) {
    const wanted = board.bytesOf(large) - half;
    while (at < smalls.length && board.bytesOf(smalls[at] ?? 0) < wanted) at += 1;
    const near = smalls.slice(Math.max(0, at - candidatesMax / 2), at + candidatesMax / 2);
    for (const small of near) {
      const more = board.bytesOf(large) - board.bytesOf(small);
      const bytes = Math.max(from.bytes - more, to.bytes + more);
      if (bytes > from.bytes - gainMin || bytes >= (best?.bytes ?? from.bytes)) continue;
      if (canSwap(board, large, from, small, to)) best = { large, small, bytes };
    }
  }
  return best;
};

/** Swaps until no active broker has more than the mean and the slack, or no swap is worth it. */
export function* evenBytes(board: Board, request: PlanRequest, unmet: Unmet[]): Generator<void> {
  const { bytesSlack, bytesSlackMin = 0 } = request;
  const mean =
    board.active.reduce((sum, { bytes }) => sum + bytes, 0) / Math.max(1, board.active.length);
  const slack = Math.max(mean * bytesSlack, bytesSlackMin);
  const most = mean + slack;
  const sorted = new ByBytes(board);
  const stuck = new Set<Seat>();
  for (let swaps = 0; swaps < swapsMax; ) {
    const seats = [...board.active].sort((a, b) => a.bytes - b.bytes);
    const from = seats.findLast((seat) => !stuck.has(seat));
    if (from === undefined || from.bytes <= most) break;
    const gainMin = Math.min(from.bytes - most, slack) * gainPart;
    let isMade = false;
    for (const to of seats) {
      if (to.bytes + gainMin >= from.bytes) break;
      if (!board.mayGive(from, to) || !board.mayGive(to, from)) continue;
      yield;
      const swap = bestSwap(board, sorted, from, to, gainMin);
      if (swap === undefined) continue;
      board.move(swap.large, from.broker.id, to.broker.id);
      board.move(swap.small, to.broker.id, from.broker.id);
      swaps += 1;
      isMade = true;
      break;
    }
    if (!isMade) stuck.add(from);
  }
  const over = board.active.filter(({ bytes }) => bytes > most);
  for (const { broker, bytes } of over.slice(0, overMax)) {
    const why =
      `broker ${broker.id} keeps ${bytes} bytes, more than ${Math.floor(most)}: no swap of replicas ` +
      "is worth it; large partitions may need more partitions";
    unmet.push({ goal: "bytes", why });
  }
}
