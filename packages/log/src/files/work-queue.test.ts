import assert from "node:assert/strict";
import { test } from "node:test";
import { KeyedWorkQueues } from "./work-queue.ts";

test("work of one key has an order, work of others does not wait for it", async () => {
  const queues = new KeyedWorkQueues();
  const told: string[] = [];
  const gate = Promise.withResolvers<void>();
  const tell = (key: string, what: string, wait = Promise.resolve()): Promise<void> =>
    queues.run(key, async () => {
      await wait;
      told.push(what);
    });
  const first = tell("a", "a1");
  const second = tell("a", "a2", gate.promise);
  await tell("b", "b");
  await first;
  // The first is over and the second is not.
  const third = tell("a", "a3");
  await tell("b", "b again");
  assert.deepEqual([told, queues.size], [["a1", "b", "b again"], 1]);
  gate.resolve();
  await Promise.all([second, third]);
  assert.deepEqual([told.slice(3), queues.size], [["a2", "a3"], 0]);
});

test("a key whose work is over is forgotten, also where the work failed", async () => {
  const queues = new KeyedWorkQueues();
  await Promise.all(Array.from({ length: 1000 }, (_, i) => queues.run(`${i}`, async () => i)));
  const failing = queues.run("x", () => Promise.reject(new Error("failed")));
  const behind = queues.run("x", async () => "done");
  await assert.rejects(failing, /failed/);
  assert.equal(await behind, "done");
  assert.equal(queues.size, 0);
});

test("settling waits for what was handed in, of every key", async () => {
  const queues = new KeyedWorkQueues();
  const gate = Promise.withResolvers<void>();
  let over = 0;
  for (const key of ["a", "b", "a"]) {
    void queues.run(key, async () => {
      await gate.promise;
      over += 1;
    });
  }
  const settled = queues.settled().then(() => over);
  gate.resolve();
  assert.equal(await settled, 3);
  assert.equal(queues.size, 0);
});
