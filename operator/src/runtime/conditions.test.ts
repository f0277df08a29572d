import assert from "node:assert/strict";
import { test } from "node:test";
import { mergeConditions, type WantedCondition } from "./conditions.ts";

const at = (wallMs: number) => ({ wallMs: () => wallMs });
const ready = (status: "True" | "False", message = "m"): WantedCondition => ({
  ...{ type: "Ready", status, reason: "Because", message },
});
const healthy: WantedCondition = { ...ready("True"), type: "Healthy" };

test("the time of a transition changes with the status alone", () => {
  const first = mergeConditions([], [ready("False")], 1, at(1000));
  assert.equal(first[0]?.lastTransitionTime, "1970-01-01T00:00:01Z");
  const said = mergeConditions(first, [ready("False", "more")], 2, at(9000));
  assert.equal(said[0]?.lastTransitionTime, "1970-01-01T00:00:01Z");
  assert.equal(said[0]?.message, "more");
  assert.equal(said[0]?.observedGeneration, 2);
  const changed = mergeConditions(said, [ready("True")], 2, at(9000));
  assert.equal(changed[0]?.lastTransitionTime, "1970-01-01T00:00:09Z");
});

test("conditions are in order of type, once each, and others' stay as they are", () => {
  const before = mergeConditions([], [ready("True")], 1, at(0));
  const after = mergeConditions(before, [healthy], 2, at(5000));
  assert.deepEqual(
    after.map(({ type }) => type),
    ["Healthy", "Ready"],
  );
  assert.deepEqual(after[1], before[0]);
  assert.deepEqual(mergeConditions(after, [ready("True"), healthy], 2, at(9000)), [
    after[0],
    { ...before[0], observedGeneration: 2 },
  ]);
});

test("a reason that no API server takes is refused here, and a message is cut", () => {
  assert.throws(() => mergeConditions([], [{ ...ready("True"), reason: "not this" }], 1, at(0)));
  assert.throws(() => mergeConditions([], [{ ...ready("True"), reason: "" }], 1, at(0)));
  const [long] = mergeConditions([], [ready("True", "x".repeat(40_000))], 1, at(0));
  assert.equal(long?.message.length, 4096);
});
