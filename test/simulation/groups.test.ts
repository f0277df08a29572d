/** The seeds of clusters with consumer groups that every test run simulates. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Apart } from "@millrace/sim/node";
import { Totals } from "./totals.ts";

const [firstSeed = 1, seedCount = 4] = (process.env["MILLRACE_GROUP_SEEDS"] ?? "")
  .split(":")
  .filter((text) => text !== "")
  .map(Number);

const seeds = new Apart<typeof import("./seed-runs.ts")>(new URL("seed-runs.ts", import.meta.url));
const totals = new Totals(3, "apart", true);

for (let seed = firstSeed; seed < firstSeed + seedCount; seed += 1) {
  test(`seed ${seed}: groups share partitions, and pass over nothing`, async () => {
    totals.add(await seeds.call("runClusterSeed", seed, { brokers: 3, groups: true }));
  });
}

test("the same seed gives the same run of a cluster with groups", async () => {
  const run = () => seeds.call("runClusterSeed", 4242, { brokers: 3, groups: true });
  const [first, second] = [await run(), await run()];
  assert.equal(first.traceHash, second.traceHash);
});

test("the seeds of groups reach every mark", { skip: seedCount < 100 }, () => {
  assert.deepEqual(totals.missing(), []);
});

after(() => {
  console.log(`simulation of groups: ${totals.summary()}`);
});
