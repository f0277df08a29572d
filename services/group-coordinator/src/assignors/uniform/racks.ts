/** Which members are near which partitions: in a rack with one of its replicas. */
import type { Pace, Steps } from "../../steps.ts";
import type { Board } from "../board.ts";
import { Counts } from "../counts.ts";

/** A member without a rack. */
export const noRack = -1;

export interface Racks {
  readonly count: number;
  /** The rack of each member, or `noRack`. */
  readonly ofMember: Counts;
  /** The class of each partition. */
  readonly classOf: Counts;
  /** The racks of each class: partitions of a class have replicas in the same ones. */
  readonly classes: readonly (readonly number[])[];
}

/** Whether a member is in a rack that has a replica of the partition. */
export const isNear = ({ ofMember, classOf, classes }: Racks, m: number, g: number): boolean => {
  const rack = ofMember.of(m);
  return rack !== noRack && classes[classOf.of(g)]?.includes(rack) === true;
};

/** The racks of members that subscribe to anything. */
const racksOfMembers = ({ members }: Board): Map<string, number> => {
  const racks = new Map<string, number>();
  for (const { subscription, topicCount } of members) {
    const { rackId } = subscription;
    if (rackId !== undefined && topicCount > 0 && !racks.has(rackId)) racks.set(rackId, racks.size);
  }
  return racks;
};

/** Classes of partitions, numbered as they are met. */
class Classes {
  readonly list: number[][] = [];
  readonly #numbers = new Map<string, number>();
  readonly #racks: ReadonlyMap<string, number>;

  constructor(racks: ReadonlyMap<string, number>) {
    this.#racks = racks;
  }

  of(rackIds: readonly string[]): number {
    const racks = new Set<number>();
    for (const id of rackIds) {
      const rack = this.#racks.get(id);
      if (rack !== undefined) racks.add(rack);
    }
    const sorted = [...racks].sort((a, b) => a - b);
    const key = sorted.join();
    const known = this.#numbers.get(key);
    if (known !== undefined) return known;
    this.#numbers.set(key, this.list.length);
    return this.list.push(sorted) - 1;
  }
}

/** Undefined where racks make no difference: every member is near all partitions, or near none. */
export function* racksOf(board: Board, pace: Pace): Steps<Racks | undefined> {
  const { members, topics } = board;
  const racks = racksOfMembers(board);
  if (racks.size === 0) return undefined;
  const classes = new Classes(racks);
  const classOf = new Counts(board.partitionCount);
  for (const { partitions, first, end } of topics) {
    for (let g = first; g < end; g += 1) {
      if (pace.took(4)) yield;
      classOf.set(g, classes.of(partitions.racks?.[g - first] ?? []));
    }
  }
  const ofMember = new Counts(members.length, noRack);
  let rackless = 0;
  for (const [m, { subscription, topicCount }] of members.entries()) {
    if (topicCount === 0) continue;
    const rack = racks.get(subscription.rackId ?? "");
    if (subscription.rackId === undefined || rack === undefined) rackless += 1;
    else ofMember.set(m, rack);
  }
  const nearAll = rackless === 0 && classes.list.every((list) => list.length === racks.size);
  const nearNone = classes.list.every((list) => list.length === 0);
  if (nearAll || nearNone) return undefined;
  return { count: racks.size, ofMember, classOf, classes: classes.list };
}
