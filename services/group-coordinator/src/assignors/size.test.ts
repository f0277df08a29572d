/** How the work grows: an accident of complexity is seen here, not by a coordinator. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type {
  AssignmentRequest,
  Assignor,
  MemberId,
  MemberSubscription,
  TargetAssignment,
} from "./assignor.ts";
import { range, uniform } from "./index.ts";
import { after, groupOf, movesOf, placesOf, topicId } from "./testing.ts";

const nobodyHasAny = (
  members: number,
  topics: number,
  partitions: number,
  unlike = false,
): AssignmentRequest => {
  const counts = Array.from({ length: topics }, () => partitions / topics);
  const ids = Array.from({ length: members }, (_, m): [MemberId, []] => [`member-${m}`, []]);
  const request = groupOf(counts, Object.fromEntries(ids));
  if (!unlike) return request;
  const few = (m: number) => counts.keys().filter((t) => (t + m) % topics < 5);
  return {
    topics: request.topics,
    members: new Map(
      [...request.members].map(([id, one], m) => [
        id,
        { ...one, topicIds: new Set(few(m).map((t) => topicId(t + 1))) },
      ]),
    ),
  };
};

interface Run {
  readonly target: TargetAssignment;
  /** Of each step. */
  readonly ms: readonly number[];
}

const run = (assignor: Assignor, request: AssignmentRequest): Run => {
  const computation = assignor.steps(request);
  const ms: number[] = [];
  for (;;) {
    const startedMs = performance.now();
    const step = computation.next();
    ms.push(performance.now() - startedMs);
    if (step.done === true) return { target: step.value, ms };
  }
};

/** The best of each step: others may have the processor at times, and code is slow at first. */
const bestOf3 = (assignor: Assignor, request: AssignmentRequest): Run => {
  const runs = [0, 1, 2].map(() => run(assignor, request));
  const [first] = runs;
  assert.ok(first !== undefined);
  const best = (i: number): number => Math.min(...runs.map(({ ms }) => ms[i] ?? 0));
  return { target: first.target, ms: first.ms.map((_, i) => best(i)) };
};

const sum = (list: readonly number[]): number => list.reduce((total, one) => total + one, 0);

const withoutOne = (request: AssignmentRequest): AssignmentRequest => {
  const members = new Map(request.members);
  members.delete("member-17");
  return { topics: request.topics, members };
};

for (const [what, assignor, empty, mostSteps] of [
  ["uniform", uniform, nobodyHasAny(1000, 20, 10_000), 25],
  ["uniform, unlike", uniform, nobodyHasAny(1000, 20, 10_000, true), 40],
  ["range", range, nobodyHasAny(1000, 2, 10_000), 25],
] as const) {
  test(`${what}: 10,000 partitions and 1,000 members, and one member less`, () => {
    const first = bestOf3(assignor, empty);
    const present = after(empty, first.target);
    const less = bestOf3(assignor, withoutOne(present));
    for (const { ms } of [first, less]) {
      assert.ok(ms.length >= 3 && ms.length <= mostSteps, `${ms.length} steps`);
      // Much more than they take, for machines that do other things.
      assert.ok(sum(ms) <= 500, `${sum(ms)} ms`);
      assert.ok(Math.max(...ms) <= 50, `a step of ${Math.max(...ms)} ms`);
    }
  });
}

test("uniform: 100,000 partitions and 5,000 members, and all of them with one", () => {
  const empty = nobodyHasAny(5000, 100, 100_000);
  const first = run(uniform, empty);
  assert.ok(first.ms.length <= 300, `${first.ms.length} steps`);
  const [single] = empty.members;
  assert.ok(single !== undefined);
  const alone = { topics: empty.topics, members: new Map([single]) };
  const hasAll = after(alone, uniform.assign(alone));
  const request = { ...empty, members: new Map([...empty.members, ...hasAll.members]) };
  const joined = run(uniform, request);
  assert.ok(joined.ms.length <= 400, `${joined.ms.length} steps`);
  assert.equal(placesOf(joined.target.get(single[0])).length, 20);
});

test("uniform: one member of a large group moves what has to move", () => {
  const empty = nobodyHasAny(100, 5, 1000);
  const present = after(empty, uniform.assign(empty));
  const less = withoutOne(present);
  assert.equal(movesOf(less, uniform.assign(less)), 0);
  const [[, member] = ["", undefined]] = present.members;
  assert.ok(member !== undefined);
  const joined = new Map(present.members).set("new", { ...member, assigned: new Map() });
  const more = { topics: present.topics, members: joined };
  assert.equal(movesOf(more, uniform.assign(more)), 9);
});

test("uniform: a chain of subscriptions is levelled in time", () => {
  // Neighbours share a topic of 100 partitions, which the first of them has; the last has nothing.
  const length = 200;
  const { topics } = groupOf(
    Array.from({ length }, () => 100),
    {},
  );
  const ids = [...topics.keys()];
  const all = Array.from({ length: 100 }, (_, partition) => partition);
  const memberOf = (m: number): [MemberId, MemberSubscription] => {
    const [before, own] = [ids[m - 1], ids[m]];
    const topicIds = new Set([before, own].filter((id) => id !== undefined));
    return [`member-${m}`, { topicIds, assigned: new Map(own === undefined ? [] : [[own, all]]) }];
  };
  const members = new Map(Array.from({ length: length + 1 }, (_, m) => memberOf(m)));
  const { ms } = run(uniform, { topics, members });
  assert.ok(ms.length <= 1000, `${ms.length} steps`);
});
