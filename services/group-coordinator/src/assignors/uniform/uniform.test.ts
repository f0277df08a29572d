/** The assignor `uniform` against slow models: every assignment that there is, on small groups. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Assignment, AssignmentRequest, MemberId, TargetAssignment } from "../assignor.ts";
import {
  after,
  groupOf,
  listsOf,
  movesOf,
  nearOf,
  ownersOf,
  type Place,
  placesOf,
  presentOwners,
  racksOfPlace,
  requests,
  sizeOf,
  subscribed,
  topicId,
} from "../testing.ts";
import { uniform } from "./uniform.ts";

const racks = ["r1", "r2", "r3"];
const alike = requests({ alike: true, members: 6, topics: 4, partitions: 9, racks: [] });
const unlike = requests({ alike: false, members: 6, topics: 4, partitions: 9, racks });

/** Members that subscribe to a topic that there is. */
const takersOf = ({ members, topics }: AssignmentRequest): MemberId[] =>
  [...members]
    .filter(([, { topicIds }]) => [...topicIds].some((id) => topics.has(id)))
    .map(([id]) => id);

/** Alike: members give up what is above P/M, but P mod M of them may keep one more. */
const fewestMoves = (request: AssignmentRequest): number => {
  const takers = takersOf(request);
  const places = subscribed(request).size;
  const [quota, rest] = [Math.floor(places / takers.length), places % takers.length];
  const present = [...presentOwners(request).values()];
  const loads = takers.map((id) => present.filter((owner) => owner === id).length);
  const above = loads.reduce((sum, load) => sum + Math.max(0, load - quota), 0);
  return above - Math.min(rest, loads.filter((load) => load > quota).length);
};

test("alike: sizes differ by one at most, and moves are as few as that allows", () => {
  fc.assert(
    fc.property(alike, (request) => {
      const takers = takersOf(request);
      if (takers.length === 0) return;
      const target = uniform.assign(request);
      const loads = takers.map((id) => sizeOf(target.get(id)));
      assert.ok(Math.max(...loads) - Math.min(...loads) <= 1, `${loads}`);
      assert.equal(movesOf(request, target), fewestMoves(request));
    }),
    { numRuns: 2000 },
  );
});

/** Every assignment of the places to the members that may have them. */
function* everyAssignment(places: readonly [Place, MemberId[]][]): Generator<MemberId[]> {
  const [first, ...others] = places;
  if (first === undefined) {
    yield [];
    return;
  }
  for (const rest of everyAssignment(others)) for (const id of first[1]) yield [id, ...rest];
}

const spreadBy = (ids: readonly MemberId[], all: readonly MemberId[]): number => {
  const loads = all.map((id) => ids.filter((one) => one === id).length);
  return Math.max(...loads) - Math.min(...loads);
};

test("alike: of balanced assignments with the fewest moves, as many as possible are near", () => {
  const small = requests({ alike: true, members: 4, topics: 2, partitions: 3, racks });
  fc.assert(
    fc.property(small, (request) => {
      const takers = takersOf(request);
      const places = [...subscribed(request)];
      if (takers.length ** places.length > 1100 || places.length === 0) return;
      const present = presentOwners(request);
      let [moves, near] = [Number.POSITIVE_INFINITY, 0];
      for (const ids of everyAssignment(places)) {
        if (spreadBy(ids, takers) > 1) continue;
        let [moved, nearby] = [0, 0];
        for (const [i, [place]] of places.entries()) {
          const before = present.get(place);
          if (before !== undefined && before !== ids[i]) moved += 1;
          const rack = request.members.get(ids[i] ?? "")?.rackId;
          if (rack !== undefined && racksOfPlace(request, place).includes(rack)) nearby += 1;
        }
        if (moved > moves) continue;
        near = moved < moves ? nearby : Math.max(near, nearby);
        moves = moved;
      }
      const target = uniform.assign(request);
      assert.deepEqual([movesOf(request, target), nearOf(request, target)], [moves, near]);
    }),
    { numRuns: 2000 },
  );
});

const withMember = (
  request: AssignmentRequest,
  id: MemberId,
  rackId: string | undefined,
): AssignmentRequest => {
  const topicIds = new Set(request.topics.keys());
  const member = { topicIds, rackId, assigned: new Map() };
  return { topics: request.topics, members: new Map(request.members).set(id, member) };
};

const withoutMember = (request: AssignmentRequest, id: MemberId): AssignmentRequest => {
  const members = new Map(request.members);
  members.delete(id);
  return { topics: request.topics, members };
};

/** Members that subscribe to all topics, and have what they were assigned. */
const settled = requests({ alike: true, members: 6, topics: 4, partitions: 9, racks })
  .map(({ members, topics }) => ({
    topics,
    members: new Map(
      [...members].map(([id, one]) => [id, { ...one, topicIds: new Set(topics.keys()) }]),
    ),
  }))
  .map((request) => after(request, uniform.assign(request)));

const changed = (request: AssignmentRequest, target: TargetAssignment): Place[] => {
  const before = presentOwners(request);
  return [...ownersOf(target)].filter(([place, id]) => before.get(place) !== id).map(([p]) => p);
};

test("alike: when a member leaves, only its partitions move", () => {
  fc.assert(
    fc.property(settled, (request) => {
      const [leaver = "", { assigned } = { assigned: new Map() as Assignment }] =
        [...request.members][0] ?? [];
      if (request.members.size === 1) return;
      const rest = withoutMember(request, leaver);
      const target = uniform.assign(rest);
      assert.deepEqual(changed(rest, target).sort(), placesOf(assigned).sort());
    }),
    { numRuns: 500 },
  );
});

test("alike: when a member joins, its share moves to it, and nothing else moves", () => {
  fc.assert(
    fc.property(settled, fc.constantFrom(undefined, ...racks), (request, rackId) => {
      const more = withMember(request, "m5x", rackId);
      const target = uniform.assign(more);
      const share = Math.floor(subscribed(more).size / more.members.size);
      assert.equal(sizeOf(target.get("m5x")), share);
      assert.deepEqual(changed(more, target).sort(), placesOf(target.get("m5x")).sort());
    }),
    { numRuns: 500 },
  );
});

/** How many partitions of a topic each member has. */
const countsOf = (target: TargetAssignment, t: number): number[] =>
  [...target.values()].map((assignment) => assignment.get(topicId(t))?.length ?? 0);

test("alike: a first assignment spreads every topic", () => {
  const counts = fc.array(fc.nat(12), { minLength: 1, maxLength: 6 });
  fc.assert(
    fc.property(counts, fc.integer({ min: 1, max: 7 }), (sizes, members) => {
      const ids = Array.from({ length: members }, (_, m) => [`m${m}`, []] as const);
      const target = uniform.assign(groupOf(sizes, Object.fromEntries(ids)));
      for (const t of sizes.keys()) {
        const each = countsOf(target, t + 1);
        assert.ok(Math.max(...each) - Math.min(...each) <= 1, `topic ${t}: ${each}`);
      }
    }),
    { numRuns: 500 },
  );
});

test("alike: a member that joins gets something of every topic, one that leaves spreads it", () => {
  const ten = Array.from({ length: 10 }, () => 10);
  const ids = Array.from({ length: 10 }, (_, m) => [`m${m}`, []] as const);
  const empty = groupOf(ten, Object.fromEntries(ids));
  const request = after(empty, uniform.assign(empty));
  const joined = uniform.assign(withMember(request, "new", undefined));
  const lists = [...(joined.get("new") ?? []).values()].map((list) => list.length);
  assert.deepEqual(lists, [1, 1, 1, 1, 1, 1, 1, 1, 1]);
  const left = uniform.assign(withoutMember(request, "m4"));
  for (const t of ten.keys()) assert.ok(Math.max(...countsOf(left, t + 1)) <= 2);
});

test("alike: what is above an even share of a topic goes first", () => {
  const request = groupOf([4, 4], { a: [[0, 1, 2, 3], [0]], b: [[], [1, 2, 3]] });
  const target = uniform.assign(request);
  assert.deepEqual(listsOf(request, target), { a: [[0, 1, 2], [0]], b: [[3], [1, 2, 3]] });
});

test("alike: of members with the same load, one with fewer of the topic gets a partition", () => {
  const request = groupOf([3, 3], { a: [[0, 1], []], b: [[], [0, 1]] });
  const target = uniform.assign(request);
  assert.deepEqual(listsOf(request, target), { a: [[0, 1], [2]], b: [[2], [0, 1]] });
});

test("alike: a member that has too much keeps what is near it", () => {
  const { members } = groupOf([3], { a: [[]], b: [[]], c: [[0, 1]] });
  const request = {
    topics: new Map([[topicId(1), { partitionCount: 3, racks: [[], ["r3"], []] }]]),
    members: new Map(
      [...members].map(([id, one]) => [id, id === "c" ? { ...one, rackId: "r3" } : one]),
    ),
  };
  assert.deepEqual(listsOf(request, uniform.assign(request))["c"], [[1]]);
});

test("a partition of two members stays with the first of them", () => {
  const request = groupOf([2], { b: [[0, 1]], a: [[1]] });
  assert.deepEqual(listsOf(request, uniform.assign(request)), { b: [[0]], a: [[1]] });
});

/** Pairs with a partition that should move: from a member with k to a subscriber with < k - 1. */
const imbalances = (request: AssignmentRequest, target: TargetAssignment): string[] => {
  const wanted = subscribed(request);
  return [...ownersOf(target)].flatMap(([place, from]) =>
    (wanted.get(place) ?? [])
      .filter((to) => sizeOf(target.get(to)) < sizeOf(target.get(from)) - 1)
      .map((to) => `${place}: ${from} to ${to}`),
  );
};

test("unlike: no partition could move to a subscriber with two fewer", () => {
  fc.assert(
    fc.property(unlike, (request) => {
      assert.deepEqual(imbalances(request, uniform.assign(request)), []);
    }),
    { numRuns: 2000 },
  );
});

/** The fewest moves of all assignments in which nothing should move; undefined for large groups. */
const leastMoves = (request: AssignmentRequest): number | undefined => {
  const places = [...subscribed(request)];
  if (places.reduce((product, [, takers]) => product * takers.length, 1) > 2000) return undefined;
  const present = presentOwners(request);
  let least = Number.POSITIVE_INFINITY;
  for (const ids of everyAssignment(places)) {
    const load = (id: MemberId | undefined): number => ids.filter((one) => one === id).length;
    const settled = places.every(([, takers], i) =>
      takers.every((to) => load(to) >= load(ids[i]) - 1),
    );
    if (!settled) continue;
    const moved = places.filter(
      ([place], i) => present.has(place) && present.get(place) !== ids[i],
    );
    least = Math.min(least, moved.length);
  }
  return least;
};

test("unlike: moves are nearly as few as balance allows", () => {
  const small = requests({ alike: false, members: 5, topics: 3, partitions: 3, racks: [] });
  let [groups, more] = [0, 0];
  for (const request of fc.sample(small, { numRuns: 1500, seed: 7 })) {
    const least = leastMoves(request);
    if (least === undefined) continue;
    const moves = movesOf(request, uniform.assign(request));
    assert.ok(moves <= least + 1, `${moves} moves, not ${least}`);
    groups += 1;
    if (moves > least) more += 1;
  }
  assert.ok(groups > 500 && more <= groups / 50, `${more} of ${groups}`);
});

/** Members with topics of their own, and what they have of each. */
const unlikeGroup = (
  counts: readonly number[],
  members: Readonly<Record<MemberId, Readonly<Record<number, readonly number[]>>>>,
): AssignmentRequest => ({
  topics: groupOf(counts, {}).topics,
  members: new Map(
    Object.entries(members).map(([id, lists]) => {
      const assigned = new Map(Object.entries(lists).map(([t, list]) => [topicId(+t), list]));
      return [id, { topicIds: new Set(assigned.keys()), assigned }];
    }),
  ),
});

test("unlike: a topic with one subscriber counts before others are shared out", () => {
  const request = unlikeGroup([2, 4], { a: { 1: [], 2: [] }, b: { 2: [] } });
  const target = uniform.assign(request);
  assert.deepEqual(listsOf(request, target), { a: [[0, 1], [2]], b: [[], [0, 1, 3]] });
  assert.equal(movesOf(request, target), 0);
});

test("unlike: a member that has too much gives what it was just given", () => {
  const request = unlikeGroup([3, 3, 6, 2], {
    a: { 1: [0], 2: [] },
    b: { 2: [], 3: [0, 1, 2, 3, 4, 5] },
    c: { 1: [], 4: [0, 1] },
  });
  assert.deepEqual(listsOf(request, uniform.assign(request)), {
    a: [[0], [0, 1, 2], [], []],
    b: [[], [], [0, 1, 2, 3, 4, 5], []],
    c: [[1, 2], [], [], [0, 1]],
  });
});

test("unlike: what it was just given goes first, also when others have moved what was theirs", () => {
  const request = unlikeGroup([4, 4], {
    a: { 2: [0] },
    b: { 1: [0, 1, 2, 3], 2: [] },
    c: { 1: [] },
  });
  assert.deepEqual(listsOf(request, uniform.assign(request)), {
    ...{ a: [[], [0, 1, 2]], b: [[0, 1], [3]], c: [[2, 3], []] },
  });
});

test("unlike: of members with the same load a near one is given a partition", () => {
  const { members } = unlikeGroup([1, 1], { a: { 1: [], 2: [] }, b: { 1: [] }, c: { 1: [] } });
  const request = {
    topics: new Map([
      [topicId(1), { partitionCount: 1, racks: [["r2"]] }],
      [topicId(2), { partitionCount: 1, racks: [["r1"]] }],
    ]),
    members: new Map([...members].map(([id, one], i) => [id, { ...one, rackId: `r${i}` }])),
  };
  assert.deepEqual(listsOf(request, uniform.assign(request)), {
    ...{ a: [[], [0]], b: [[], []], c: [[0], []] },
  });
});
