/** The seeds of clusters of three and four that every test run simulates, and what they reach. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { Apart } from "@millrace/sim/node";
import { Totals } from "./totals.ts";

const [firstSeed = 1, seedCount = 16] = (process.env["MILLRACE_CLUSTER_SEEDS"] ?? "")
  .split(":")
  .filter((text) => text !== "")
  .map(Number);

const seeds = new Apart<typeof import("./seed-runs.ts")>(new URL("seed-runs.ts", import.meta.url));
const totals = new Totals(3);

for (let seed = firstSeed; seed < firstSeed + seedCount; seed += 1) {
  test(`seed ${seed}: three brokers lose nothing that was acknowledged or read`, async () => {
    totals.add(await seeds.call("runClusterSeed", seed, { brokers: 3 }));
  });
}

for (let seed = firstSeed; seed < firstSeed + Math.ceil(seedCount / 2); seed += 1) {
  test(`seed ${seed}: partitions move between four brokers, and lose nothing`, async () => {
    await seeds.call("runClusterSeed", seed, { brokers: 4 });
  });
}

for (const layout of ["together", "apart"] as const) {
  test(`the same seed gives the same run of a cluster, ${layout}`, async () => {
    const run = () => seeds.call("runClusterSeed", 4242, { brokers: 3, layout });
    const [first, second] = [await run(), await run()];
    assert.equal(first.traceHash, second.traceHash);
  });
}

test("the seeds of a cluster reach every mark", { skip: seedCount < 100 }, () => {
  assert.deepEqual(totals.missing(), []);
});

after(() => {
  console.log(`simulation of three: ${totals.summary()}`);
});
