/** Replicas: where they must not be, and as many on each broker as on any other, or one more. */
import { isLess } from "../drain.ts";
import type { Board, Seat } from "./board.ts";
import { type Step, shortestPath } from "./paths.ts";
import type { Unmet } from "./types.ts";

const least = <T>(all: Iterable<T>, costOf: (one: T) => readonly number[]): T | undefined => {
  let best: T | undefined;
  let bestCost: readonly number[] = [];
  for (const one of all) {
    const cost = costOf(one);
    if (best !== undefined && !isLess(cost, bestCost)) continue;
    best = one;
    bestCost = cost;
  }
  return best;
};

/** The active seat with the fewest replicas that may take one; undefined where none may. */
const seatFor = (board: Board, p: number, from: number, mustWiden: boolean): Seat | undefined => {
  const missing = board.racksMissing(p);
  const fit = board.active.filter((seat) => {
    if (!board.canMove(p, from, seat)) return false;
    return !mustWiden || board.racksMissingWith(p, from, seat.broker.id) < missing;
  });
  return least(fit, (seat) => [
    board.racksMissingWith(p, from, seat.broker.id),
    seat.partitions.size,
    seat.bytes,
    seat.broker.id,
  ]);
};

/** Moves what is on brokers that may have no replicas. */
export function* evacuate(board: Board): Generator<void> {
  for (const [p, replicas] of board.replicas.entries()) {
    yield;
    if (board.isFixed(p)) continue;
    for (const id of [...replicas]) {
      if (!board.isMisplaced(id)) continue;
      const to = seatFor(board, p, id, false);
      if (to !== undefined) board.move(p, id, to.broker.id);
    }
  }
}

/** Whether a broker keeps what it has, and gets nothing. */
const keeps = (board: Board, id: number): boolean => !board.isActive(id) && !board.isMisplaced(id);

/** Spreads the replicas of partitions over as many racks as there are. */
export function* spread(board: Board): Generator<void> {
  for (const [p, replicas] of board.replicas.entries()) {
    yield;
    while (!board.isFixed(p) && board.racksMissing(p) > 0) {
      const racks = replicas.map((id) => board.seats.get(id)?.rack);
      // The preferred leader moves last, and what a broker keeps does not move at all.
      const doubled = replicas
        .filter(
          (id, i) => racks.some((rack, j) => j !== i && rack === racks[i]) && !keeps(board, id),
        )
        .reverse();
      const moves = doubled.flatMap((from) => {
        const to = seatFor(board, p, from, true);
        return to === undefined ? [] : [{ from, to }];
      });
      const best = least(moves, ({ from, to }) => [
        to.partitions.size - board.seat(from).partitions.size,
      ]);
      if (best === undefined) break;
      board.move(p, best.from, best.to.broker.id);
    }
  }
}

/** Moves replicas from brokers that have more than they have room for, the largest first. */
export function* relieve(board: Board): Generator<void> {
  for (const seat of board.active) {
    const { id } = seat.broker;
    const largest = [...seat.partitions].sort((a, b) => board.bytesOf(b) - board.bytesOf(a));
    for (const p of largest) {
      if (board.hasRoom(seat, 0, 0)) break;
      yield;
      const to = seatFor(board, p, id, false);
      if (to !== undefined) board.move(p, id, to.broker.id);
    }
  }
}

/** The replica to hand over that leaves the bytes of both nearest to the mean. */
const replicaFor = (board: Board, from: Seat, to: Seat, meanBytes: number): number | undefined => {
  const over = from.bytes - meanBytes;
  const under = meanBytes - to.bytes;
  const wanted = Math.max(0, (over + under) / 2);
  let best: number | undefined;
  let nearest = Number.POSITIVE_INFINITY;
  for (const p of from.partitions) {
    const away = Math.abs(board.bytesOf(p) - wanted);
    if (away >= nearest || !board.canMove(p, from.broker.id, to)) continue;
    best = p;
    nearest = away;
  }
  return best;
};

/** Pairs of brokers of which one has nothing for the other, while neither changes. */
class NothingToGive {
  readonly #known = new Map<Seat, Map<Seat, readonly [number, number]>>();

  has(from: Seat, to: Seat): boolean {
    const versions = this.#known.get(from)?.get(to);
    return versions?.[0] === from.version && versions[1] === to.version;
  }

  add(from: Seat, to: Seat): void {
    const known = this.#known.get(from) ?? new Map<Seat, readonly [number, number]>();
    this.#known.set(from, known.set(to, [from.version, to.version]));
  }
}

/** Moves from brokers with the most replicas to those with the fewest. What is not met, if any. */
export function* evenCounts(board: Board): Generator<void, Unmet[]> {
  const meanBytes =
    board.active.reduce((sum, { bytes }) => sum + bytes, 0) / Math.max(1, board.active.length);
  const byCount = (): Seat[] =>
    [...board.active].sort(
      (a, b) => a.partitions.size - b.partitions.size || a.broker.id - b.broker.id,
    );
  const stuck = new Set<Seat>();
  const nothing = new NothingToGive();
  for (;;) {
    yield;
    const seats = byCount();
    const from = seats.findLast((seat) => !stuck.has(seat));
    const low = seats[0]?.partitions.size ?? 0;
    if (from === undefined || from.partitions.size - low <= 1) break;
    const target = from.partitions.size - 2;
    const stepsFrom = function* (id: number, isNew: (to: number) => boolean): Iterable<Step> {
      const giver = board.seat(id);
      for (const to of seats) {
        if (!isNew(to.broker.id) || !board.mayGive(giver, to) || nothing.has(giver, to)) continue;
        const what = replicaFor(board, giver, to, meanBytes);
        if (what === undefined) nothing.add(giver, to);
        else yield { from: id, to: to.broker.id, what };
      }
    };
    const path = shortestPath(
      from.broker.id,
      stepsFrom,
      (id) => board.seat(id).partitions.size <= target,
    );
    if (path === undefined) stuck.add(from);
    else for (const { what, to, ...step } of path.toReversed()) board.move(what, step.from, to);
  }
  const counts = board.active.map(({ partitions }) => partitions.size);
  if (stuck.size === 0 || Math.max(...counts) - Math.min(...counts) <= 1) return [];
  const ids = [...stuck].map(({ broker }) => broker.id).join(", ");
  const why =
    `brokers ${ids} keep more replicas than others: what they have may not go to those with fewer, ` +
    "which lie in racks that the partitions are in already, or are full";
  return [{ goal: "count", why }];
}
