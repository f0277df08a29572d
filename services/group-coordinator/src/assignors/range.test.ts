/** The assignor `range`. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { AssignmentRequest, MemberId, TargetAssignment } from "./assignor.ts";
import { range } from "./range.ts";
import {
  after,
  groupOf,
  listsOf,
  ownersOf,
  placeOf,
  presentOwners,
  requests,
  topicId,
} from "./testing.ts";

const sizes = { members: 6, topics: 4, partitions: 7, racks: [] };
const any = fc.oneof(requests({ ...sizes, alike: true }), requests({ ...sizes, alike: false }));

/** The ranges of a topic as they must be: the first ones may be larger by one. */
const rangesOf = (partitionCount: number, members: number): number[][] => {
  const ranges: number[][] = [];
  for (let next = 0, i = 0; i < members; i += 1) {
    const length = Math.floor(partitionCount / members) + (i < partitionCount % members ? 1 : 0);
    ranges.push(Array.from({ length }, (_, p) => next + p));
    next += length;
  }
  return ranges.filter((one) => one.length > 0);
};

interface Divided {
  readonly subscribers: readonly MemberId[];
  readonly ranges: readonly (readonly number[])[];
  /** Topics that are divided alike. */
  readonly topics: AssignmentRequest["topics"];
}

/** Topics with the same subscribers and partition counts. */
const dividedAlike = ({ members, topics }: AssignmentRequest): Divided[] => {
  const subscribersOf = (id: ReturnType<typeof topicId>): MemberId[] =>
    [...members.keys()].filter((m) => members.get(m)?.topicIds.has(id)).sort();
  const groups = Map.groupBy(topics, ([id, { partitionCount }]) =>
    JSON.stringify([partitionCount, subscribersOf(id)]),
  );
  return [...groups.values()].flatMap((entries) => {
    const [[id, { partitionCount }] = [topicId(0), { partitionCount: 0 }]] = entries;
    const subscribers = subscribersOf(id);
    if (subscribers.length === 0) return [];
    const ranges = rangesOf(partitionCount, subscribers.length);
    return [{ subscribers, ranges, topics: new Map(entries) }];
  });
};

const partitionsOf = (target: TargetAssignment, m: MemberId, t: ReturnType<typeof topicId>) =>
  target.get(m)?.get(t) ?? [];

test("every member has one range of a topic, and the same of topics that are divided alike", () => {
  fc.assert(
    fc.property(any, (request) => {
      const target = range.assign(request);
      for (const { subscribers, ranges, topics } of dividedAlike(request)) {
        const [first = topicId(0)] = topics.keys();
        const got = subscribers.map((m) => partitionsOf(target, m, first));
        const lists = got.filter((list) => list.length > 0);
        assert.deepEqual(
          lists.sort(([a = 0], [b = 0]) => a - b),
          ranges,
        );
        for (const t of topics.keys()) {
          assert.deepEqual(
            subscribers.map((m) => partitionsOf(target, m, t)),
            got,
          );
        }
      }
    }),
    { numRuns: 2000 },
  );
});

test("no member and range would both rather have each other", () => {
  fc.assert(
    fc.property(any, (request) => {
      const [target, present] = [range.assign(request), presentOwners(request)];
      for (const { subscribers, ranges, topics } of dividedAlike(request)) {
        const overlap = (m: MemberId, partitions: readonly number[]): number =>
          [...topics.keys()]
            .flatMap((t) => partitions.map((p) => placeOf(t, p)))
            .filter((place) => present.get(place) === m).length;
        const [first = topicId(0)] = topics.keys();
        const owners = ownersOf(target);
        for (const m of subscribers) {
          const own = overlap(m, partitionsOf(target, m, first));
          for (const one of ranges) {
            const owner = owners.get(placeOf(first, one[0] ?? 0)) ?? "";
            const wanted = overlap(m, one);
            assert.ok(wanted <= own || wanted <= overlap(owner, one), `${m} wants ${one}`);
          }
        }
      }
    }),
    { numRuns: 2000 },
  );
});

const assigned = (request: AssignmentRequest) => listsOf(request, range.assign(request));

test("a first assignment goes by instance id, then by member id", () => {
  const { topics, members } = groupOf([7, 7, 2], { a: [], b: [], c: [] });
  const request = { topics, members: new Map(members) };
  assert.deepEqual(assigned(request), {
    a: [[0, 1, 2], [0, 1, 2], [0]],
    b: [[3, 4], [3, 4], [1]],
    c: [[5, 6], [5, 6], []],
  });
  for (const [id, instanceId] of [
    ["c", "x"],
    ["b", "y"],
  ] as const) {
    const member = members.get(id);
    if (member !== undefined) request.members.set(id, { ...member, instanceId });
  }
  assert.deepEqual(assigned(request), {
    c: [[0, 1, 2], [0, 1, 2], [0]],
    b: [[3, 4], [3, 4], [1]],
    a: [[5, 6], [5, 6], []],
  });
});

test("members keep most of what they have when one joins, and when one leaves", () => {
  const before = groupOf([9], { c: [[0, 1, 2]], b: [[3, 4, 5]], a: [[6, 7, 8]] });
  assert.deepEqual(assigned(before), { c: [[0, 1, 2]], b: [[3, 4, 5]], a: [[6, 7, 8]] });
  const joined = groupOf([9], { c: [[0, 1, 2]], b: [[3, 4, 5]], a: [[6, 7, 8]], d: [] });
  assert.deepEqual(assigned(joined), { c: [[0, 1, 2]], b: [[3, 4]], d: [[5, 6]], a: [[7, 8]] });
  const left = groupOf([9], { c: [[0, 1, 2]], a: [[6, 7, 8]] });
  assert.deepEqual(assigned(left), { c: [[0, 1, 2, 3, 4]], a: [[5, 6, 7, 8]] });
});

test("a static member that comes back under another id gets the same range", () => {
  const group = (...ids: readonly [MemberId, string][]): AssignmentRequest => ({
    topics: new Map([[topicId(1), { partitionCount: 6 }]]),
    members: new Map(
      ids.map(([id, instanceId]) => [
        id,
        { instanceId, topicIds: new Set([topicId(1)]), assigned: new Map() },
      ]),
    ),
  });
  const first = group(["m1", "i1"], ["m2", "i2"], ["m3", "i3"]);
  const others = after(first, range.assign(first)).members;
  const again = group(["m1", "i1"], ["m9", "i2"], ["m3", "i3"]);
  const members = new Map([...again.members].map(([id, one]) => [id, others.get(id) ?? one]));
  assert.deepEqual(assigned({ ...again, members }), { m1: [[0, 1]], m9: [[2, 3]], m3: [[4, 5]] });
});
