/**
 * Members that subscribe to the same topics. Everybody gets P/M partitions, and P mod M members get
 * one more. What matters, in this order: this balance, then the fewest moves, then the most
 * partitions at members near them, then that the partitions of each topic are spread.
 */
import type { Pace, Steps } from "../../steps.ts";
import { type Board, nobody } from "../board.ts";
import { Counts } from "../counts.ts";
import { loadsOf } from "./loads.ts";
import { type Overfull, overfullOf } from "./overfull.ts";
import { planByRacks, type RackPlace, type RackPlan } from "./plan.ts";
import type { Racks } from "./racks.ts";
import { Releases } from "./releases.ts";
import { Seats, type Tally } from "./seats.ts";
import { type Share, shareOf } from "./share.ts";

const byClassOf = (partitions: readonly number[], { classOf }: Racks): Map<number, number[]> =>
  Map.groupBy(partitions, (g) => classOf.of(g));

/** Takes from overfull members what is above their share. */
function* release(
  { members, losers }: Overfull,
  plan: RackPlan | undefined,
  racks: Racks | undefined,
  releases: Releases,
): Steps<void> {
  let lost = 0;
  for (const { m, forced, marginal, must, contends } of members.toReversed()) {
    for (const g of forced) releases.release(g);
    const gift = plan?.gifts.get(m);
    const loses = gift?.loses ?? (contends && lost < losers);
    if (loses) lost += 1;
    let left = must + (loses ? 1 : 0);
    const byClass = racks && gift && byClassOf(marginal, racks);
    for (const [c, count] of gift?.byClass ?? []) {
      yield* releases.some(byClass?.get(c) ?? [], count);
      left -= count;
    }
    const kept = gift === undefined ? marginal : marginal.filter((g) => !releases.isFree(g));
    yield* releases.some(kept, left);
  }
}

/** Seats that a partition may go to, and what happens when it has one. */
interface Room {
  readonly all: readonly Seats[];
  seatsFor(g: number): readonly Seats[];
  taken(g: number, seats: Seats): void;
}

/** The room that the plan has at members near the partitions. */
const roomByPlan = (plan: RackPlan, racks: Racks, { takers }: Share, tally: Tally): Room => {
  const members: number[][] = Array.from({ length: racks.count }, () => []);
  for (const m of takers) members[racks.ofMember.of(m)]?.push(m);
  const all = members.map((list, rack) => new Seats(tally, list, plan.extras.of(rack)));
  const placesOf = (g: number): readonly RackPlace[] => plan.places[racks.classOf.of(g)] ?? [];
  return {
    all,
    seatsFor: (g) =>
      placesOf(g).flatMap(({ rack, left }) => (left > 0 ? all.slice(rack, rack + 1) : [])),
    taken: (g, seats) => {
      for (const place of placesOf(g)) if (all[place.rack] === seats) place.left -= 1;
    },
  };
};

/** All room that is left. */
const anyRoom = ({ takers, rest }: Share, tally: Tally): Room => {
  const above = takers.filter((m) => tally.loads.of(m) > tally.quota).length;
  const all = [new Seats(tally, takers, rest - above)];
  return { all, seatsFor: () => all, taken: () => undefined };
};

/** Of those for a partition, the seats of the member with the fewest of its topic, then of all. */
const bestOf = (candidates: readonly Seats[], { ofTopic, loads }: Tally): Seats | undefined => {
  let best: Seats | undefined;
  for (const seats of candidates) {
    const [a, b] = [seats.best(), best?.best() ?? nobody];
    if (a === nobody) continue;
    const order = ofTopic.of(a) - ofTopic.of(b) || loads.of(a) - loads.of(b) || a - b;
    if (b === nobody || order < 0) best = seats;
  }
  return best;
};

/** Places free partitions where the room is. */
function* place({ topics, owners }: Board, room: Room, tally: Tally, pace: Pace): Steps<void> {
  const { ofTopic } = tally;
  for (const { first, end } of topics) {
    for (let g = first; g < end; g += 1) if (owners.of(g) !== nobody) ofTopic.add(owners.of(g));
    if (pace.took((end - first) >> 3)) yield;
    for (let g = first; g < end; g += 1) {
      if (owners.of(g) !== nobody) continue;
      const seats = bestOf(room.seatsFor(g), tally);
      if (seats === undefined) continue;
      owners.set(g, seats.take());
      room.taken(g, seats);
      if (pace.took(4)) yield;
    }
    for (const seats of room.all) seats.endTopic();
    if (pace.took(room.all.length)) yield;
    for (let g = first; g < end; g += 1) if (owners.of(g) !== nobody) ofTopic.set(owners.of(g), 0);
  }
}

export function* assignAlike(board: Board, racks: Racks | undefined, pace: Pace): Steps<void> {
  const share = shareOf(board);
  const loads = loadsOf(board);
  const overfull = yield* overfullOf(board, share, loads, racks, pace);
  const plan = racks && (yield* planByRacks(board, share, loads, overfull, racks, pace));
  yield* release(overfull, plan, racks, new Releases(board, loads, share.takers.length, pace));
  const tally: Tally = { loads, ofTopic: new Counts(board.members.length), quota: share.quota };
  if (plan !== undefined && racks !== undefined) {
    yield* place(board, roomByPlan(plan, racks, share, tally), tally, pace);
  }
  yield* place(board, anyRoom(share, tally), tally, pace);
}
