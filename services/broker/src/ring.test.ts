import assert from "node:assert/strict";
import { test } from "node:test";
import { Ring } from "./ring.ts";

test("a ring gives back what it got, in order, whatever its size was on the way", () => {
  const ring = new Ring<number>();
  let pushed = 0;
  let shifted = 0;
  // Sizes that make the array grow while its head is anywhere, and let go of it in between.
  for (const [push, shift] of [
    [5, 3],
    [20, 1],
    [3000, 2900],
    [1, 122],
    [9, 0],
    [0, 9],
  ] as const) {
    for (let i = 0; i < push; i += 1) ring.push(pushed++);
    for (let i = 0; i < shift; i += 1) {
      assert.equal(ring.peek(), shifted);
      assert.equal(ring.shift(), shifted++);
    }
    assert.equal(ring.size, pushed - shifted);
  }
  assert.deepEqual([ring.peek(), ring.shift(), ring.size], [undefined, undefined, 0]);
});
