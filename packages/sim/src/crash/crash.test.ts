import assert from "node:assert/strict";
import { after, test } from "node:test";
import { type BugName, bugs } from "@millrace/log";
import { Counts } from "./faults.ts";
import { switchesWithout } from "./kinds.ts";
import { explore, Finding } from "./suite.ts";

/**
 * Seeds whose workloads are crashed at their I/O steps. More with MILLRACE_CRASH_SEEDS=FIRST:COUNT.
 */
const [firstSeed = 1, seedCount = 40] = (process.env["MILLRACE_CRASH_SEEDS"] ?? "")
  .split(":")
  .filter((text) => text !== "")
  .map(Number);

const counts = new Counts();
const on = switchesWithout([]);
const operations = 60;

for (let seed = firstSeed; seed < firstSeed + seedCount; seed += 1) {
  // One seed in twenty is short and crashed at every step, the others at some.
  const short = seed % 20 === 1;
  const [operations, every] = short ? [20, 1] : [60, 16];
  const steps = short ? "every I/O step" : `every ${every}th I/O step`;
  test(`seed ${seed}: a crash at ${steps} breaks no promise`, async () => {
    const crashesAt = (step: number): boolean => (step + seed) % every === 0;
    await explore({ seed, on, counts, operations, crashesAt });
  });
}

test("the same seed gives the same run", async () => {
  const run = async (): Promise<string> => {
    const own = new Counts();
    const lines: string[] = [];
    const trace = (line: string): void => void lines.push(line);
    const crashesAt = (step: number): boolean => step % 60 === 7;
    await explore({ seed: 4242, on, counts: own, operations, crashesAt, trace });
    return JSON.stringify([lines, own.entries()]);
  };
  assert.equal(await run(), await run());
});

after(() => {
  const lines = counts.entries().map(([what, count]) => `  ${String(count).padStart(8)} ${what}`);
  console.log(`crash suite:\n${lines.join("\n")}`);
});

/** What a bug costs at most before the suite has found it, in seeds. */
const budget = 60;

const findBug = async (): Promise<string | undefined> => {
  const own = new Counts();
  for (let seed = 1; seed <= budget; seed += 1) {
    const crashesAt = (step: number): boolean => step % 5 === seed % 5;
    try {
      await explore({ seed, on, counts: own, operations, crashesAt });
    } catch (thrown) {
      if (!(thrown instanceof Finding)) throw thrown;
      return thrown.message;
    }
  }
  return undefined;
};

for (const name of Object.keys(bugs) as BugName[]) {
  test(`the suite finds the seeded bug ${name}`, async (context) => {
    bugs[name] = true;
    try {
      const found = await findBug();
      assert.ok(found !== undefined, `${name} was not found with ${budget} seeds`);
      context.diagnostic(`${name}: ${found}`);
    } finally {
      bugs[name] = false;
    }
  });
}
