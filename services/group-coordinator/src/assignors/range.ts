/**
 * The assignor `range`: each member gets one contiguous range of every topic (KIP-848). Topics with
 * the same subscribers and partition counts are divided alike, so that joins by partition work.
 */
import { atOnce, Pace, type Steps } from "../steps.ts";
import type { AssignmentRequest, Assignor, TargetAssignment } from "./assignor.ts";
import { assignmentsOf, type Board, boardOf, nobody, subscribersOf } from "./board.ts";

/** Topics that are divided alike. */
interface Group {
  readonly subscribers: readonly number[];
  readonly partitionCount: number;
  /** Numbers of their first partitions. */
  readonly firsts: number[];
}

/** How partitions are cut into ranges; the first ones may be larger by one. */
class Cut {
  readonly rangeCount: number;
  readonly #size: number;
  readonly #larger: number;

  constructor(partitionCount: number, memberCount: number) {
    this.rangeCount = Math.min(partitionCount, memberCount);
    this.#size = Math.floor(partitionCount / Math.max(1, memberCount));
    this.#larger = partitionCount - this.#size * memberCount;
  }

  rangeOf(partition: number): number {
    const inLarger = Math.floor(partition / (this.#size + 1));
    if (inLarger < this.#larger) return inLarger;
    return Math.floor((partition - this.#larger) / this.#size);
  }
}

const sameMembers = (a: readonly number[], b: readonly number[]): boolean =>
  a.length === b.length && a.every((m, i) => m === b[i]);

function* groupsOf(board: Board, pace: Pace): Steps<Group[]> {
  const subscribers = yield* subscribersOf(board, pace);
  /** By what is quickly compared. */
  const alike = new Map<string, Group[]>();
  const groups: Group[] = [];
  for (const [t, { first, end }] of board.topics.entries()) {
    const members = subscribers[t] ?? [];
    const key = `${end - first} ${members.length} ${members[0]} ${members.at(-1)}`;
    const candidates = alike.get(key) ?? [];
    if (pace.took(members.length)) yield;
    const known = candidates.find((group) => sameMembers(group.subscribers, members));
    if (known !== undefined) {
      known.firsts.push(first);
      continue;
    }
    const group = { subscribers: members, partitionCount: end - first, firsts: [first] };
    alike.set(key, [...candidates, group]);
    groups.push(group);
  }
  return groups;
}

/** How much of a range a member has, over all topics of the group. */
interface Overlap {
  readonly m: number;
  readonly range: number;
  partitions: number;
}

/** Overlaps, the largest first; of equals, that with the lowest partition. */
function* overlapsOf(
  { firsts, partitionCount }: Group,
  { owners, members }: Board,
  cut: Cut,
  pace: Pace,
): Steps<Overlap[]> {
  const overlaps = new Map<number, Overlap>();
  for (const first of firsts) {
    for (let partition = 0; partition < partitionCount; partition += 1) {
      if (pace.took()) yield;
      const m = owners.of(first + partition);
      if (m === nobody) continue;
      const range = cut.rangeOf(partition);
      const key = range * members.length + m;
      const known = overlaps.get(key);
      if (known === undefined) overlaps.set(key, { m, range, partitions: 1 });
      else known.partitions += 1;
    }
  }
  const bySize = new Map<number, Overlap[]>();
  for (const overlap of overlaps.values()) {
    if (pace.took()) yield;
    const list = bySize.get(overlap.partitions);
    if (list === undefined) bySize.set(overlap.partitions, [overlap]);
    else list.push(overlap);
  }
  const sizes = [...bySize.keys()].sort((a, b) => b - a);
  return sizes.flatMap((size) => bySize.get(size) ?? []);
}

/**
 * Who gets each range: whoever has most of it, largest overlaps first. Members that have nothing
 * get what is left, in order.
 */
function* takersOf(group: Group, board: Board, cut: Cut, pace: Pace): Steps<Map<number, number>> {
  const takers = new Map<number, number>();
  const placed = new Set<number>();
  for (const { m, range } of yield* overlapsOf(group, board, cut, pace)) {
    if (pace.took()) yield;
    if (takers.has(range) || placed.has(m)) continue;
    takers.set(range, m);
    placed.add(m);
  }
  const others = group.subscribers.values().filter((m) => !placed.has(m));
  for (let range = 0; range < cut.rangeCount; range += 1) {
    if (pace.took()) yield;
    if (!takers.has(range)) takers.set(range, others.next().value ?? nobody);
  }
  return takers;
}

function* steps(request: AssignmentRequest): Steps<TargetAssignment> {
  const pace = new Pace();
  const board = yield* boardOf(request, pace);
  for (const group of yield* groupsOf(board, pace)) {
    const cut = new Cut(group.partitionCount, group.subscribers.length);
    const takers = yield* takersOf(group, board, cut, pace);
    for (const first of group.firsts) {
      for (let partition = 0; partition < group.partitionCount; partition += 1) {
        if (pace.took()) yield;
        board.owners.set(first + partition, takers.get(cut.rangeOf(partition)) ?? nobody);
      }
    }
  }
  return yield* assignmentsOf(board, pace);
}

export const range: Assignor = {
  name: "range",
  assign: (request) => atOnce(steps(request)),
  steps,
};
