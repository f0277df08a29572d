/** A request as numbers: members, topics and partitions by their place in a fixed order. */
import type { TopicId } from "@millrace/record";
import type { Pace, Steps } from "../steps.ts";
import type {
  AssignmentRequest,
  MemberId,
  MemberSubscription,
  TargetAssignment,
  TopicPartitions,
} from "./assignor.ts";
import { Counts } from "./counts.ts";

export interface BoardMember {
  readonly id: MemberId;
  readonly subscription: MemberSubscription;
  /** Topics of the board that it subscribes to. */
  readonly topicCount: number;
}

export interface BoardTopic {
  readonly id: TopicId;
  readonly partitions: TopicPartitions;
  /** Number of its partition 0; those of all topics are numbered through. */
  readonly first: number;
  readonly end: number;
}

/** Nobody's partition. */
export const nobody = -1;

export interface Board {
  readonly members: readonly BoardMember[];
  /** Topics that there are and that somebody subscribes to. */
  readonly topics: readonly BoardTopic[];
  /** Topic of each partition. */
  readonly topicOf: Counts;
  /** Who has each partition, or `nobody`: a place in `members`. What an assignor changes. */
  readonly owners: Counts;
  readonly partitionCount: number;
}

const compare = (a: string, b: string): number => (a < b ? -1 : a > b ? 1 : 0);

/**
 * Static members by their instance, which outlives a restart, before all others by their id: the
 * order of Kafka's range assignor.
 */
export const inOrder = (
  members: ReadonlyMap<MemberId, MemberSubscription>,
): (readonly [MemberId, MemberSubscription])[] =>
  [...members].sort(([idA, { instanceId: a }], [idB, { instanceId: b }]) => {
    if (a !== undefined && b !== undefined && a !== b) return compare(a, b);
    if ((a === undefined) !== (b === undefined)) return a === undefined ? 1 : -1;
    return compare(idA, idB);
  });

/** The topics in their order, with their partitions numbered through. */
const numbered = (
  wanted: ReadonlySet<TopicId>,
  topics: AssignmentRequest["topics"],
): BoardTopic[] => {
  let first = 0;
  return [...wanted].sort(compare).map((id) => {
    const partitions = topics.get(id) ?? { partitionCount: 0 };
    const topic = { id, partitions, first, end: first + partitions.partitionCount };
    first = topic.end;
    return topic;
  });
};

export function* boardOf(request: AssignmentRequest, pace: Pace): Steps<Board> {
  const members: BoardMember[] = [];
  const wanted = new Set<TopicId>();
  for (const [id, subscription] of inOrder(request.members)) {
    let topicCount = 0;
    for (const topicId of subscription.topicIds) {
      if (pace.took()) yield;
      if (!request.topics.has(topicId)) continue;
      wanted.add(topicId);
      topicCount += 1;
    }
    members.push({ id, subscription, topicCount });
  }
  const topics = numbered(wanted, request.topics);
  const partitionCount = topics.at(-1)?.end ?? 0;
  const topicOf = new Counts(partitionCount);
  for (const [t, { first, end }] of topics.entries()) {
    for (let g = first; g < end; g += 1) topicOf.set(g, t);
    if (pace.took((end - first) >> 3)) yield;
  }
  const board = { members, topics, topicOf, partitionCount };
  return { ...board, owners: yield* presentOwners(board, pace) };
}

/** Who has what now. */
function* presentOwners(
  { members, topics, partitionCount }: Omit<Board, "owners">,
  pace: Pace,
): Steps<Counts> {
  const owners = new Counts(partitionCount, nobody);
  const topicById = new Map(topics.map((topic) => [topic.id, topic]));
  for (const [m, { subscription }] of members.entries()) {
    for (const [topicId, partitions] of subscription.assigned) {
      const topic = topicById.get(topicId);
      if (topic === undefined || !subscription.topicIds.has(topicId)) continue;
      for (const partition of partitions) {
        if (pace.took()) yield;
        const g = topic.first + partition;
        if (partition < 0 || g >= topic.end) continue;
        if (owners.of(g) === nobody) owners.set(g, m);
      }
    }
  }
  return owners;
}

/** The subscribers of each topic, in their order. */
export function* subscribersOf({ members, topics }: Board, pace: Pace): Steps<number[][]> {
  const places = new Map(topics.map(({ id }, t) => [id, t]));
  const subscribers: number[][] = topics.map(() => []);
  for (const [m, { subscription }] of members.entries()) {
    for (const topicId of subscription.topicIds) {
      if (pace.took()) yield;
      const place = places.get(topicId);
      if (place !== undefined) subscribers[place]?.push(m);
    }
  }
  return subscribers;
}

/** What the board says, by the names of the request. */
export function* assignmentsOf(
  { members, topics, owners }: Board,
  pace: Pace,
): Steps<TargetAssignment> {
  const byMember = members.map(() => new Map<TopicId, number[]>());
  for (const { id, first, end } of topics) {
    for (let g = first; g < end; g += 1) {
      if (pace.took()) yield;
      const assignment = byMember[owners.of(g)];
      const partitions = assignment?.get(id);
      if (partitions === undefined) assignment?.set(id, [g - first]);
      else partitions.push(g - first);
    }
  }
  return new Map(members.map(({ id }, m) => [id, byMember[m] ?? new Map()]));
}
