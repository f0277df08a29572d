import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { Topic } from "../../api/index.ts";
import type { FoundPartition, FoundTopic, PlaceBroker } from "./cluster-topics.ts";
import { movesMax, movesTo, planTopic } from "./plan.ts";

const partition = (number: number, replicas: number[], more: Partial<FoundPartition> = {}) => ({
  ...{ partition: number, replicas, isr: replicas, adding: [], removing: [] },
  ...(replicas[0] === undefined ? {} : { leader: replicas[0] }),
  ...more,
});

const found = (partitions: FoundPartition[], configs: FoundTopic["configs"] = {}): FoundTopic => ({
  topicId: "00",
  createdAtMs: 0,
  partitions,
  configs,
});

const spec = (more: Partial<Topic["spec"]> = {}): Topic["spec"] => ({
  ...{ clusterRef: { name: "c" }, partitions: 1, deletionPolicy: "Retain", adopt: "IfMatches" },
  ...more,
});

test("a topic that is as its spec says needs nothing", () => {
  const config = { "retention.ms": 1000, "min.insync.replicas": 2 };
  const as = found([partition(0, [1, 2, 3])], {
    "min.insync.replicas": "2",
    "retention.ms": "1000",
  });
  const wanted = spec({ replicationFactor: 3, config });
  assert.deepEqual(planTopic(wanted, as), { drift: [], moving: 0 });
  // Without a number of replicas any number is as it should be.
  assert.deepEqual(planTopic(spec({ config }), as), { drift: [], moving: 0 });
});

test("every difference is told, and what mends it", () => {
  const is = found([partition(0, [1, 2])], { "flush.ms": "5", "retention.ms": "7" });
  const config = { "retention.ms": 8, "segment.bytes": 1024 };
  const plan = planTopic(spec({ partitions: 3, replicationFactor: 3, config }), is);
  assert.deepEqual(plan, {
    drift: [
      "retention.ms is 7, the spec says 8",
      "segment.bytes is not set, the spec says 1024",
      "flush.ms is 5, the spec does not set it",
      "it has 1 partitions, the spec says 3",
      "1 of 1 partitions do not have the replicas that the spec says: 3",
    ],
    configs: { set: { "retention.ms": "8", "segment.bytes": "1024" }, remove: ["flush.ms"] },
    partitions: 3,
    replicationFactor: 3,
    moving: 0,
  });
});

test("partitions are never taken away, and the message says what to set", () => {
  const plan = planTopic(spec(), found([partition(0, [1]), partition(1, [1])]));
  assert.equal(plan.partitions, undefined);
  assert.match(plan.impossible ?? "", /it has 2 partitions.*set spec\.partitions to 2/);
});

test("partitions on their way count by where they go", () => {
  const one = partition(0, [1, 2, 3], { adding: [3], removing: [1] });
  const plan = planTopic(spec({ replicationFactor: 2 }), found([one]));
  assert.deepEqual(plan, { drift: [], moving: 1 });
  assert.deepEqual(movesTo(found([one]), 2, []), []);
});

const broker = (brokerId: number, rack: string, replicas = 0): PlaceBroker => ({
  ...{ brokerId, rack, replicas },
});

test("new replicas go to other racks first, then where there are the fewest", () => {
  const brokers = [broker(1, "a"), broker(2, "a"), broker(3, "b", 9), broker(4, "b", 8)];
  const moves = movesTo(found([partition(0, [1]), partition(1, [4])]), 2, brokers);
  assert.deepEqual(moves, [
    { partition: 0, replicas: [1, 4] },
    { partition: 1, replicas: [4, 1] },
  ]);
  assert.equal(movesTo(found([partition(0, [1])]), 5, brokers), undefined);
});

test("replicas that are behind go first, then the least preferred, and never the leader", () => {
  const behind = partition(0, [1, 2, 3], { isr: [1, 3] });
  const last = partition(1, [1, 2, 3], { leader: 3 });
  const moves = movesTo(found([behind, last]), 2, []);
  assert.deepEqual(moves, [
    { partition: 0, replicas: [1, 3] },
    { partition: 1, replicas: [1, 3] },
  ]);
});

test("one call takes a bounded number of moves", () => {
  const many = Array.from({ length: movesMax + 5 }, (_, i) => partition(i, [1]));
  assert.equal(movesTo(found(many), 2, [broker(2, "")])?.length, movesMax);
});

test("moves keep what they can, and have as many different brokers as asked", () => {
  const ids = [1, 2, 3, 4, 5];
  const replicas = fc.uniqueArray(fc.constantFrom(...ids), { minLength: 1, maxLength: 5 });
  const racks = fc.array(fc.constantFrom("a", "b", ""), { minLength: 5, maxLength: 5 });
  const property = fc.property(
    fc.array(replicas),
    racks,
    fc.integer({ min: 1, max: 5 }),
    (all, of, size) => {
      const topic = found(all.map((one, i) => partition(i, one)));
      const brokers = ids.map((id, i) => broker(id, of[i] ?? "", id));
      const moves = movesTo(topic, size, brokers) ?? assert.fail("there are enough brokers");
      for (const [i, before] of all.entries()) {
        const move = moves.find((one) => one.partition === i);
        assert.equal(move === undefined, before.length === size);
        const after = move?.replicas ?? before;
        assert.equal(new Set(after).size, size);
        assert.equal(after[0], before[0]);
        const kept = after.filter((id) => before.includes(id));
        assert.equal(kept.length, Math.min(size, before.length));
      }
    },
  );
  fc.assert(property, { numRuns: 500 });
});
