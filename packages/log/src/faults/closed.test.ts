/** A directory that is being closed: what it drops stays in the journal for the next start. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { appendAll, batchOf } from "../testing.ts";
import { simulate } from "../testing-sim.ts";

test("a checkpoint beside an unclean stop does not claim writes that were dropped", async () => {
  for (let seed = 1; seed <= 40; seed += 1) {
    await simulate({ seed, manager: { writeLingerMs: 1e6 } }, async ({ sleep, start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      await log.flush();
      // The journal has them, and no segment.
      await appendAll(log, [batchOf([{ value: "a" }]), batchOf([{ value: "b" }])]);
      const asking = sleep(seed / 20).then(() => log.flush().catch(() => {}));
      await first.manager.close(false);
      await asking;
      first.die("process");
      const { state, logEndOffset } = await (await start()).log();
      assert.deepEqual([state.kind, logEndOffset], ["online", 2], `seed ${seed}`);
    });
  }
});
