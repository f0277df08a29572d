import assert from "node:assert/strict";
import { test } from "node:test";
import { Incarnation, Kernel } from "./kernel.ts";

const until = (kernel: Kernel, ms: number): Promise<void> => {
  let over = false;
  kernel.schedule(ms, () => {
    over = true;
  });
  return kernel.runUntil(() => over);
};

/** Two events, the second named; the hash of the run. */
const hashOf = async (firstMs: number, name: string): Promise<number> => {
  const kernel = new Kernel(1);
  kernel.schedule(firstMs, () => {});
  kernel.schedule(5, () => {}, name);
  await until(kernel, 10);
  return kernel.traceHash;
};

test("the hash covers every event: its time, its name, its place", async () => {
  const hash = await hashOf(1, "a");
  assert.equal(await hashOf(1, "a"), hash);
  assert.notEqual(await hashOf(1, "b"), hash);
  assert.notEqual(await hashOf(1.0000000001, "a"), hash);
  assert.notEqual(await hashOf(7, "a"), hash);
});

test("the text of a trace has every event with its step and time", async () => {
  const kernel = new Kernel(1);
  const lines: string[] = [];
  kernel.onTrace = (line) => lines.push(line);
  const process = new Incarnation(kernel, "p");
  process.schedule(1.5, () => kernel.trace("inside"), "work");
  await until(kernel, 2);
  assert.deepEqual(lines, ["1 1.500 ms p: work", "1 1.500 ms inside", "2 2.000 ms timer"]);
});

test("a promise that does not hold ends the run at its step", async () => {
  const kernel = new Kernel(1);
  kernel.schedule(1, () => kernel.marks.always(true, "fine"));
  kernel.schedule(2, () => kernel.marks.always(1 + 1 === 3, "sums are odd"));
  kernel.schedule(3, () => {});
  await assert.rejects(until(kernel, 10), /^Error: broken at step 2: sums are odd$/);
});

test("marks are counted", async () => {
  const kernel = new Kernel(1);
  for (const ms of [1, 2, 3]) kernel.schedule(ms, () => kernel.marks.sometimes("here"));
  await until(kernel, 10);
  assert.deepEqual([...kernel.marks.reached], [["here", 3]]);
});

/** Which of 40 questions at a place are answered with yes. */
const answers = (seed: number, place: string, others: readonly string[] = []): boolean[] => {
  const { marks } = new Kernel(seed);
  return Array.from({ length: 40 }, () => {
    for (const other of others) marks.buggify(other);
    return marks.buggify(place);
  });
};

test("buggify chooses a quarter of the runs, and then answers with its chance", () => {
  const seeds = Array.from({ length: 400 }, (_, i) => i + 1);
  const chosen = seeds.map((seed) => answers(seed, "a")).filter((all) => all.includes(true));
  assert.ok(chosen.length > 70 && chosen.length < 130, `${chosen.length} of 400`);
  const yes = chosen.flat().filter(Boolean).length / (chosen.length * 40);
  assert.ok(yes > 0.2 && yes < 0.3, String(yes));
  const { marks } = new Kernel(chosen.length);
  assert.equal(marks.buggify("a", 0), false);
});

test("a place of buggify is the same under the same seed, whatever other places do", () => {
  const seed = Array.from({ length: 100 }, (_, i) => i).find((one) =>
    answers(one, "a").includes(true),
  );
  assert.ok(seed !== undefined);
  assert.deepEqual(answers(seed, "a"), answers(seed, "a"));
  assert.deepEqual(answers(seed, "a", ["b", "c"]), answers(seed, "a"));
});

test("what came during a pause happens after it, in order, an event each", async () => {
  const kernel = new Kernel(1);
  const process = new Incarnation(kernel, "p");
  const ran: string[] = [];
  const note = (what: string) => () => ran.push(`${what} at ${kernel.nowMs}, ${kernel.events}`);
  process.schedule(10, note("first"));
  const cancel = process.schedule(11, note("cancelled"));
  process.schedule(12, note("second"));
  kernel.schedule(5, () => process.pause());
  kernel.schedule(20, () => cancel());
  kernel.schedule(50, () => process.resume());
  process.schedule(50, note("third"));
  await until(kernel, 49);
  assert.equal(ran.length, 0);
  await until(kernel, 10);
  // The one that falls due with the end of the pause stays behind those before it.
  assert.deepEqual(
    ran.map((line) => line.split(",")[0]),
    ["first at 50", "second at 50", "third at 50"],
  );
  assert.equal(new Set(ran.map((line) => line.split(",")[1])).size, 3);
});

test("a second pause stops the catching up", async () => {
  const kernel = new Kernel(1);
  const process = new Incarnation(kernel, "p");
  const ran: number[] = [];
  process.pause();
  process.run(() => {
    ran.push(1);
    process.pause();
  });
  process.run(() => ran.push(2));
  process.resume();
  await until(kernel, 10);
  assert.deepEqual(ran, [1]);
  process.resume();
  await until(kernel, 10);
  assert.deepEqual(ran, [1, 2]);
});

test("a killed process runs nothing, and the operating system cleans up after it once", async () => {
  const kernel = new Kernel(1);
  const process = new Incarnation(kernel, "p");
  const ran: string[] = [];
  process.whenKilled(() => ran.push("cleaned up"));
  const forget = process.whenKilled(() => ran.push("forgotten"));
  forget();
  process.schedule(5, () => ran.push("timer"));
  process.kill();
  process.kill();
  process.run(() => ran.push("run"));
  await until(kernel, 10);
  assert.deepEqual(ran, ["cleaned up"]);
});
