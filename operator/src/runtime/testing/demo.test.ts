/** The whole runtime, disturbed in every way that the API server of the tests knows. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { crashAtEveryWrite, runScenario, survivesFaults } from "./crash-points.ts";
import { demoScenario, electedDemoScenario } from "./demo.ts";
import { type Fault, manyFaults } from "./fake-api/faults.ts";

const faultSeeds = Number(process.env["MILLRACE_OPERATOR_SEEDS"] ?? 200);

const seeds = (from: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => from + i);

test("in peace: everything is made, and nothing is written any more", async () => {
  const run = await runScenario(demoScenario, { seed: 1, steadyMs: 1_800_000 });
  assert.deepEqual(run.steadyWrites, []);
  assert.ok(run.writes > 15, `${run.writes} writes`);
  const ready = {
    ...{ type: "Ready", status: "True", reason: "Made", message: "All is made." },
  };
  const finalizers = ["demo.millrace.dev/elsewhere"];
  const made = (id: string, text: string, owners?: string[]) => ({
    ...{ id, generation: undefined, finalizers: undefined, owners, hasHash: true },
    ...{ conditions: undefined, data: { [text]: "yes" } },
  });
  const demo = (id: string, generation: number) => ({
    ...{ id, generation, finalizers, owners: undefined, hasHash: false, data: undefined },
    conditions: [{ ...ready, observedGeneration: generation }],
  });
  assert.deepEqual(run.state, [
    made("configmaps default/a", "six", ["Demo a"]),
    made("configmaps default/c", "five", ["Demo c"]),
    made("configmaps elsewhere/a", "one"),
    made("configmaps elsewhere/c", "one"),
    demo("demos.demo.millrace.dev default/a", 3),
    demo("demos.demo.millrace.dev default/c", 2),
  ]);
});

test("a run is the same for the same seed", async () => {
  const options = { seed: 7, faults: manyFaults };
  assert.deepEqual(
    await runScenario(demoScenario, options),
    await runScenario(demoScenario, options),
  );
});

test("killed right before or after any of its writes, it ends in the same state", async () => {
  for (const seed of [1, 2]) {
    const writes = await crashAtEveryWrite(demoScenario, seed);
    assert.ok(writes > 15, `${writes} writes`);
  }
});

test("killed at any of its writes, those of its lease among them", async () => {
  const writes = await crashAtEveryWrite(electedDemoScenario, 3);
  assert.ok(writes > 40, `${writes} writes`);
});

test("faults of every kind, and it ends in the same state", async () => {
  const happened = await survivesFaults(demoScenario, manyFaults, seeds(1, faultSeeds));
  const { latencyMs: _latency, ...faults } = manyFaults;
  for (const fault of Object.keys(faults) as Fault[]) {
    assert.ok((happened.get(fault) ?? 0) > 10, `${fault}: ${happened.get(fault)} times`);
  }
});

test("faults of every kind with an election", async () => {
  await survivesFaults(electedDemoScenario, manyFaults, seeds(1000, faultSeeds / 10));
});
