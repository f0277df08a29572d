import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "@millrace/env";
import { SerialWork } from "./serial-work.ts";

/** Work whose runs end when the test says so. */
const setUp = () => {
  const runs: PromiseWithResolvers<void>[] = [];
  const timers: { ms: number; fire: () => void; cancelled: boolean }[] = [];
  const pauses: number[] = [];
  const timer: Clock["timer"] = (ms, fire) => {
    const one = { ms, fire, cancelled: false };
    timers.push(one);
    return () => {
      one.cancelled = true;
    };
  };
  const work = new SerialWork({ timer } as Clock, {
    run: () => {
      const run = Promise.withResolvers<void>();
      runs.push(run);
      return run.promise;
    },
    failed: (_thrown, retryMs) => pauses.push(retryMs),
  });
  const end = async (error?: Error): Promise<void> => {
    const run = runs.at(-1);
    if (error === undefined) run?.resolve();
    else run?.reject(error);
    for (let i = 0; i < 5; i += 1) await Promise.resolve();
  };
  return { work, runs, timers, pauses, end };
};

test("work runs once at a time, and once more when it was asked for meanwhile", async () => {
  const { work, runs, end } = setUp();
  work.request();
  work.request();
  work.request();
  assert.equal(runs.length, 1);
  await end();
  assert.equal(runs.length, 2);
  await end();
  assert.deepEqual([runs.length, work.running], [2, undefined]);
});

test("work that failed runs again by itself, later each time, up to a minute", async () => {
  const { work, runs, timers, pauses, end } = setUp();
  work.request();
  for (let i = 0; i < 10; i += 1) {
    await end(new Error("EMFILE"));
    assert.equal(work.running, undefined, "nobody waits for a retry");
    timers.at(-1)?.fire();
  }
  assert.deepEqual(pauses, [500, 1000, 2000, 4000, 8000, 16_000, 32_000, 60_000, 60_000, 60_000]);
  assert.equal(runs.length, 11);
  await end();
  work.request();
  await end(new Error("EMFILE"));
  assert.equal(pauses.at(-1), 500, "a success starts it over");
});

test("a request does not wait for the retry", async () => {
  const { work, runs, timers, pauses, end } = setUp();
  work.request();
  work.request();
  await end(new Error("EMFILE"));
  assert.deepEqual([runs.length, pauses], [2, []], "asked for during the failure");
  await end(new Error("EMFILE"));
  work.request();
  assert.deepEqual([runs.length, timers[0]?.cancelled], [3, true]);
});

test("closed work neither runs nor tells", async () => {
  const { work, runs, timers, pauses, end } = setUp();
  work.request();
  work.request();
  work.close();
  await end(new Error("EMFILE"));
  work.request();
  assert.deepEqual([runs.length, timers.length, pauses], [1, 0, []]);
  const waiting = setUp();
  waiting.work.request();
  await waiting.end(new Error("EMFILE"));
  waiting.work.close();
  assert.equal(waiting.timers[0]?.cancelled, true);
});
