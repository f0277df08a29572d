/** The queue against a model: what was asked for is done, no more often than it was asked for. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Incarnation, Kernel } from "@millrace/sim";
import fc from "fast-check";
import { type Outcome, WorkQueue } from "./queue.ts";

interface Step {
  readonly afterMs: number;
  readonly key: string;
  readonly delayMs: number;
}

const steps = fc.array(
  fc.record<Step>({
    afterMs: fc.integer({ min: 0, max: 900 }),
    key: fc.constantFrom("a", "b", "c"),
    delayMs: fc.constantFrom(0, 0, 0, 10, 700),
  }),
  { maxLength: 40 },
);

/** What is known of a key without knowing how a queue works. */
interface Known {
  /** When somebody last asked for it to run, and at the latest when. */
  askedMs: number;
  startedMs: number;
  isRunning: boolean;
  /** Before when it may not run, for it has failed. */
  earliestMs: number;
  asked: number;
  runs: number;
}

const play = async (plan: readonly Step[], seed: number, concurrency: number): Promise<void> => {
  const kernel = new Kernel(seed);
  const { random } = kernel;
  const clock = new Incarnation(kernel).clock();
  const known = new Map<string, Known>();
  const of = (key: string): Known => {
    const fresh = {
      asked: 0,
      runs: 0,
      askedMs: -1,
      startedMs: -1,
      isRunning: false,
      earliestMs: 0,
    };
    const one = known.get(key) ?? fresh;
    known.set(key, one);
    return one;
  };
  const ask = (one: Known, atMs: number): void => {
    one.asked += 1;
    one.askedMs = Math.max(one.askedMs, atMs);
  };
  let running = 0;
  const work = async (key: string): Promise<Outcome> => {
    const one = of(key);
    assert.equal(one.isRunning, false, "twice at once");
    assert.ok(clock.monoMs() >= one.earliestMs, "too early after a failure");
    running += 1;
    assert.ok(running <= concurrency, "too many at once");
    Object.assign(one, { isRunning: true, startedMs: clock.monoMs(), runs: one.runs + 1 });
    await clock.sleep(random.below(400));
    running -= 1;
    one.isRunning = false;
    const nowMs = clock.monoMs();
    one.earliestMs = 0;
    const chance = random.float();
    if (chance < 0.6) return { type: "done" };
    if (chance < 0.8) {
      // One who is asked for meanwhile comes at once, and again after that if it still wishes.
      one.asked += 1;
      return { type: "done", requeueAfterMs: random.below(500) };
    }
    one.earliestMs = nowMs + 1000;
    ask(one, nowMs);
    return { type: "retry" };
  };
  const queue = new WorkQueue({ name: "test", clock, random, concurrency, work });
  queue.start();
  const drive = async (): Promise<void> => {
    for (const { afterMs, key, delayMs } of plan) {
      await clock.sleep(afterMs);
      ask(of(key), clock.monoMs());
      if (delayMs > 0 && of(key).earliestMs === 0) queue.addAfter(key, delayMs);
      else queue.add(key);
    }
  };
  await kernel.run(drive());
  await kernel
    .runUntil(() => queue.size === 0)
    .catch((error: Error) => {
      if (queue.size > 0) throw error;
    });
  for (const [key, one] of known) {
    assert.ok(one.startedMs >= one.askedMs, `${key} was asked for and did not run`);
    assert.ok(one.runs <= one.asked, `${key} ran ${one.runs} times for ${one.asked} reasons`);
  }
};

test("whatever is asked for runs, one at a time, not too early and not too often", async () => {
  await fc.assert(fc.asyncProperty(steps, fc.nat(), fc.integer({ min: 1, max: 3 }), play), {
    numRuns: 150,
  });
});
