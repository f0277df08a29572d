/** The goals that nothing else makes worse, and what is left of them. */
import type { Board, Seat } from "./board.ts";
import { evacuate, relieve, spread } from "./counts.ts";
import type { Unmet } from "./types.ts";

/** Goes as far as it can be gone now: what is even later may leave more room. */
export function* meetHardGoals(board: Board): Generator<void> {
  yield* evacuate(board);
  yield* spread(board);
  yield* relieve(board);
}

const misplaced = (board: Board): Unmet[] => {
  const stuck = new Map<number, number>();
  for (const [p, replicas] of board.replicas.entries()) {
    if (board.isFixed(p)) continue;
    for (const id of replicas) if (board.isMisplaced(id)) stuck.set(id, (stuck.get(id) ?? 0) + 1);
  }
  return [...stuck].map(([id, count]) => ({
    goal: "brokers",
    why:
      `${count} replicas on broker ${id} have nowhere to go: every active broker has one of the ` +
      "partition, or is full; add brokers or room",
  }));
};

const sharing = (board: Board): Unmet[] => {
  const count = board.replicas.filter((_, p) => !board.isFixed(p) && board.racksMissing(p) > 0);
  if (count.length === 0) return [];
  const why =
    `${count.length} partitions share a rack that need not: the brokers elsewhere are full, or have ` +
    "a replica already; add brokers or room in the other racks";
  return [{ goal: "racks", why }];
};

/** Brokers without room that are named, for each goal. */
const fullMax = 10;

const full = (board: Board): Unmet[] => {
  const seats = board.active.filter((seat) => !board.hasRoom(seat, 0, 0));
  const isDisk = ({ broker, bytes }: Seat): boolean => bytes > broker.bytesMax;
  const told = (goal: "disk" | "replicas"): Unmet[] =>
    seats
      .filter((seat) => isDisk(seat) === (goal === "disk"))
      .slice(0, fullMax)
      .map(({ broker, bytes, partitions }) => ({
        goal,
        why:
          `broker ${broker.id} has ${partitions.size} replicas of ${bytes} bytes, more than it has ` +
          "room for, and no other one can take them: add brokers or room",
      }));
  return [...told("disk"), ...told("replicas")];
};

/** What is not met. */
export const unmetHardGoals = (board: Board): Unmet[] => [
  ...misplaced(board),
  ...sharing(board),
  ...full(board),
];
