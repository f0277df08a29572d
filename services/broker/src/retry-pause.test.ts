import assert from "node:assert/strict";
import { test } from "node:test";
import { manualClock, meanRandom } from "@millrace/env/testing";
import { RetryPause } from "./retry-pause.ts";

const setUp = (float = 0.5) => {
  const { clock, soon, advance, pending } = manualClock();
  const random = { ...meanRandom, float: () => float };
  return { pause: new RetryPause({ clock, random, pauseMsMax: 1_000 }), soon, advance, pending };
};

test("a pause doubles with each failure in a row, up to its bound", () => {
  const { pause } = setUp();
  const lengths = [0, 1, 2, 3, 4, 5, 1_000_000].map((failures) => pause.msAfter(failures));
  assert.deepEqual(lengths, [50, 100, 200, 400, 800, 1_000, 1_000]);
});

test("a pause is spread around its length", () => {
  assert.deepEqual(
    [0, 0.9].map((float) => setUp(float).pause.msAfter(0)),
    [25, 70],
  );
});

test("a pause ends with its time", async () => {
  const { pause, soon, advance, pending } = setUp();
  const waited = pause.wait(1);
  await advance(99);
  assert.deepEqual(pending(), [1]);
  await advance(1);
  await soon(waited);
});

test("a pause that is ended early leaves no timer", async () => {
  const { pause, soon, pending } = setUp();
  const waited = pause.wait(0);
  pause.end();
  await soon(waited);
  assert.deepEqual(pending(), []);
});
