/** Pools through everything that the harness can do to an operator and its servers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import {
  crashAtEveryWrite,
  runScenario,
  survivesFaults,
} from "../../runtime/testing/crash-points.ts";
import { manyFaults } from "../../runtime/testing/fake-api/faults.ts";
import { saysOf, scenarioOf } from "../broker/testing/scenarios.ts";

const faultSeeds = Number(process.env["MILLRACE_OPERATOR_SEEDS"] ?? 40);
const seeds = Array.from({ length: faultSeeds }, (_, i) => 100 + i);

/** Three brokers, five, and new settings for all of them, one after the other. */
const growth = scenarioOf(
  async (stage) => {
    stage.makePool("main", {});
    await stage.settled("main", "AsSpecified");
    stage.makeTopics(4, [0, 1, 2]);
    stage.edit("main", { replicas: 5 });
    await stage.settled("main", "AsSpecified");
    stage.edit("main", { config: { "journal-file-bytes": 67_108_864 } });
    await stage.settled("main", "AsSpecified");
  },
  (server) => saysOf(server, "main") === "AsSpecified",
);

test("in peace: a pool grows, and every broker is restarted once under a lease", async () => {
  const run = await runScenario(growth, { seed: 1, steadyMs: 1_800_000 });
  assert.deepEqual(run.steadyWrites, []);
});

test("killed right before or after any of its writes, it ends in the same state", async () => {
  const writes = await crashAtEveryWrite(growth, 3);

  assert.ok(writes > 60, `${writes} writes`);
});

test("faults of every kind, and it ends in the same state", async () => {
  await survivesFaults(growth, manyFaults, seeds);
});
