import assert from "node:assert/strict";
import { test } from "node:test";
import type { Broker, Cluster } from "../../api/index.ts";
import { broker, otherHashes, pool, ready } from "../broker/testing/samples.ts";
import { freeNumbers, overlapping } from "./numbers.ts";
import { planRollout } from "./rollout.ts";
import { planScale } from "./scale.ts";

const as = (nodeId: number, intent: Broker["spec"]["intent"], status = ready("True")): Broker =>
  broker(nodeId, { intent }, status);

const scaled = (replicas: number, brokers: readonly Broker[], more: object = {}) => {
  const { add, intents } = planScale(pool({ replicas, ...more }).spec, brokers);
  return [add, [...intents].sort(([a], [b]) => a - b)];
};

test("brokers that are missing are added", () => {
  assert.deepEqual(scaled(3, []), [3, []]);
  assert.deepEqual(scaled(3, [as(0, "Active")]), [2, []]);
  assert.deepEqual(scaled(1, [as(0, "Active")]), [0, []]);
});

test("the broker that is named goes first, then that with the highest number, one by one", () => {
  const three = [as(0, "Active"), as(1, "Active"), as(2, "Active")];
  assert.deepEqual(scaled(1, three), [0, [[2, "Draining"]]]);
  const named = { brokersToRemove: [9, 0, 1] };
  assert.deepEqual(scaled(1, three, named), [0, [[0, "Draining"]]]);
  // It removes nobody by itself.
  assert.deepEqual(scaled(3, three, named), [0, []]);
  const busy = [as(0, "Active"), as(1, "Active"), as(2, "Draining", ready("False"))];
  assert.deepEqual(scaled(1, busy), [0, []]);
  const going = [as(0, "Active"), as(1, "Active"), as(2, "Decommissioned")];
  assert.deepEqual(scaled(1, going), [0, []]);
});

test("a broker is decommissioned once it says of its present spec that it is drained", () => {
  const rest = [as(0, "Active"), as(1, "Active")];
  const after = [0, [[2, "Decommissioned"]]];
  assert.deepEqual(scaled(2, [...rest, as(2, "Draining")]), after);
  assert.deepEqual(scaled(2, [...rest, as(2, "Draining", ready("False"))]), [0, []]);
  const stale = { ...ready("True"), observedGeneration: 0 };
  assert.deepEqual(scaled(2, [...rest, as(2, "Draining", stale)]), [0, []]);
});

test("a broker that is drained is called back, one that is decommissioned is replaced", () => {
  const rest = [as(0, "Active"), as(1, "Active")];
  assert.deepEqual(scaled(3, [...rest, as(2, "Draining")]), [0, [[2, "Active"]]]);
  assert.deepEqual(scaled(4, [...rest, as(2, "Draining")]), [1, [[2, "Active"]]]);
  assert.deepEqual(scaled(3, [...rest, as(2, "Decommissioned")]), [1, []]);
});

test("brokers of a cordoned pool are cordoned", () => {
  const three = [as(0, "Active"), as(1, "Cordoned")];
  assert.deepEqual(scaled(2, three, { cordoned: true }), [0, [[0, "Cordoned"]]]);
  assert.deepEqual(scaled(2, three), [0, [[1, "Active"]]]);
});

test("numbers: the lowest that no broker has had, within the range, outside of those of others", () => {
  const used = new Set([0, 2]);
  assert.deepEqual(freeNumbers({ others: [], used }, 3), [1, 3, 4]);
  const others = [{ start: 3, end: 10 }];
  assert.deepEqual(freeNumbers({ others, used }, 3), [1, 11, 12]);
  assert.deepEqual(freeNumbers({ range: { start: 2, end: 4 }, others: [], used }, 5), [3, 4]);
});

test("ranges of two pools must not overlap: the younger one gets no brokers", () => {
  const of = (start: number, end: number, uid = "b") => {
    const one = pool({ nodeIds: { start, end } });
    return { ...one, metadata: { ...one.metadata, uid } };
  };
  assert.equal(overlapping(of(1, 5), [of(6, 9, "a"), pool()]), undefined);
  assert.notEqual(overlapping(of(1, 6), [of(6, 9, "a")]), undefined);
  assert.equal(overlapping(of(1, 6), [of(6, 9, "c")]), undefined);
  assert.equal(overlapping(pool(), [of(6, 9, "a")]), undefined);
});

const current = { podTemplateHash: "aaaaaaaa", configHash: "bbbbbbbb" };

/** A broker that runs with what its spec says; `isNew`: and that is what is wanted. */
const rolling = (nodeId: number, how: { isReady?: boolean; isNew?: boolean; rack?: string }) => {
  const { isNew = false, isReady = true, rack } = how;
  const hashes = isNew ? otherHashes : current;
  const status = { ...ready(isReady ? "True" : "False"), ...hashes, ...(rack ? { rack } : {}) };
  return { broker: broker(nodeId, hashes, status), wanted: otherHashes };
};

const rollout = (more: Partial<Cluster["spec"]["rollout"]> = {}) => ({
  ...{ maxUnavailablePerRack: 1, pauseSeconds: 0, unsafePartitions: "Block" as const },
  ...more,
});

const next = (
  brokers: readonly ReturnType<typeof rolling>[],
  options = rollout(),
  nowMs = Date.parse("2026-01-01T00:01:00Z"),
): number[] => planRollout(brokers, options, nowMs).next.map((one) => one.broker.spec.nodeId);

test("one broker after the other gets what is wanted, while all others are ready", () => {
  assert.deepEqual(next([rolling(0, {}), rolling(1, {})]), [0]);
  assert.deepEqual(next([rolling(0, { isNew: true }), rolling(1, {})]), [1]);
  assert.deepEqual(next([rolling(0, { isNew: true, isReady: false }), rolling(1, {})]), []);
  assert.deepEqual(next([rolling(0, { isNew: true }), rolling(1, { isNew: true })]), []);
});

test("a broker that is not ready gets it at once, and others wait for it", () => {
  assert.deepEqual(next([rolling(0, {}), rolling(1, { isReady: false })]), [1]);
});

test("brokers that go get no new pod, and are not waited for", () => {
  const leaving = rolling(0, { isReady: false });
  const draining = { ...leaving, broker: broker(0, { ...current, intent: "Draining" }) };
  assert.deepEqual(next([draining, rolling(1, {})]), [1]);
});

test("several of one rack go together where that is set, those of two racks never", () => {
  const racks = ["a", "a", "b"].map((rack, id) => rolling(id, { rack }));
  assert.deepEqual(next(racks, rollout({ maxUnavailablePerRack: 3 })), [0, 1]);
  assert.deepEqual(next(racks), [0]);
  const without = [0, 1].map((id) => rolling(id, {}));
  assert.deepEqual(next(without, rollout({ maxUnavailablePerRack: 3 })), [0]);
});

test("a pause is kept after the last broker was back", () => {
  const brokers = [rolling(0, {}), rolling(1, {})];
  const options = rollout({ pauseSeconds: 61 });
  assert.deepEqual(next(brokers, options), []);
  assert.equal(planRollout(brokers, options, 0).pauseMs, Date.parse("2026-01-01T00:01:01Z"));
  assert.deepEqual(next(brokers, rollout({ pauseSeconds: 60 })), [0]);
});
