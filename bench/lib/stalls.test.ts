import assert from "node:assert/strict";
import { test } from "node:test";
import { longestStall } from "./stalls.ts";

const span = { fromMs: 100, toMs: 200 };

test("the wait that a fault falls into counts from the acknowledgement before it", () => {
  assert.equal(longestStall([80, 90, 150, 160, 199], span), 60);
});

test("an acknowledgement that was under way ends nothing: the longest wait counts", () => {
  assert.equal(longestStall([90, 101, 102, 180, 190, 200], span), 78);
});

test("what is open at the end counts up to there", () => {
  assert.equal(longestStall([90, 110, 120], span), 80);
  assert.equal(longestStall([90, 110, 120, 900], span), 80);
});

test("waits that were over before the span do not count", () => {
  assert.equal(longestStall([0, 95, 100, 140, 180, 200], span), 40);
});

test("without acknowledgements the whole span is a wait", () => {
  assert.equal(longestStall([], span), 100);
});
