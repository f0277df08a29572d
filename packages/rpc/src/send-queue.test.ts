import assert from "node:assert/strict";
import { test } from "node:test";
import { SendQueue } from "./send-queue.ts";

/** Whether a promise is settled by now. */
const isSettled = async (promise: Promise<void>): Promise<boolean> => {
  let settled = false;
  void promise.then(() => {
    settled = true;
  });
  await new Promise(setImmediate);
  return settled;
};

test("a writer waits from the bound on, until there is room", async () => {
  const queue = new SendQueue(10);
  queue.add(9);
  assert.ok(queue.hasRoom);
  assert.ok(await isSettled(queue.drained()));
  queue.add(1);
  assert.equal(queue.hasRoom, false);
  const drained = queue.drained();
  assert.equal(await isSettled(drained), false);
  queue.add(5);
  queue.sent(5);
  assert.equal(await isSettled(drained), false);
  queue.sent(1);
  assert.ok(await isSettled(drained));
  assert.equal(queue.bytes, 9);
});

test("nobody waits once nothing is written any more, or all was dropped", async () => {
  for (const end of ["close", "clear"] as const) {
    const queue = new SendQueue(10);
    queue.add(10);
    const drained = queue.drained();
    assert.equal(await isSettled(drained), false);
    queue[end]();
    assert.ok(await isSettled(drained), end);
    assert.ok(await isSettled(queue.drained()), end);
    assert.deepEqual([queue.open, queue.bytes], end === "close" ? [false, 10] : [true, 0]);
  }
});
