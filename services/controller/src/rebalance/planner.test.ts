import assert from "node:assert/strict";
import { test } from "node:test";
import { planRebalance } from "./planner.ts";
import type { PlannedBroker, PlanRequest, RebalancePlan } from "./types.ts";

const broker = (id: number, more: Partial<PlannedBroker> = {}): PlannedBroker => ({
  ...{ id, rack: "", isActive: true, bytesMax: 1e12, ...more },
});

const request = (
  brokers: readonly PlannedBroker[],
  replicas: readonly (readonly number[])[],
  more: Partial<PlanRequest> = {},
): PlanRequest => ({
  brokers,
  partitions: replicas.map((ids, i) => ({ key: `t-${i}`, replicas: ids, bytes: 1000 })),
  ...{ replicasMax: 1e6, bytesSlack: 0.2, ...more },
});

const countsOf = ({ after }: RebalancePlan): number[] => after.map(({ replicas }) => replicas);

test("a cluster that is even is left alone", () => {
  const plan = planRebalance(
    request(
      [broker(1), broker(2), broker(3)],
      [
        [1, 2, 3],
        [2, 3, 1],
        [3, 1, 2],
      ],
    ),
  );
  assert.deepEqual([plan.moves, plan.unmet], [[], []]);
});

test("a new broker gets its share, and no other replica moves", () => {
  const replicas = Array.from({ length: 12 }, (_, i) => [1 + (i % 3), 1 + ((i + 1) % 3)]);
  const plan = planRebalance(request([broker(1), broker(2), broker(3), broker(4)], replicas));
  assert.deepEqual(countsOf(plan), [6, 6, 6, 6]);
  assert.equal(plan.copies, 6);
  assert.equal(plan.copiedBytes, 6000);
  assert.deepEqual(
    plan.after.map(({ leaders }) => leaders),
    [3, 3, 3, 3],
  );
  assert.deepEqual(plan.unmet, []);
});

test("what a broker may not have goes elsewhere", () => {
  const brokers = [broker(1, { isActive: false }), broker(2), broker(3)];
  const plan = planRebalance(request(brokers, [[1], [1], [1], [1, 2]]));
  assert.deepEqual(countsOf(plan), [0, 2, 3]);
  const stuck = planRebalance(request(brokers, [[1, 2, 3]]));
  assert.deepEqual(stuck.moves, []);
  assert.match(stuck.unmet[0]?.why ?? "", /^1 replicas on broker 1 have nowhere to go/);
});

test("replicas go to racks of their own, and stay in them", () => {
  const racks = [broker(1, { rack: "a" }), broker(2, { rack: "a" }), broker(3, { rack: "b" })];
  const plan = planRebalance(
    request(racks, [
      [1, 2],
      [2, 1],
    ]),
  );
  for (const { to } of plan.moves) assert.ok(to.includes(3), String(to));
  assert.equal(plan.moves.length, 2);
  // Broker 3 keeps twice as many as the others: they are all that rack b has.
  assert.deepEqual(countsOf(plan), [1, 1, 2]);
  assert.deepEqual(
    planRebalance(
      request(racks, [
        [1, 3],
        [2, 3],
        [1, 3],
        [2, 3],
      ]),
    ).unmet.map(({ goal }) => goal),
    ["count", "bytes"],
  );
});

test("a broker that is too full is relieved, unless nobody has room", () => {
  const full = broker(1, { bytesMax: 1500 });
  const plan = planRebalance(request([full, broker(2)], [[1], [1], [1]]));
  assert.ok((plan.after[0]?.bytes ?? 0) <= 1500);
  const none = planRebalance(request([full, broker(2, { bytesMax: 500 })], [[1], [1], [1]]));
  assert.deepEqual(none.moves, []);
  assert.deepEqual(
    none.unmet.map(({ goal }) => goal),
    ["disk", "count", "bytes", "leaders"],
  );
});

test("bytes are evened by swaps", () => {
  const partitions = [9000, 8000, 100, 200].map((bytes, i) => ({
    ...{ key: `t-${i}`, replicas: [i < 2 ? 1 : 2], bytes },
  }));
  const plan = planRebalance({ ...request([broker(1), broker(2)], []), partitions });
  assert.deepEqual(countsOf(plan), [2, 2]);
  const bytes = plan.after.map((share) => share.bytes);
  assert.ok(Math.max(...bytes) <= 1.2 * 8650, String(bytes));
  assert.equal(plan.copies, 2);
});

test("bytes that are not worth a copy stay where they are", () => {
  const partitions = [9000, 8000, 100, 200].map((bytes, i) => ({
    ...{ key: `t-${i}`, replicas: [i < 2 ? 1 : 2], bytes },
  }));
  const of = (bytesSlackMin: number) =>
    planRebalance({ ...request([broker(1), broker(2)], []), partitions, bytesSlackMin });
  assert.deepEqual([of(10_000).copies, of(10_000).unmet], [0, []]);
  assert.equal(of(5000).copies, 2);
  // Every swap would gain next to nothing.
  const near = [10_000, 10_000, 9990, 2].map((bytes, i) => ({
    ...{ key: `t-${i}`, replicas: [i < 2 ? 1 : 2], bytes },
  }));
  const stays = planRebalance({ ...request([broker(1), broker(2)], []), partitions: near });
  assert.deepEqual([stays.copies, stays.unmet.map(({ goal }) => goal)], [0, ["bytes"]]);
});

test("a broker that only keeps what it has gets nothing, and loses nothing", () => {
  const brokers = [broker(1), broker(2, { isActive: false, keeps: true }), broker(3)];
  const plan = planRebalance(
    request(brokers, [
      [1, 2],
      [2, 1],
      [1, 2],
      [2, 1],
    ]),
  );
  assert.deepEqual(countsOf(plan), [2, 4, 2]);
});

test("a partition that is fixed counts, and stays", () => {
  const of = (isFixed: boolean) =>
    planRebalance({
      ...request([broker(1), broker(2)], []),
      partitions: [0, 1, 2, 3].map((i) => ({
        ...{ key: `t-${i}`, replicas: [1], bytes: 1, isFixed: isFixed && i < 3 },
      })),
    });
  assert.deepEqual(countsOf(of(false)), [2, 2]);
  assert.deepEqual(countsOf(of(true)), [3, 1]);
});

test("leaders change by the order of replicas alone", () => {
  const plan = planRebalance(
    request(
      [broker(1), broker(2)],
      [
        [1, 2],
        [1, 2],
        [1, 2],
        [1, 2],
      ],
    ),
  );
  assert.equal(plan.copies, 0);
  assert.deepEqual(
    plan.after.map(({ leaders }) => leaders),
    [2, 2],
  );
});
