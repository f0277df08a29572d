import assert from "node:assert/strict";
import { test } from "node:test";
import { manualClock, meanRandom } from "@millrace/env/testing";
import { type Outcome, type QueueOptions, WorkQueue } from "./queue.ts";

const done: Outcome = { type: "done" };
const retry: Outcome = { type: "retry" };

/** A queue whose work ends when the test says so. */
const heldQueue = (options: Partial<QueueOptions> = {}) => {
  const time = manualClock();
  const log: string[] = [];
  const held = new Map<string, (outcome: Outcome) => void>();
  const queue = new WorkQueue({
    name: "test",
    clock: time.clock,
    random: meanRandom,
    work: (key) => {
      log.push(`${time.clock.monoMs()} ${key}`);
      return new Promise((resolve) => held.set(key, resolve));
    },
    ...options,
  });
  const end = async (key: string, outcome: Outcome = done): Promise<void> => {
    held.get(key)?.(outcome);
    await time.turn();
  };
  return { ...time, queue, log, end };
};

test("a key that is added many times is worked at once, and once more if it was added meanwhile", async () => {
  const { queue, log, end } = heldQueue();
  for (let i = 0; i < 3; i += 1) queue.add("a");
  assert.deepEqual(log, []);
  queue.start();
  assert.deepEqual(log, ["0 a"]);
  for (let i = 0; i < 3; i += 1) queue.add("a");
  assert.deepEqual(log, ["0 a"]);
  await end("a");
  assert.deepEqual(log, ["0 a", "0 a"]);
  await end("a");
  assert.equal(queue.size, 0);
  assert.equal(log.length, 2);
});

test("keys are worked at in their order, as many at once as is said", async () => {
  const { queue, log, end } = heldQueue({ concurrency: 2 });
  queue.start();
  for (const key of ["a", "b", "c", "d"]) queue.add(key);
  assert.deepEqual(log, ["0 a", "0 b"]);
  await end("b");
  assert.deepEqual(log, ["0 a", "0 b", "0 c"]);
  assert.equal(queue.active, 2);
});

test("failures wait twice as long each time, up to a limit, and success forgets them", async () => {
  const { queue, log, end, advance, pending } = heldQueue({
    backoff: { minMs: 1000, maxMs: 3000 },
  });
  queue.start();
  queue.add("a");
  const waits: number[] = [];
  for (let i = 0; i < 4; i += 1) {
    await end("a", retry);
    waits.push(...pending());
    await advance(10_000);
  }
  // Three quarters of 1000, 2000, 3000, 3000: the middle of what chance may choose.
  assert.deepEqual(waits, [750, 1500, 2250, 2250]);
  await end("a");
  queue.add("a");
  await end("a", retry);
  assert.deepEqual(pending(), [750]);
  assert.equal(log.length, 6);
});

test("what the server asks to wait is waited, whoever adds the key", async () => {
  const { queue, log, end, advance, pending } = heldQueue();
  queue.start();
  queue.add("a");
  await end("a", { type: "retry", notBeforeMs: 60_000 });
  queue.add("a");
  assert.deepEqual(pending(), [60_000]);
  await advance(60_000);
  assert.deepEqual(log, ["0 a", "60000 a"]);
});

test("a key that fails again and again runs early where it is added, but not in a hot loop", async () => {
  const { queue, log, end, advance } = heldQueue({ backoff: { minMs: 100_000, maxMs: 100_000 } });
  queue.start();
  queue.add("a");
  await end("a", retry);
  queue.add("a");
  await advance(999);
  assert.equal(log.length, 1);
  await advance(1);
  assert.deepEqual(log, ["0 a", "1000 a"]);
  queue.add("a");
  await end("a", retry);
  await advance(1000);
  assert.deepEqual(log, ["0 a", "1000 a", "2000 a"]);
});

test("a key comes again when it asked to, or earlier when it is added", async () => {
  const { queue, log, end, advance, pending } = heldQueue();
  queue.start();
  queue.add("a");
  await end("a", { type: "done", requeueAfterMs: 5000 });
  await advance(2000);
  queue.add("a");
  assert.deepEqual(pending(), []);
  await end("a", { type: "done", requeueAfterMs: 5000 });
  await advance(5000);
  assert.deepEqual(log, ["0 a", "2000 a", "7000 a"]);
});

test("of two times for one key the earlier counts", () => {
  const { queue, pending } = heldQueue();
  queue.start();
  queue.addAfter("a", 100);
  queue.addAfter("a", 500);
  assert.deepEqual(pending(), [100]);
  queue.addAfter("a", 50);
  assert.deepEqual(pending(), [50]);
});

test("a full queue refuses keys, and says so when there is room", async () => {
  let room = 0;
  const { queue, end } = heldQueue({
    keysMax: 2,
    concurrency: 1,
    onRoom: () => {
      room += 1;
    },
  });
  queue.start();
  assert.deepEqual(
    ["a", "b", "c", "a"].map((key) => queue.add(key)),
    [true, true, false, true],
  );
  await end("a");
  assert.equal(room, 0);
  await end("b");
  assert.equal(room, 1);
  await end("a");
  assert.equal(room, 1);
});

test("work that throws is a failure", async () => {
  const failures: number[] = [];
  const { queue, advance } = heldQueue({
    work: (_key, before) => {
      failures.push(before);
      return before < 2 ? Promise.reject(new Error("broken")) : Promise.resolve(done);
    },
  });
  queue.start();
  queue.add("a");
  await advance(60_000);
  assert.deepEqual(failures, [0, 1, 2]);
});

test("all retries together have a rate", async () => {
  const { queue, end, pending } = heldQueue({
    concurrency: 10,
    backoff: { minMs: 2, maxMs: 2 },
    retryRate: { perSecond: 1, burst: 2 },
  });
  queue.start();
  for (const key of ["a", "b", "c", "d"]) queue.add(key);
  for (const key of ["a", "b", "c", "d"]) await end(key, retry);
  assert.deepEqual(pending(), [1.5, 1.5, 1000, 2000]);
});

test("a queue that stops begins nothing, and waits for what is worked at", async () => {
  const { queue, log, end, advance, turn } = heldQueue();
  queue.start();
  queue.add("a");
  queue.addAfter("b", 100);
  let isStopped = false;
  void queue.stop().then(() => {
    isStopped = true;
  });
  await advance(1000);
  assert.equal(isStopped, false);
  await end("a", retry);
  await turn();
  assert.equal(isStopped, true);
  assert.equal(queue.add("c"), false);
  await advance(1_000_000);
  assert.deepEqual(log, ["0 a"]);
});
