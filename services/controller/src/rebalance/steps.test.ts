import assert from "node:assert/strict";
import { test } from "node:test";
import { BrokerIntent, RebalanceState } from "@millrace/proto/common";
import { rebalanceLimits } from "../limits.ts";
import { keyOf, RebalanceWorld, unmeasured } from "../testing/rebalance-world.ts";
import { Outcome } from "./steps.ts";

const { ABORTED, ABORTING, COMPLETED, PAUSED, REBALANCING } = RebalanceState;

/** Brokers 1 to 4 in no rack, and partitions on brokers 1 and 2. */
const setUp = (count: number, more: { movesPerBroker?: number; minInsyncReplicas?: number } = {}) =>
  new RebalanceWorld({
    racks: ["", "", "", ""],
    replicas: Array.from({ length: count }, () => [1, 2]),
    ...more,
  });

const outcomesOf = ({ record }: RebalanceWorld): number[] => [...record.outcomes];
const whyOf = ({ record }: RebalanceWorld): string[] => record.skipped.map(({ why }) => why);

test("a move begins with its record, and is over once its replicas are in sync", () => {
  const world = setUp(1, { minInsyncReplicas: 2 });
  world.plan([[0, [3, 2]]]);
  const begun = world.step();
  assert.deepEqual(outcomesOf(world), [Outcome.moving]);
  assert.equal(begun.changes[0]?.modRevision, 7);
  assert.deepEqual(
    [world.of(0).replicas, world.of(0).adding, world.of(0).removing, world.of(0).isr],
    [[3, 2, 1], [3], [1], [1, 2]],
  );
  world.round();
  assert.deepEqual(world.step(), { record: undefined, changes: [], waiting: "" });
  world.catchUp(0);
  world.round();
  assert.deepEqual([world.of(0).replicas, world.of(0).adding], [[3, 2], []]);
  const ended = world.step();
  assert.deepEqual([ended.changes, outcomesOf(world)], [[], [Outcome.done]]);
  assert.deepEqual([world.record.state, world.record.endedAtMs], [COMPLETED, 1234n]);
  assert.equal(world.record.copiedBytes, 1000n);
});

test("another order of the same replicas copies nothing, and waits for nobody", () => {
  const world = setUp(1);
  world.measured = { ...unmeasured, commitLagMs: new Map([[1, 60_000]]) };
  world.plan([[0, [2, 1]]]);
  world.step();
  assert.deepEqual(world.of(0).replicas, [2, 1]);
  world.step();
  assert.deepEqual([world.record.state, world.record.copiedBytes], [COMPLETED, 0n]);
});

test("a broker takes part in so many moves at once, as a new replica or as the leader", () => {
  const world = setUp(6, { movesPerBroker: 2 });
  world.plan([0, 1, 2, 3, 4, 5].map((p) => [p, [1, p < 3 ? 3 : 4]]));
  const { changes, waiting } = world.step();
  assert.deepEqual([changes.length, waiting], [2, ""], "broker 1 is read from");
  world.catchUp(0);
  world.round();
  assert.equal(world.step().changes.length, 1);
});

test("fewer moves go on at once while the pace is slow", () => {
  const world = setUp(6, { movesPerBroker: 5 });
  world.measured = { ...unmeasured, movesPerBroker: 2 };
  world.plan([0, 1, 2, 3, 4, 5].map((p) => [p, [1, 3]]));
  assert.equal(world.step().changes.length, 2);
  world.measured = { ...unmeasured, movesPerBroker: 99 };
  assert.equal(world.step().changes.length, 3);
});

test("a step changes so many partitions, and the next one goes on", () => {
  const world = setUp(6, { movesPerBroker: 100 });
  world.plan([0, 1, 2, 3, 4, 5].map((p) => [p, [1, 3]]));
  assert.deepEqual(
    [4, 4, 4].map((most) => world.step(most).changes.length),
    [4, 2, 0],
  );
  world.record = { ...world.record, state: ABORTING };
  assert.deepEqual(
    [4, 4].map((most) => world.step(most).changes.length),
    [4, 2],
  );
});

test("copies begin only while those before them have little to catch up", () => {
  const big = rebalanceLimits.lagBytesMax + 1;
  const world = setUp(3);
  world.plan(
    [0, 1, 2].map((p) => [p, [1, 3]]),
    big,
  );
  const first = world.step();
  assert.deepEqual(first.changes.length, 1, "one may always be under way");
  assert.equal(
    first.waiting,
    "2 moves wait: copies that broker 3 takes part in have yet to catch up",
  );
  world.measured = { ...unmeasured, lagBytes: new Map([[keyOf(0), 5000]]) };
  assert.equal(world.step().changes.length, 1);
});

test("copies wait while records wait to be committed, and for room on the disk", () => {
  const world = setUp(2);
  world.plan([
    [0, [1, 3]],
    [1, [1, 3]],
  ]);
  world.measured = { ...unmeasured, commitLagMs: new Map([[1, 4200]]) };
  const { changes, waiting } = world.step();
  assert.deepEqual(changes, []);
  assert.equal(waiting, "2 moves wait: records of broker 1 wait 4.2 s to be committed");
  world.measured = {
    ...unmeasured,
    ...{ freeBytes: new Map([[3, 1500]]), commitLagMs: new Map([[1, 1000]]) },
  };
  const next = world.step();
  assert.equal(next.changes.length, 1, "what is on its way needs room, too");
  assert.equal(next.waiting, "1 move waits: broker 3 has no room for it yet");
});

test("brokers with a partition below its minimum take part in no copies", () => {
  const world = setUp(2, { minInsyncReplicas: 2 });
  world.plan([[0, [1, 3]]]);
  world.put(keyOf(1), { ...world.of(1), isr: [1], isrBrokerEpochs: [1n] });
  assert.equal(
    world.step().waiting,
    "1 move waits: broker 1 has a partition below min.insync.replicas, t-1",
  );
  world.catchUp(1);
  assert.equal(world.step().changes.length, 1);
});

test("a partition that is not in sync, or has no leader, waits for that", () => {
  const world = setUp(1);
  world.plan([[0, [1, 3]]]);
  world.put(keyOf(0), { ...world.of(0), isr: [1], isrBrokerEpochs: [1n] });
  assert.equal(world.step().waiting, "1 move waits: t-0 is not in sync on broker 2");
  world.put(keyOf(0), { ...world.of(0), leader: undefined });
  assert.equal(world.step().waiting, "1 move waits: t-0 has no leader");
  world.put(keyOf(0), { ...world.of(0), leader: 1 });
  world.measured = { ...unmeasured, gone: new Set([2]) };
  world.step();
  assert.deepEqual(
    [world.record.state, whyOf(world)],
    [COMPLETED, ["t-0 is not in sync on broker 2"]],
  );
});

test("what does not fit any more is skipped, and says why", () => {
  const world = new RebalanceWorld({
    racks: ["a", "b", "a", "b", "a"],
    replicas: Array.from({ length: 7 }, () => [1, 2]),
  });
  world.plan([
    [0, [1, 4]],
    [1, [1, 4]],
    [2, [1, 4]],
    [3, [1, 3]],
    [4, [3, 2]],
    [5, [1, 5]],
    [6, [3, 2]],
  ]);
  world.reassign(0, [2, 1]);
  world.reassign(1, [1, 4]);
  world.intents.set(3, BrokerIntent.CORDONED);
  world.racks.set(5, "b");
  world.brokers.delete(5);
  world.measured = { ...unmeasured, gone: new Set([5]) };
  world.partitions.delete(keyOf(6));
  const { changes, waiting } = world.step();
  assert.deepEqual(
    changes.map(({ key }) => key),
    [keyOf(2)],
  );
  assert.deepEqual(whyOf(world), [
    "its replicas are 2,1, not 1,2 as planned",
    "broker 3 is cordoned, and gets none",
    "broker 3 is cordoned, and gets none",
    "broker 5 is not registered",
    "the topic was deleted meanwhile",
  ]);
  assert.equal(waiting, "1 move waits: it is being moved by hand, or by a drain");
  // By hand it went where the plan wants it.
  world.settle();
  assert.equal(outcomesOf(world)[1], Outcome.done);
  assert.equal(world.record.state, COMPLETED);
});

test("a move that would put replicas into fewer racks is skipped", () => {
  const world = new RebalanceWorld({ racks: ["a", "b", "c"], replicas: [[1, 2]] });
  world.plan([[0, [1, 3]]]);
  world.racks.set(3, "a");
  world.step();
  assert.deepEqual(whyOf(world), ["its replicas would be in fewer racks than now"]);
});

test("a new broker that is missing for a while is waited for, and given up after that", () => {
  const world = setUp(2, { movesPerBroker: 1 });
  world.plan([
    [0, [1, 3]],
    [1, [1, 3]],
  ]);
  world.step();
  world.brokers.delete(3);
  world.round();
  assert.equal(world.step().waiting, "1 move waits: broker 3 is not registered");
  world.measured = { ...unmeasured, gone: new Set([3]) };
  world.step();
  world.round();
  assert.deepEqual(world.of(0).replicas, [1, 2], "it has gone back");
  assert.deepEqual(outcomesOf(world), [Outcome.cancelled, Outcome.skipped]);
  assert.deepEqual(whyOf(world), [
    "broker 3 has not been registered for long",
    "broker 3 is not registered",
  ]);
  assert.equal(world.record.state, COMPLETED);
});

test("a move to a broker that is drained meanwhile is taken back", () => {
  const world = setUp(1);
  world.plan([[0, [1, 3]]]);
  world.step();
  world.intents.set(3, BrokerIntent.DRAINING);
  world.step();
  assert.deepEqual([world.of(0).replicas, whyOf(world)], [[1, 2], ["broker 3 is draining"]]);
});

test("a move that is given another target by hand is left to that", () => {
  const world = setUp(2);
  world.plan([
    [0, [1, 3]],
    [1, [1, 3]],
  ]);
  world.step();
  world.reassign(0, [1, 4]);
  world.reassign(1, [1, 2]);
  world.step();
  assert.deepEqual(outcomesOf(world), [Outcome.skipped, Outcome.skipped]);
  assert.deepEqual(whyOf(world), [
    "it was given other replicas meanwhile, 1,4",
    "it was given other replicas meanwhile, 1,2",
  ]);
  assert.deepEqual(world.of(0).adding, [4]);
});

test("a pause begins nothing, and what is under way ends", () => {
  const world = setUp(2, { movesPerBroker: 1 });
  world.plan([
    [0, [1, 3]],
    [1, [1, 3]],
  ]);
  world.step();
  world.record = { ...world.record, state: PAUSED };
  world.settle();
  assert.deepEqual(
    [outcomesOf(world), world.record.state],
    [[Outcome.done, Outcome.waiting], PAUSED],
  );
  world.record = { ...world.record, state: REBALANCING };
  world.settle();
  assert.deepEqual([outcomesOf(world), world.record.state], [[2, 2], COMPLETED]);
});

test("an abort takes back what is under way, in the order of before, and keeps what was made", () => {
  const world = setUp(3, { movesPerBroker: 2 });
  world.plan([
    [0, [3, 1]],
    [1, [2, 3]],
    [2, [3, 1]],
  ]);
  world.step();
  world.catchUp(0);
  world.round();
  world.record = { ...world.record, state: ABORTING };
  const { changes } = world.step();
  assert.deepEqual(
    changes.map(({ key }) => key),
    [keyOf(1)],
  );
  assert.deepEqual(outcomesOf(world), [Outcome.done, Outcome.cancelled, Outcome.waiting]);
  assert.deepEqual([world.record.state, world.record.endedAtMs], [ABORTED, 1234n]);
  assert.deepEqual(
    [0, 1, 2].map((p) => world.of(p).replicas),
    [
      [3, 1],
      [1, 2],
      [1, 2],
    ],
  );
  assert.deepEqual(whyOf(world), [], "an abort needs no reason");
});

test("a move whose new replica alone is in sync is not taken back", () => {
  const world = setUp(1);
  world.plan([[0, [3, 4]]]);
  world.step();
  world.put(keyOf(0), { ...world.of(0), isr: [3], isrBrokerEpochs: [3n], leader: 3 });
  world.record = { ...world.record, state: ABORTING };
  assert.deepEqual(world.step(), { record: undefined, changes: [], waiting: "" });
  world.settle();
  assert.deepEqual([world.of(0).replicas, world.record.state], [[3, 4], ABORTED]);
});

test("of skipped moves the first hundred are remembered", () => {
  const world = setUp(rebalanceLimits.skippedMax + 20);
  world.plan(Array.from({ length: rebalanceLimits.skippedMax + 20 }, (_, p) => [p, [1, 3]]));
  world.intents.set(3, BrokerIntent.CORDONED);
  world.step();
  assert.equal(world.record.skipped.length, rebalanceLimits.skippedMax);
  assert.ok(outcomesOf(world).every((one) => one === Outcome.skipped));
});
