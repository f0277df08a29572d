/** What is known of leader epochs when their file cannot be read. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { SimDisk } from "@millrace/sim";
import { appendAll, batchOf } from "../testing.ts";
import { simulate } from "../testing-sim.ts";

const hideEpochs = (disk: SimDisk): void => {
  disk.fault = (operation, path) =>
    operation === "read" && path.endsWith("/leader-epochs") ? "EIO" : undefined;
};

test("epochs that a truncation cut off do not come back with their file", async () => {
  await simulate({}, async ({ disk, start }) => {
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    await appendAll(log, [batchOf([{ value: "x" }])], 1);
    await log.becomeLeader(2);
    await log.flush();
    await log.truncateTo(0);
    first.die("process");
    hideEpochs(disk);
    const second = await start();
    assert.equal((await second.log()).leaderEpoch, 0);
    second.die("process");
    disk.fault = () => undefined;
    const again = await (await start()).log();
    assert.deepEqual([again.logEndOffset, again.leaderEpoch], [0, 0]);
  });
});

test("the epoch of an empty log outlives a clean stop without the file", async () => {
  await simulate({}, async ({ disk, start }) => {
    const first = await start();
    await (await first.log()).becomeLeader(3);
    await first.manager.close(true);
    first.die("process");
    hideEpochs(disk);
    const again = await (await start()).log();
    assert.deepEqual([again.state.kind, again.leaderEpoch], ["online", 3]);
  });
});
