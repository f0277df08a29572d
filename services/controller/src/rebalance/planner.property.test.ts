/** Thousands of random clusters, and what must be true of every plan. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { planRebalance } from "./planner.ts";
import type { PlannedBroker, PlannedPartition, PlanRequest, RebalancePlan } from "./types.ts";

interface Shape {
  readonly brokers: number;
  readonly racks: number;
  readonly partitions: number;
  readonly factor: number;
  readonly inactive: number;
  /** Whether these keep what they have. */
  readonly keeps: boolean;
  /** In so many partitions one stays as it is; 0: none does. */
  readonly fixedOneIn: number;
  readonly isTight: boolean;
  readonly seed: number;
}

const shapes = fc.record<Shape>({
  brokers: fc.integer({ min: 1, max: 12 }),
  racks: fc.integer({ min: 0, max: 4 }),
  partitions: fc.integer({ min: 0, max: 60 }),
  factor: fc.integer({ min: 1, max: 4 }),
  inactive: fc.integer({ min: 0, max: 2 }),
  keeps: fc.boolean(),
  fixedOneIn: fc.integer({ min: 0, max: 5 }),
  isTight: fc.boolean(),
  seed: fc.integer({ min: 1, max: 1e6 }),
});

/** A cluster that grew in whatever way. */
const clusterOf = (shape: Shape): PlanRequest => {
  let state = shape.seed;
  const random = (below: number): number => {
    state = (state * 48_271) % 2_147_483_647;
    return state % below;
  };
  const brokers = Array.from({ length: shape.brokers }, (_, i): PlannedBroker => {
    const rack = shape.racks === 0 ? "" : `rack-${random(shape.racks)}`;
    const bytesMax = shape.isTight ? 1000 + random(3000) : 1e9;
    return { id: i + 1, rack, isActive: i >= shape.inactive, keeps: shape.keeps, bytesMax };
  });
  const used = 1 + random(shape.brokers);
  const partitions = Array.from({ length: shape.partitions }, (_, i) => {
    const ids = new Set<number>();
    const factor = Math.min(shape.factor, used);
    while (ids.size < factor) ids.add(1 + random(used));
    const isFixed = shape.fixedOneIn > 0 && i % shape.fixedOneIn === 0;
    return { key: `t-${i}`, replicas: [...ids], bytes: random(200), isFixed };
  });
  return { brokers, partitions, replicasMax: shape.isTight ? 40 : 1e6, bytesSlack: 0.2 };
};

/** How far each hard goal is from being met, worked out anew. */
const hardOf = (
  { brokers, replicasMax }: PlanRequest,
  placed: readonly Omit<PlannedPartition, "key">[],
) => {
  const byId = new Map(brokers.map((broker) => [broker.id, broker]));
  const active = brokers.filter(({ isActive }) => isActive);
  const rackOf = (id: number): string => byId.get(id)?.rack || `#${id}`;
  const rackCount = new Set(active.map(({ id }) => rackOf(id))).size;
  const isKept = (id: number): boolean =>
    byId.get(id)?.isActive === true || byId.get(id)?.keeps === true;
  let misplaced = 0;
  let racksMissing = 0;
  // But for partitions that stay as they are.
  const named = { misplaced: 0, racksMissing: 0 };
  const bytes = new Map<number, number>();
  const counts = new Map<number, number>();
  for (const { replicas, bytes: size, isFixed } of placed) {
    const there = replicas.filter(isKept);
    const missing = Math.min(replicas.length, rackCount) - new Set(there.map(rackOf)).size;
    misplaced += replicas.length - there.length;
    racksMissing += Math.max(0, missing);
    if (isFixed !== true) {
      named.misplaced += replicas.length - there.length;
      named.racksMissing += Math.max(0, missing);
    }
    for (const id of replicas) {
      bytes.set(id, (bytes.get(id) ?? 0) + size);
      counts.set(id, (counts.get(id) ?? 0) + 1);
    }
  }
  const over = active.map(({ bytesMax, id }) => [
    Math.max(0, (bytes.get(id) ?? 0) - bytesMax),
    Math.max(0, (counts.get(id) ?? 0) - replicasMax),
  ]);
  return { misplaced, racksMissing, over, counts, named };
};

const placedAfter = (request: PlanRequest, { moves }: RebalancePlan) => {
  const targets = new Map(moves.map(({ key, to }) => [key, to]));
  return request.partitions.map(({ key, replicas, ...rest }) => ({
    ...{ ...rest, replicas: targets.get(key) ?? replicas },
  }));
};

const goalsOf = ({ unmet }: RebalancePlan): Set<string> => new Set(unmet.map(({ goal }) => goal));

test("no hard goal is worse after a plan, and one that is not met is named", () => {
  fc.assert(
    fc.property(shapes, (shape) => {
      const request = clusterOf(shape);
      const plan = planRebalance(request);
      const placed = placedAfter(request, plan);
      for (const [i, { replicas }] of placed.entries()) {
        assert.equal(new Set(replicas).size, request.partitions[i]?.replicas.length);
      }
      const fixed = new Set(request.partitions.flatMap((one) => (one.isFixed ? one.key : [])));
      const byId = new Map(request.brokers.map((broker) => [broker.id, broker]));
      for (const { key, from, to } of plan.moves) {
        assert.ok(!fixed.has(key), key);
        const added = to.filter((id) => !from.includes(id));
        assert.ok(
          added.every((id) => byId.get(id)?.isActive === true),
          String(added),
        );
        const removed = from.filter((id) => !to.includes(id));
        assert.ok(!removed.some((id) => !byId.get(id)?.isActive && byId.get(id)?.keeps === true));
      }
      const before = hardOf(request, request.partitions);
      const after = hardOf(request, placed);
      assert.ok(after.misplaced <= before.misplaced);
      assert.ok(after.racksMissing <= before.racksMissing);
      for (const [i, over] of after.over.entries())
        for (const [j, by] of over.entries()) assert.ok(by <= (before.over[i]?.[j] ?? 0));
      const goals = goalsOf(plan);
      assert.equal(goals.has("brokers"), after.named.misplaced > 0);
      assert.equal(goals.has("racks"), after.named.racksMissing > 0);
      assert.equal(
        goals.has("disk"),
        after.over.some(([bytes = 0]) => bytes > 0),
      );
    }),
    { numRuns: 3000 },
  );
});

test("counts of replicas and leaders are even unless the plan says why not", () => {
  fc.assert(
    fc.property(shapes, (shape) => {
      const request = clusterOf(shape);
      const plan = planRebalance(request);
      const goals = goalsOf(plan);
      const active = plan.after.filter(({ id }) => id > shape.inactive);
      if (active.length === 0) return;
      const apart = (values: readonly number[]): number =>
        Math.max(...values) - Math.min(...values);
      if (!goals.has("count")) assert.ok(apart(active.map(({ replicas }) => replicas)) <= 1);
      if (!goals.has("leaders")) assert.ok(apart(active.map(({ leaders }) => leaders)) <= 1);
      // A second plan finds nothing to do.
      const partitions = request.partitions.map((one, i) => ({
        ...one,
        replicas: placedAfter(request, plan)[i]?.replicas ?? [],
      }));
      if (plan.unmet.length === 0)
        assert.deepEqual(planRebalance({ ...request, partitions }).moves, []);
    }),
    { numRuns: 2000 },
  );
});

test("without racks and sizes, copies are at most a tenth above the fewest that can be", () => {
  fc.assert(
    fc.property(shapes, (shape) => {
      const request = clusterOf({
        ...shape,
        racks: 0,
        isTight: false,
        keeps: false,
        fixedOneIn: 0,
      });
      const partitions = request.partitions.map((one) => ({ ...one, bytes: 0 }));
      const plan = planRebalance({ ...request, partitions });
      if (plan.unmet.length > 0) return;
      const { counts, misplaced } = hardOf(request, partitions);
      const active = request.brokers.filter(({ isActive }) => isActive).map(({ id }) => id);
      const total = partitions.reduce((sum, { replicas }) => sum + replicas.length, 0);
      const floor = Math.floor(total / active.length);
      const ceil = Math.ceil(total / active.length);
      const has = (id: number): number => counts.get(id) ?? 0;
      const over = active.reduce((sum, id) => sum + Math.max(0, has(id) - ceil), 0);
      const under = active.reduce((sum, id) => sum + Math.max(0, floor - has(id)), 0);
      const fewest = Math.max(misplaced + over, under);
      assert.ok(plan.copies <= Math.ceil(fewest * 1.1), `${plan.copies} for ${fewest}`);
    }),
    { numRuns: 2000 },
  );
});

test("a hundred brokers with ten thousand partitions are planned within seconds", () => {
  const shape = { partitions: 10_000, factor: 3, isTight: false, keeps: false, fixedOneIn: 0 };
  for (const [brokers, racks, inactive] of [
    [100, 3, 2],
    [100, 0, 50],
    [60, 4, 0],
  ] as const) {
    const request = clusterOf({ ...shape, brokers, racks, inactive, seed: 7 });
    const before = process.cpuUsage();
    const plan = planRebalance(request);
    const { user, system } = process.cpuUsage(before);
    const seconds = (user + system) / 1e6;
    assert.ok(plan.moves.length > 100);
    assert.ok(seconds <= 4, `${seconds} s of CPU`);
  }
});

test("racks that cannot have the same, and a few large partitions, do not make planning long", () => {
  const replicas = Array.from({ length: 10_000 }, (_, i) => [
    1 + (i % 60),
    61 + (i % 30),
    91 + (i % 9),
  ]);
  const partitions = replicas.map((ids, i) => ({
    ...{ key: `t-${i}`, replicas: ids, bytes: i % 100 === 0 ? 1e11 : i },
  }));
  const brokers = Array.from({ length: 100 }, (_, i) => ({
    ...{ id: i + 1, rack: i < 60 ? "a" : i < 90 ? "b" : "c", isActive: true, bytesMax: 1e15 },
  }));
  const before = process.cpuUsage();
  const request = {
    brokers,
    partitions,
    replicasMax: 1e6,
    bytesSlack: 0.1,
    bytesSlackMin: 2 ** 30,
  };
  const { copies, unmet } = planRebalance(request);
  const { user, system } = process.cpuUsage(before);
  assert.ok((user + system) / 1e6 <= 4, `${(user + system) / 1e6} s of CPU`);
  // Broker 100 gets its tenth of rack c; the rest is what bytes are worth.
  assert.ok(copies >= 1000 && copies <= 3000, `${copies} copies`);
  assert.ok(unmet.some(({ goal }) => goal === "count"));
});
