/** What the next start must know of a partition that is offline, when the disk hardly answers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode } from "@millrace/errors";
import { appendAll, batchOf, readAll } from "../testing.ts";
import { simulate } from "../testing-sim.ts";

test("a start that can neither read a partition nor note that leaves its journal alone", async () => {
  await simulate({}, async ({ disk, start }) => {
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    await appendAll(log, [batchOf([{ value: "x" }])]);
    first.die("power");
    disk.fault = (operation, path) =>
      operation === "open" && /-00000\/(meta|offline\.tmp)$/.test(path) ? "EIO" : undefined;
    await assert.rejects(start(), (thrown) => hasCode(thrown, ErrorCode.STORAGE_ERROR));
    disk.fault = () => undefined;
    const again = await (await start()).log();
    assert.deepEqual([again.state.kind, again.leaderEpoch], ["online", 1]);
    assert.equal((await readAll(again, 0, 1e6, "log_end")).length, 1);
  });
});
