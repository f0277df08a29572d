/** What a restart, and the log's own clock, must not make of a clock in doubt. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { appendAll, batchOf } from "../testing.ts";
import { simulate } from "../testing-sim.ts";

const day = 86_400_000;
const now = 1_700_000_000_000;

for (const end of ["a clean stop", "a kill"]) {
  test(`a clock in doubt is still in doubt after ${end}`, async () => {
    await simulate({ log: { retentionMs: 7 * day } }, async ({ kernel, start }) => {
      const first = await start();
      await appendAll(await first.log(), [batchOf([{ value: "fresh", timestampMs: now }])]);
      await first.manager.close(true);
      first.die("process");
      kernel.wallOffsetMs = 365 * day;
      for (let life = 2; life <= 3; life += 1) {
        const next = await start();
        const log = await next.log();
        log.updateHighWatermark(1);
        for (let i = 0; i < 3; i += 1) await log.runRetention();
        assert.equal(log.logStartOffset, 0, `life ${life}`);
        // As every minute.
        await log.flush();
        if (end === "a clean stop") await next.manager.close(true);
        next.die("process");
      }
    });
  });
}

test("a clock that jumps while the log runs is still in doubt after a restart", async () => {
  await simulate({ log: { retentionMs: 7 * day } }, async ({ kernel, start }) => {
    const first = await start();
    const log = await first.log();
    await appendAll(log, [batchOf([{ value: "fresh", timestampMs: now }])]);
    kernel.wallOffsetMs = 365 * day;
    await log.runRetention();
    await log.runRetention();
    assert.equal(log.logStartOffset, 0, "in doubt");
    await first.manager.close(true);
    first.die("process");
    const again = await (await start()).log();
    again.updateHighWatermark(1);
    for (let i = 0; i < 3; i += 1) await again.runRetention();
    assert.equal(again.logStartOffset, 0);
  });
});

test("a record that was stamped with the log's own clock confirms nothing", async () => {
  const settings = { log: { retentionMs: 7 * day, segmentBytes: 100 } };
  await simulate(settings, async ({ kernel, sleep, start }) => {
    const { clock, log: logOf } = await start();
    const log = await logOf();
    const fresh = batchOf([{ value: "x".repeat(100), timestampMs: now }]);
    await appendAll(log, [fresh, fresh, fresh]);
    kernel.wallOffsetMs = 365 * day;
    await log.runRetention();
    // ProduceOnce stamps what has no timestamp with this clock.
    const own = batchOf([{ value: "own", timestampMs: clock.wallMs() }]);
    await appendAll(log, [{ ...own, ownTime: true }]);
    await sleep(5000);
    for (let i = 0; i < 3; i += 1) await log.runRetention();
    assert.equal(log.logStartOffset, 0);
  });
});

test("records without a timestamp that were appended under a clock of long ago are not old", async () => {
  await simulate({ log: { retentionMs: 7 * day } }, async ({ kernel, sleep, start }) => {
    // A machine without a battery, before its clock is set.
    kernel.wallOffsetMs = -400 * day;
    const { clock, log: logOf } = await start();
    const log = await logOf();
    await appendAll(log, [batchOf([{ value: "plain", timestampMs: 0 }])]);
    await sleep(60_000);
    kernel.wallOffsetMs = 0;
    await log.runRetention();
    // A client's record ends the doubt; a day would, too.
    await appendAll(await logOf(1), [batchOf([{ value: "now", timestampMs: clock.wallMs() }])]);
    await sleep(5000);
    for (let i = 0; i < 3; i += 1) await log.runRetention();
    assert.equal(log.logStartOffset, 0);
  });
});
