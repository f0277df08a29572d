/** Crashes at every I/O step of a cleaning. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { syncCompressor } from "@millrace/record/node";
import type { CrashModel } from "@millrace/sim";
import { Incarnation } from "@millrace/sim";
import { appendKeyed, clean, closeSegments, compacted, turnsOf } from "../testing-compaction.ts";
import { allRecords, latestOf } from "../testing-keys.ts";
import { simulate } from "../testing-sim.ts";
import { verifyDirectory } from "../tools/verify.ts";

/** I/O steps of cleaning a log, or what a crash at one of them leaves: nothing is lost. */
const crashAt = async (step: number, how: CrashModel, seed: number): Promise<number> => {
  let steps = 0;
  await simulate(
    { seed, log: { ...compacted, segmentBytes: 1200 } },
    async ({ disk, kernel, start }) => {
      const first = await start();
      const log = await first.log();
      await appendKeyed(log, turnsOf(0, 16));
      await closeSegments(log);
      await log.flush();
      const before = latestOf(await allRecords(log));
      const firstStep = disk.steps;
      let died = false;
      disk.onStep = (at) => {
        if (at - firstStep !== step) return;
        died = true;
        first.die(how);
      };
      const cleaning = log.runCompaction();
      if (step === 0) await cleaning;
      else {
        void cleaning.catch(() => {});
        await kernel.runUntil(() => died);
      }
      steps = disk.steps - firstStep;
      disk.onStep = () => {};
      if (step === 0) first.die(how);
      // The index of another file would be believed.
      const dead = disk.mount(new Incarnation(kernel));
      assert.deepEqual((await verifyDirectory(dead, syncCompressor)).damages, [], `step ${step}`);
      const again = await start();
      const found = await again.log();
      assert.equal(found.state.kind, "online", `step ${step}`);
      assert.equal(found.logEndOffset, log.logEndOffset);
      const records = await allRecords(found);
      assert.deepEqual(latestOf(records), before, `step ${step}, ${how}`);
      // It goes on as if nothing had been.
      await appendKeyed(found, turnsOf(16, 20), 2);
      await closeSegments(found, 2);
      await clean(found);
      const after = await allRecords(found);
      assert.ok(after.length <= 5 + 24, `${after.length} records`);
      await again.manager.close(true);
      const files = await verifyDirectory(disk.mount(new Incarnation(kernel)), syncCompressor);
      assert.deepEqual(files.damages, []);
      const last = await start();
      assert.deepEqual(await allRecords(await last.log()), after);
      const left = disk.paths().filter((path) => path.endsWith(".tmp"));
      assert.deepEqual(left, []);
      await last.manager.close(true);
    },
  );
  return steps;
};

for (const how of ["process", "power"] as const) {
  test(`a cleaning that ends at any step by ${how} loses nothing`, async () => {
    const steps = await crashAt(0, how, 1);
    assert.ok(steps > 20, `${steps} steps`);
    for (let step = 1; step <= steps; step += 1) {
      await crashAt(step, how, step);
    }
  });
}

test("a cleaned segment never has the index of the one it was made from", async () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    await simulate({ seed, log: compacted }, async ({ disk, kernel, start }) => {
      const first = await start();
      const log = await first.log();
      await appendKeyed(log, turnsOf(0, 16));
      await closeSegments(log);
      await log.flush();
      let renamed = false;
      let died = false;
      disk.onStep = (_, what) => {
        if (renamed && what.startsWith("syncDirectory")) {
          died = true;
          first.die("power");
        }
        renamed ||= what.startsWith("rename") && what.includes(".log.tmp");
      };
      void log.runCompaction().catch(() => {});
      await kernel.runUntil(() => died);
      disk.onStep = () => {};
      const files = await verifyDirectory(disk.mount(new Incarnation(kernel)), syncCompressor);
      assert.deepEqual(files.damages, [], `seed ${seed}`);
    });
  }
});
