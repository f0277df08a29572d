/** What the check of a directory must not take for damage. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { syncCompressor } from "@millrace/record/node";
import { Incarnation } from "@millrace/sim";
import { appendAll, batchOf } from "../testing.ts";
import { simulate } from "../testing-sim.ts";
import { verifyDirectory } from "../tools/verify.ts";

test("a log that was cut behind its recovery point is not damaged, wherever the cut was ended", async () => {
  for (let seed = 1; seed <= 60; seed += 1) {
    await simulate({ seed, log: { indexIntervalBytes: 500 } }, async (simulation) => {
      const { disk, kernel, sleep, start } = simulation;
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      await appendAll(
        log,
        Array.from({ length: 10 }, () => batchOf([{ value: "x".repeat(300) }])),
      );
      await log.flush();
      void log.truncateTo(4).catch(() => {});
      await sleep(seed / 10);
      first.die("process");
      const names = disk.mount(new Incarnation(kernel));
      const { damages } = await verifyDirectory(names, syncCompressor);
      assert.deepEqual(damages, [], `seed ${seed}`);
    });
  }
});

test("a log that was cut at its start is not damaged after a clean stop", async () => {
  await simulate({}, async ({ disk, kernel, start }) => {
    const { log: logOf, manager } = await start();
    const log = await logOf();
    await log.becomeLeader(1);
    const pair = batchOf([{ value: "a" }, { value: "b" }]);
    await appendAll(log, [pair, pair]);
    await log.advanceLogStart(3);
    // The batch below the log start goes, too.
    await log.truncateTo(3);
    await manager.close(true);
    const names = disk.mount(new Incarnation(kernel));
    const { clean, damages } = await verifyDirectory(names, syncCompressor);
    assert.deepEqual({ clean, damages }, { clean: true, damages: [] });
  });
});

test("an index that a power cut tore in the segment of the recovery point is not damage", async () => {
  const settings = { log: { segmentBytes: 1500, indexIntervalBytes: 1 } };
  for (let seed = 1; seed <= 60; seed += 1) {
    await simulate({ seed, ...settings }, async ({ disk, kernel, sleep, start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      const batches = Array.from({ length: 4 }, () => batchOf([{ value: "x".repeat(300) }]));
      await appendAll(log, batches);
      await log.flush();
      await appendAll(log, batches);
      await sleep(50);
      first.die("power");
      const names = disk.mount(new Incarnation(kernel));
      const { damages } = await verifyDirectory(names, syncCompressor);
      assert.deepEqual(damages, [], `seed ${seed}`);
    });
  }
});
