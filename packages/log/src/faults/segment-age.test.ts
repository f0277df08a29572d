/** A segment rolls `segmentMs` after its first append, however often the process starts. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { appendAll, batchOf } from "../testing.ts";
import { simulate } from "../testing-sim.ts";

const minute = 60_000;

test("a segment rolls after its time, and retention goes on, also if the process starts often", async () => {
  const log = { segmentMs: 3 * minute, retentionMs: 6 * minute };
  await simulate({ log }, async ({ sleep, start }) => {
    // A record a minute, a start every two: for half an hour.
    for (let life = 0; life < 15; life += 1) {
      const { clock, die, log: logOf, manager } = await start();
      const log = await logOf();
      log.updateHighWatermark(log.logEndOffset);
      for (let i = 0; i < 2; i += 1) {
        await appendAll(log, [batchOf([{ value: "x", timestampMs: clock.wallMs() }])]);
        await sleep(minute);
        await log.runRetention();
      }
      if (life === 14) {
        assert.ok(log.segmentCount > 1, `${log.segmentCount} segments after half an hour`);
        assert.ok(log.logStartOffset >= 15, `begins at ${log.logStartOffset} of 30`);
      }
      await manager.close(true);
      die("process");
    }
  });
});

test("absent times that were appended under a clock ahead go once the clock is right", async () => {
  const log = { retentionMs: minute, segmentBytes: 100 };
  await simulate({ log }, async ({ kernel, sleep, start }) => {
    kernel.wallOffsetMs = 365 * 86_400_000;
    const { clock, log: logOf } = await start();
    const log = await logOf();
    await appendAll(log, [batchOf([{ value: "plain".repeat(30), timestampMs: 0 }])]);
    kernel.wallOffsetMs = 0;
    await log.runRetention();
    for (let i = 0; i < 20; i += 1) {
      await appendAll(log, [batchOf([{ value: "x".repeat(100), timestampMs: clock.wallMs() }])]);
      await sleep(minute);
      await log.runRetention();
    }
    assert.ok(log.logStartOffset > 0, "one batch keeps everything behind it for a year");
  });
});

test("a segment that was cut to nothing begins its time with its next batch", async () => {
  const log = { segmentMs: 10 * minute, segmentBytes: 10_000, retentionMs: -1 };
  await simulate({ log }, async ({ sleep, start }) => {
    const log = await (await start()).log();
    await appendAll(log, [batchOf([{ value: "cut" }])]);
    await sleep(8 * minute);
    await log.truncateTo(0);
    await appendAll(log, [batchOf([{ value: "kept" }])]);
    await sleep(8 * minute);
    await log.runRetention();
    assert.equal(log.segmentCount, 1);
    await sleep(3 * minute);
    await log.runRetention();
    assert.equal(log.segmentCount, 2);
  });
});

test("the age of a segment that was cut is not that of what was cut off", async () => {
  const log = { segmentBytes: 10_000, retentionMs: 10 * minute };
  await simulate({ log }, async ({ sleep, start }) => {
    const log = await (await start()).log();
    await appendAll(log, [batchOf([{ value: "kept", timestampMs: 0 }])]);
    await sleep(12 * minute);
    await appendAll(log, [batchOf([{ value: "cut", timestampMs: 0 }])]);
    await log.truncateTo(1);
    log.updateHighWatermark(1);
    await log.runRetention();
    await log.runRetention();
    assert.equal(log.logStartOffset, 1);
  });
});

test("a topic's tiny segments are no smaller, nor younger, than the directory allows", async () => {
  const batch = () => batchOf([{ value: "x".padEnd(100, ".") }]);
  const one = { segmentBytes: 1, segmentMs: 1 };
  const manager = { segmentBytesMin: 1000, segmentMsMin: 500 };
  await simulate({ log: one, manager }, async ({ sleep, start }) => {
    const log = await (await start()).log();
    await log.becomeLeader(1);
    await appendAll(log, [batch(), batch()]);
    await sleep(100);
    await appendAll(log, [batch()]);
    assert.equal(log.segmentCount, 1);
    await sleep(410);
    await appendAll(log, [batch()]);
    assert.equal(log.segmentCount, 2, "it was old enough");
    await appendAll(log, [batch(), batch(), batch(), batch(), batch(), batch()]);
    assert.equal(log.segmentCount, 3, "it was large enough");
    log.updateConfig({ ...log.config, ...one });
    await appendAll(log, [batch()]);
    assert.equal(log.segmentCount, 3);
  });
});
