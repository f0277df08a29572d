import assert from "node:assert/strict";
import { after, test } from "node:test";
import { type BugName, bugs } from "@millrace/log";
import { countSteps, crashAndRot, crashOnce, noCounts } from "./suite.ts";

/** Seeds whose workloads are crashed at every step. More with MILLRACE_CRASH_SEEDS=FIRST:COUNT. */
const [firstSeed = 1, seedCount = 6] = (process.env["MILLRACE_CRASH_SEEDS"] ?? "")
  .split(":")
  .filter((text) => text !== "")
  .map(Number);

const counts = noCounts();

for (let seed = firstSeed; seed < firstSeed + seedCount; seed += 1) {
  test(`seed ${seed}: a crash at every I/O step loses nothing that was promised`, async () => {
    const steps = await countSteps(seed);
    assert.ok(steps > 100);
    for (let at = 1; at <= steps; at += 1) {
      try {
        await crashOnce(seed, at, counts);
        if (at % 3 === 0) await crashAndRot(seed, at, counts);
      } catch (thrown) {
        throw new Error(`seed ${seed}, crash at step ${at} of ${steps}`, { cause: thrown });
      }
    }
  });
}

after(() => {
  console.log(
    `crash suite: ${counts.stepsCrashed} I/O steps crashed, ${counts.recoveries} recoveries, ` +
      `${counts.crashesInRecovery} crashes in recovery, ${counts.damageInjected} times damage injected ` +
      `(${counts.partitionsOffline} partitions taken offline)`,
  );
});

/** What a bug costs at most before the suite has found it, in crashes. */
const budget = 20_000;

const findBug = async (): Promise<string | undefined> => {
  let crashes = 0;
  const ignored = noCounts();
  for (let seed = 1; crashes < budget; seed += 1) {
    let steps = 700;
    try {
      steps = await countSteps(seed);
    } catch (thrown) {
      return String(thrown);
    }
    for (let at = 5; at <= steps && crashes < budget; at += 3) {
      crashes += 1;
      try {
        await crashOnce(seed, at, ignored);
        await crashAndRot(seed, at, ignored);
      } catch (thrown) {
        return `seed ${seed}, step ${at}: ${thrown instanceof Error ? thrown.message : thrown}`;
      }
    }
  }
  return undefined;
};

for (const name of Object.keys(bugs) as BugName[]) {
  test(`the suite finds the seeded bug ${name}`, async (context) => {
    bugs[name] = true;
    try {
      const found = await findBug();
      assert.ok(found !== undefined, `${name} was not found in ${budget} crashes`);
      context.diagnostic(`${name}: ${found}`);
    } finally {
      bugs[name] = false;
    }
  });
}
