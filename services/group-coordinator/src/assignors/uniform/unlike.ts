/**
 * Members that subscribe to different topics. A partition never stays with a member of which
 * another subscriber has two fewer. Moves are avoided: what is free goes to those with the fewest,
 * and a member gives up first what it was only just given. Racks decide between equals.
 */
import type { Pace, Steps } from "../../steps.ts";
import { type Board, nobody, subscribersOf } from "../board.ts";
import type { Counts } from "../counts.ts";
import { Heap } from "../heap.ts";
import { loadsOf } from "./loads.ts";
import { isNear, noRack, type Racks } from "./racks.ts";

interface Work {
  readonly board: Board;
  readonly loads: Counts;
  /** Who had each partition at first. */
  readonly homes: Counts;
  /** By topic. */
  readonly subscribers: readonly (readonly number[])[];
  readonly racks: Racks | undefined;
  readonly pace: Pace;
}

/** Topics with the fewest subscribers first: others can still make up for what they cost. */
const narrowFirst = ({ board, subscribers }: Work): number[] => {
  const width = (t: number): number => subscribers[t]?.length ?? 0;
  const size = (t: number): number => {
    const topic = board.topics[t];
    return topic === undefined ? 0 : topic.end - topic.first;
  };
  return [...board.topics.keys()].sort((a, b) => width(a) - width(b) || size(b) - size(a) || a - b);
};

/** The subscribers of one topic by load, those of each rack by themselves. */
class Queues {
  readonly #loads: Counts;
  readonly #racks: Racks | undefined;
  readonly #ofTopic = new Map<number, number>();
  readonly #byRack = new Map<number, Heap>();

  constructor({ loads, racks }: Work) {
    this.#loads = loads;
    this.#racks = racks;
  }

  /** How many there are to choose from. */
  get count(): number {
    return this.#byRack.size;
  }

  /** A member has a partition of the topic. */
  has(m: number): void {
    this.#ofTopic.set(m, (this.#ofTopic.get(m) ?? 0) + 1);
  }

  push(m: number): void {
    const rack = this.#racks?.ofMember.of(m) ?? noRack;
    const heap = this.#byRack.get(rack) ?? new Heap();
    this.#byRack.set(rack, heap);
    heap.push(m, this.#loads.of(m), this.#ofTopic.get(m) ?? 0);
  }

  /** Takes out the member with the fewest partitions; of equals, a near one. */
  pop(g: number): number {
    let best: Heap | undefined;
    for (const heap of this.#byRack.values()) {
      if (heap.size > 0 && (best === undefined || this.#before(heap.first, best.first, g))) {
        best = heap;
      }
    }
    return best?.pop() ?? nobody;
  }

  #before(a: number, b: number, g: number): boolean {
    const far = (m: number): number =>
      this.#racks === undefined || isNear(this.#racks, m, g) ? 0 : 1;
    const ofTopic = (m: number): number => this.#ofTopic.get(m) ?? 0;
    const order =
      this.#loads.of(a) - this.#loads.of(b) || far(a) - far(b) || ofTopic(a) - ofTopic(b) || a - b;
    return order < 0;
  }
}

/** Gives the free partitions of a topic to its subscribers. */
function* fill(work: Work, t: number): Steps<void> {
  const { board, loads, subscribers, pace } = work;
  const { first, end } = board.topics[t] ?? { first: 0, end: 0 };
  const free: number[] = [];
  const queues = new Queues(work);
  for (let g = first; g < end; g += 1) {
    if (pace.took()) yield;
    const m = board.owners.of(g);
    if (m === nobody) free.push(g);
    else queues.has(m);
  }
  if (free.length === 0) return;
  for (const m of subscribers[t] ?? []) {
    if (pace.took()) yield;
    queues.push(m);
  }
  for (const g of free) {
    if (pace.took(queues.count)) yield;
    const m = queues.pop(g);
    board.owners.set(g, m);
    loads.add(m);
    queues.has(m);
    queues.push(m);
  }
}

/** Partitions of one topic at one member that may move, by class of racks. */
class Held {
  readonly #racks: Racks | undefined;
  /** Those that it had at first, and those that have moved already. */
  readonly #own = new Map<number, number[]>();
  readonly #moved = new Map<number, number[]>();
  #size = 0;

  constructor(racks: Racks | undefined) {
    this.#racks = racks;
  }

  get size(): number {
    return this.#size;
  }

  add(g: number, isOwn: boolean): void {
    const byClass = isOwn ? this.#own : this.#moved;
    const c = this.#racks?.classOf.of(g) ?? 0;
    const list = byClass.get(c);
    if (list === undefined) byClass.set(c, [g]);
    else list.push(g);
    this.#size += 1;
  }

  /** Takes out the one that another member should get: one that has moved, and a near one. */
  take(to: number): number {
    for (const byClass of [this.#moved, this.#own]) {
      let best: number[] | undefined;
      for (const list of byClass.values()) {
        const g = list.at(-1);
        if (g === undefined) continue;
        best ??= list;
        if (this.#racks === undefined || !isNear(this.#racks, to, g)) continue;
        best = list;
        break;
      }
      const g = best?.pop();
      if (g === undefined) continue;
      this.#size -= 1;
      return g;
    }
    return nobody;
  }
}

/** Moves partitions of a topic from those with the most to those with the fewest. */
function* level(work: Work, t: number, which: "moved" | "all"): Steps<number> {
  const { board, loads, homes, subscribers, racks, pace } = work;
  const { first, end } = board.topics[t] ?? { first: 0, end: 0 };
  const held = new Map<number, Held>();
  const hold = (m: number, g: number): void => {
    const one = held.get(m) ?? new Held(racks);
    held.set(m, one);
    one.add(g, homes.of(g) === m);
  };
  let most = 0;
  for (let g = first; g < end; g += 1) {
    if (pace.took()) yield;
    const m = board.owners.of(g);
    if (which === "moved" && homes.of(g) === m) continue;
    most = Math.max(most, loads.of(m));
    hold(m, g);
  }
  let fewest = Number.POSITIVE_INFINITY;
  for (const m of subscribers[t] ?? []) fewest = Math.min(fewest, loads.of(m));
  if (pace.took((subscribers[t]?.length ?? 0) >> 2)) yield;
  if (most - fewest < 2) return 0;
  const givers = new Heap();
  const takers = new Heap();
  // A member whose load has changed is pushed again; what was pushed before is passed over.
  const push = (m: number): void => {
    takers.push(m, loads.of(m));
    if ((held.get(m)?.size ?? 0) > 0) givers.push(m, -loads.of(m));
  };
  const gives = (m: number, key: number): boolean =>
    key === -loads.of(m) && (held.get(m)?.size ?? 0) > 0;
  for (const m of subscribers[t] ?? []) push(m);
  for (let moves = 0; ; moves += 1) {
    if (pace.took(4)) yield;
    while (givers.size > 0 && !gives(givers.first, givers.firstKey)) givers.pop();
    while (takers.firstKey !== loads.of(takers.first)) takers.pop();
    const [from, to] = [givers.first, takers.first];
    const giver = held.get(from);
    if (giver === undefined || loads.of(from) - loads.of(to) < 2) return moves;
    const g = giver.take(to);
    board.owners.set(g, to);
    loads.add(from, -1);
    loads.add(to);
    hold(to, g);
    push(from);
    push(to);
  }
}

/** Levels all topics until none changes. Ends: each move lowers the sum of squares of the loads. */
function* levelAll(work: Work, order: readonly number[], which: "moved" | "all"): Steps<void> {
  for (let moves = 1; moves > 0; ) {
    moves = 0;
    for (const t of order) moves += yield* level(work, t, which);
  }
}

export function* assignUnlike(board: Board, racks: Racks | undefined, pace: Pace): Steps<void> {
  const subscribers = yield* subscribersOf(board, pace);
  const homes = board.owners.copy();
  const work = { board, loads: loadsOf(board), homes, subscribers, racks, pace };
  const order = narrowFirst(work);
  for (const t of order) yield* fill(work, t);
  yield* levelAll(work, order, "moved");
  yield* levelAll(work, order, "all");
}
