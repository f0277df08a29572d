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
