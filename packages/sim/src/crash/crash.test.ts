import assert from "node:assert/strict";
import { after, test } from "node:test";
import { type BugName, bugs } from "@millrace/log";
import { Apart } from "../node/apart.ts";

/**
 * Seeds whose workloads are crashed at their I/O steps. More with MILLRACE_CRASH_SEEDS=FIRST:COUNT.
 */
const [firstSeed = 1, seedCount = 40] = (process.env["MILLRACE_CRASH_SEEDS"] ?? "")
  .split(":")
  .filter((text) => text !== "")
  .map(Number);

const suite = new Apart<typeof import("./suite-runs.ts")>(
  new URL("suite-runs.ts", import.meta.url),
);

for (let seed = firstSeed; seed < firstSeed + seedCount; seed += 1) {
  // One seed in twenty is short and crashed at every step, the others at some.
  const short = seed % 20 === 1;
  const [operations, every] = short ? ([20, 1] as const) : ([60, 16] as const);
  const steps = short ? "every I/O step" : `every ${every}th I/O step`;
  test(`seed ${seed}: a crash at ${steps} breaks no promise`, async () => {
    await suite.call("exploreSeed", seed, operations, every);
  });
}

test("the same seed gives the same run", async () => {
  assert.equal(await suite.call("traceOf", 4242), await suite.call("traceOf", 4242));
});

after(async () => {
  const lines = (await suite.call("countsSoFar")).map(
    ([what, count]) => `  ${String(count).padStart(8)} ${what}`,
  );
  console.log(`crash suite:\n${lines.join("\n")}`);
});

/** What a bug costs at most before the suite has found it, in seeds. */
const budget = 60;

for (const name of Object.keys(bugs) as BugName[]) {
  test(`the suite finds the seeded bug ${name}`, async (context) => {
    const found = await suite.call("findBug", name, budget);
    assert.ok(found !== undefined, `${name} was not found with ${budget} seeds`);
    context.diagnostic(`${name}: ${found}`);
  });
}
