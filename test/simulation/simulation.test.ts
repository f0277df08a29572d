/** The seeds that every test run simulates, and what a campaign must reach. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Apart } from "@millrace/sim/node";
import { Totals } from "./totals.ts";

const [firstSeed = 1, seedCount = 60] = (process.env["MILLRACE_SIM_SEEDS"] ?? "")
  .split(":")
  .filter((text) => text !== "")
  .map(Number);

const seeds = new Apart<typeof import("./seed-runs.ts")>(new URL("seed-runs.ts", import.meta.url));
const totals = new Totals(undefined);

for (let seed = firstSeed; seed < firstSeed + seedCount; seed += 1) {
  test(`seed ${seed}: nothing acknowledged or read is lost`, async () => {
    totals.add(await seeds.call("runSeed", seed));
  });
}

test("the same seed gives the same run, event by event", async () => {
  const first = await seeds.call("traceSeed", 4242);
  const second = await seeds.call("traceSeed", 4242);
  assert.equal(first.report.traceHash, second.report.traceHash);
  assert.deepEqual(first.lines, second.lines);
  assert.ok(first.lines.length > first.report.events, "every event is in the trace");
  assert.notEqual(first.report.traceHash, (await seeds.call("runSeed", 4243)).traceHash);
});

test("a failure names the seed and the step", async () => {
  const found = await seeds.call("firstFailure", 400);
  const pattern = /seed [0-9]+, step [0-9]+, [0-9.]+ ms: /;
  assert.match(String(found), pattern, "the seeded bug is found");
});

test("the seeds reach every mark", { skip: seedCount < 60 }, () => {
  assert.deepEqual(totals.missing(), []);
});

after(() => {
  console.log(`simulation: ${totals.summary()}`);
});
