/** Bytes: brokers far above the mean swap replicas with brokers below it. */
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

const rising = (board: Board, { partitions }: Seat): number[] =>
  [...partitions].sort((a, b) => board.bytesOf(a) - board.bytesOf(b) || a - b);

/** The swap that leaves the fuller of the two with the least. */
const bestSwap = (board: Board, from: Seat, to: Seat): Swap | undefined => {
  const half = (from.bytes - to.bytes) / 2;
  const smalls = rising(board, to);
  let best: Swap | undefined;
  let at = 0;
  for (const large of rising(board, from)) {
    const wanted = board.bytesOf(large) - half;
    while (at < smalls.length && board.bytesOf(smalls[at] ?? 0) < wanted) at += 1;
    const near = smalls.slice(Math.max(0, at - candidatesMax / 2), at + candidatesMax / 2);
    for (const small of near) {
      const more = board.bytesOf(large) - board.bytesOf(small);
      const bytes = Math.max(from.bytes - more, to.bytes + more);
      if (more <= 0 || bytes >= (best?.bytes ?? from.bytes)) continue;
      if (canSwap(board, large, from, small, to)) best = { large, small, bytes };
    }
  }
  return best;
};

/** Swaps until no active broker has more than the mean and the slack. */
export const evenBytes = (board: Board, request: PlanRequest, unmet: Unmet[]): void => {
  const { bytesSlack, bytesSlackMin = 0 } = request;
  const total = board.active.reduce((sum, { bytes }) => sum + bytes, 0);
  const mean = total / Math.max(1, board.active.length);
  const most = mean + Math.max(mean * bytesSlack, bytesSlackMin);
  for (;;) {
    const seats = [...board.active].sort((a, b) => a.bytes - b.bytes);
    const from = seats.at(-1);
    if (from === undefined || from.bytes <= most) return;
    const swap = seats
      .values()
      .filter((to) => to !== from)
      .map((to) => ({ to, swap: bestSwap(board, from, to) }))
      .find((found) => found.swap !== undefined);
    if (swap?.swap === undefined) {
      const why =
        `broker ${from.broker.id} keeps ${from.bytes} bytes, more than ${Math.floor(most)}: no swap of ` +
        "replicas makes it less; large partitions may need more partitions";
      unmet.push({ goal: "bytes", why });
      return;
    }
    const { large, small } = swap.swap;
    board.move(large, from.broker.id, swap.to.broker.id);
    board.move(small, swap.to.broker.id, from.broker.id);
  }
};
