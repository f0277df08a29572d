/** Groups that are drawn at random, and what tests ask of an assignment. */
import assert from "node:assert/strict";
import { type TopicId, topicIdOf } from "@millrace/record";
import fc from "fast-check";
import type {
  Assignment,
  AssignmentRequest,
  MemberId,
  MemberSubscription,
  TargetAssignment,
  TopicPartitions,
} from "./assignor.ts";

export const topicId = (t: number): TopicId => topicIdOf(Buffer.alloc(16, t));

/** A partition by name. */
export type Place = `${TopicId} ${number}`;

export const placeOf = (id: TopicId, partition: number): Place => `${id} ${partition}`;

/** The partitions of an assignment, by name. */
export const placesOf = (assignment: Assignment | undefined): Place[] =>
  [...(assignment ?? [])].flatMap(([id, list]) => list.map((one) => placeOf(id, one)));

export const sizeOf = (assignment: Assignment | undefined): number => placesOf(assignment).length;

/** Who has each partition; throws where two have it. */
export const ownersOf = (target: TargetAssignment): Map<Place, MemberId> => {
  const owners = new Map<Place, MemberId>();
  for (const [id, assignment] of target) {
    for (const place of placesOf(assignment)) {
      assert.ok(!owners.has(place), `${place} is with ${owners.get(place)} and ${id}`);
      owners.set(place, id);
    }
  }
  return owners;
};

/** Racks of a partition's replicas. */
export const racksOfPlace = ({ topics }: AssignmentRequest, place: Place): readonly string[] => {
  for (const [id, { partitionCount, racks }] of topics) {
    for (let partition = 0; partition < partitionCount; partition += 1) {
      if (placeOf(id, partition) === place) return racks?.[partition] ?? [];
    }
  }
  return [];
};

/** Partitions that have to be assigned, with those who may get them. */
export const subscribed = ({ members, topics }: AssignmentRequest): Map<Place, MemberId[]> => {
  const places = new Map<Place, MemberId[]>();
  for (const [id, { partitionCount }] of topics) {
    const takers = [...members].filter(([, { topicIds }]) => topicIds.has(id)).map(([m]) => m);
    if (takers.length === 0) continue;
    for (let p = 0; p < partitionCount; p += 1) places.set(placeOf(id, p), takers);
  }
  return places;
};

/** Whom the members' present assignments give each partition: the first that may keep it. */
export const presentOwners = (request: AssignmentRequest): Map<Place, MemberId> => {
  const rank = ([id, { instanceId }]: readonly [MemberId, MemberSubscription]): string =>
    instanceId === undefined ? `1 ${id}` : `0 ${instanceId} ${id}`;
  const inOrder = [...request.members].sort((a, b) => (rank(a) < rank(b) ? -1 : 1));
  const owners = new Map<Place, MemberId>();
  for (const [place, takers] of subscribed(request)) {
    for (const [id, { assigned }] of inOrder) {
      const keeps = takers.includes(id) && placesOf(assigned).includes(place);
      if (keeps && !owners.has(place)) owners.set(place, id);
    }
  }
  return owners;
};

/** How many partitions leave the member that has them. */
export const movesOf = (request: AssignmentRequest, target: TargetAssignment): number => {
  const owners = ownersOf(target);
  return [...presentOwners(request)].filter(([place, id]) => owners.get(place) !== id).length;
};

/** How many partitions are with members near them. */
export const nearOf = (request: AssignmentRequest, target: TargetAssignment): number =>
  [...ownersOf(target)].filter(([place, id]) =>
    racksOfPlace(request, place).includes(request.members.get(id)?.rackId ?? "none"),
  ).length;

/** The request again, with what the members have got. */
export const after = (request: AssignmentRequest, target: TargetAssignment): AssignmentRequest => ({
  topics: request.topics,
  members: new Map(
    [...request.members].map(([id, member]) => [
      id,
      { ...member, assigned: target.get(id) ?? new Map() },
    ]),
  ),
});

/** A request by example: partition counts of topics 1, 2, …, and what members have of them. */
export const groupOf = (
  counts: readonly number[],
  members: Readonly<Record<MemberId, readonly (readonly number[])[]>>,
): AssignmentRequest => ({
  topics: new Map(counts.map((partitionCount, i) => [topicId(i + 1), { partitionCount }])),
  members: new Map(
    Object.entries(members).map(([id, lists]) => [
      id,
      {
        topicIds: new Set(counts.map((_, i) => topicId(i + 1))),
        assigned: new Map(lists.map((list, i) => [topicId(i + 1), list])),
      },
    ]),
  ),
});

/** The opposite: what members have of topics 1, 2, … */
export const listsOf = (
  { topics }: AssignmentRequest,
  target: TargetAssignment,
): Record<MemberId, (readonly number[])[]> =>
  Object.fromEntries(
    [...target].map(([id, assignment]) => [
      id,
      [...topics.keys()].map((topic) => assignment.get(topic) ?? []),
    ]),
  );

export interface Drawn {
  /** Whether all members subscribe alike. */
  readonly alike: boolean;
  readonly members: number;
  readonly topics: number;
  readonly partitions: number;
  readonly racks: readonly string[];
}

const someOf = <T>(all: readonly T[], least = 0): fc.Arbitrary<T[]> =>
  fc.subarray([...all], { minLength: Math.min(least, all.length) });

const topicArbitrary = ({ partitions, racks }: Drawn): fc.Arbitrary<TopicPartitions> =>
  fc.nat(partitions).chain((partitionCount) =>
    fc.record({
      partitionCount: fc.constant(partitionCount),
      racks:
        racks.length === 0
          ? fc.constant(undefined)
          : fc.array(someOf(racks), { minLength: partitionCount, maxLength: partitionCount }),
    }),
  );

/** What a member says that it has: also what is gone, and what others say, too. */
const assignedArbitrary = ({ topics, partitions }: Drawn): fc.Arbitrary<Assignment> => {
  const numbers = fc.uniqueArray(fc.nat(partitions + 1), { maxLength: partitions });
  const entry = fc.tuple(fc.nat(topics + 1).map(topicId), numbers);
  return fc.array(entry, { maxLength: topics + 1 }).map((entries) => new Map(entries));
};

/** Requests with members, topics and presents of any kind. */
export const requests = (drawn: Drawn): fc.Arbitrary<AssignmentRequest> => {
  const ids = Array.from({ length: drawn.topics }, (_, t) => topicId(t));
  const subscription = someOf([...ids, topicId(99)]);
  const member = (common: readonly TopicId[]): fc.Arbitrary<MemberSubscription> =>
    fc
      .tuple(
        drawn.alike ? fc.constantFrom(common, common, common, []) : subscription,
        fc.option(fc.constantFrom("i1", "i2", "m0", "m9"), { nil: undefined }),
        fc.option(fc.constantFrom("r?", ...drawn.racks), { nil: undefined }),
        assignedArbitrary(drawn),
      )
      .map(([topicIds, instanceId, rackId, assigned]) => ({
        ...{ topicIds: new Set(topicIds), instanceId, assigned },
        rackId: drawn.racks.length === 0 ? undefined : rackId,
      }));
  const members = (common: readonly TopicId[]): fc.Arbitrary<[MemberId, MemberSubscription][]> =>
    fc.uniqueArray(
      fc.tuple(
        fc.nat(9).map((m) => `m${m}`),
        member(common),
      ),
      {
        ...{ minLength: 1, maxLength: drawn.members, selector: ([id]) => id },
      },
    );
  const topics = fc.tuple(...ids.map(() => topicArbitrary(drawn)));
  return fc
    .tuple(
      topics,
      subscription.chain((common) => members(common)),
    )
    .map(([list, entries]) => ({
      topics: new Map(list.map((topic, t) => [topicId(t), topic])),
      members: new Map(entries),
    }));
};

/** The same request in another order. */
export const reordered = ({ members, topics }: AssignmentRequest): AssignmentRequest => ({
  topics: new Map([...topics].reverse()),
  members: new Map(
    [...members].reverse().map(([id, member]) => [
      id,
      {
        ...member,
        topicIds: new Set([...member.topicIds].reverse()),
        assigned: new Map(
          [...member.assigned].reverse().map(([t, list]) => [t, list.toReversed()]),
        ),
      },
    ]),
  ),
});
