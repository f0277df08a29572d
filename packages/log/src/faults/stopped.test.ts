/** A disk that failed stops the directory. What it dropped comes back with the next start. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode } from "@millrace/errors";
import { appendAll, batchOf, readAll } from "../testing.ts";
import { simulate } from "../testing-sim.ts";

const batches = Array.from({ length: 20 }, (_, i) =>
  batchOf([{ value: `v${i}`.padEnd(300, ".") }]),
);

test("a read that meets what a failed fsync dropped takes nothing offline for good", async () => {
  let met = 0;
  for (let seed = 1; seed <= 40; seed += 1) {
    await simulate({ seed }, async ({ disk, start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      await appendAll(log, batches);
      disk.fault = (operation, path) =>
        operation === "sync" && path.endsWith(".log") ? "EIO" : undefined;
      await assert.rejects(log.flush(), (e) => hasCode(e, ErrorCode.STORAGE_ERROR));
      disk.fault = () => undefined;
      const read = await readAll(log, 0).catch((thrown: unknown) => thrown);
      if (hasCode(read, ErrorCode.PARTITION_OFFLINE)) met += 1;
      await first.manager.close(true);
      first.die("process");
      const again = await (await start()).log();
      assert.deepEqual([again.state.kind, again.logEndOffset], ["online", 20], `seed ${seed}`);
      again.updateHighWatermark(20);
      assert.equal((await readAll(again, 0)).length, 20);
    });
  }
  assert.ok(met > 0, "nothing was dropped");
});
