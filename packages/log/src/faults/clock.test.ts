/**
 * Retention and the clock: what a wrong reading, an absent time and a time in the future must not
 * delete.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Clock } from "@millrace/env";
import { silentLogger } from "@millrace/env";
import { RetentionAnnouncements } from "../partition/retention.ts";
import { RetentionClock } from "../partition/retention-clock.ts";
import { appendAll, batchOf } from "../testing.ts";
import { simulate } from "../testing-sim.ts";

const day = 86_400_000;
const now = 1_700_000_000_000;

/** A clock whose readings a test sets. */
class FakeClock implements Clock {
  wall = now;
  mono = 0;
  wallMs = (): number => this.wall;
  monoMs = (): number => this.mono;
  timer = (): (() => void) => () => {};
  sleep = (): Promise<void> => Promise.resolve();
  defer = (): void => {};
  pass(ms: number): void {
    this.wall += ms;
    this.mono += ms;
  }
}

test("one wrong reading is not believed, and the right clock is, at once", () => {
  const clock = new FakeClock();
  const retention = new RetentionClock(clock, silentLogger, undefined);
  clock.pass(60_000);
  assert.equal(retention.read(), clock.wall);
  clock.wall += 8 * day;
  assert.equal(retention.read(), undefined);
  clock.wall -= 8 * day;
  clock.pass(60_000);
  assert.equal(retention.read(), clock.wall);
});

test("a clock that jumped is believed after an hour, or once records agree with it", () => {
  for (const records of [true, false]) {
    const clock = new FakeClock();
    const retention = new RetentionClock(clock, silentLogger, undefined);
    clock.wall += 8 * day;
    assert.equal(retention.read(), undefined);
    if (records) retention.observe(clock.wall - 1000);
    else retention.observe(now);
    assert.equal(retention.read(), undefined, "one reading");
    clock.pass(10_000);
    assert.equal(retention.read(), records ? clock.wall : undefined);
    clock.pass(3_600_000);
    assert.equal(retention.read(), clock.wall);
  }
});

test("a second jump begins the doubt anew", () => {
  const clock = new FakeClock();
  const retention = new RetentionClock(clock, silentLogger, undefined);
  clock.wall += 8 * day;
  assert.equal(retention.read(), undefined);
  clock.pass(3_000_000);
  clock.wall += day;
  assert.equal(retention.read(), undefined);
  clock.pass(3_000_000);
  assert.equal(retention.read(), undefined);
});

test("a start with a clock a year ahead of the last checkpoint is in doubt", () => {
  const clock = new FakeClock();
  assert.equal(new RetentionClock(clock, silentLogger, now - 365 * day).read(), undefined);
  assert.equal(new RetentionClock(clock, silentLogger, now - day / 2).read(), now);
  assert.equal(new RetentionClock(clock, silentLogger, now + 365 * day).read(), now);
});

test("a wrong reading deletes no records and forgets no producers", async () => {
  const log = { retentionMs: 7 * day };
  await simulate({ log }, async ({ start }) => {
    const life = await start();
    const log = await life.log();
    const producer = { producerId: 1, producerEpoch: 0, baseSequence: 0 };
    const batch = batchOf([{ value: "fresh", timestampMs: now }], producer);
    await appendAll(log, [batch]);
    const { wallMs } = life.clock;
    life.clock.wallMs = () => wallMs() + 8 * day;
    await log.runRetention();
    await log.runRetention();
    life.clock.wallMs = wallMs;
    await log.runRetention();
    assert.equal(log.logStartOffset, 0);
    assert.equal((await appendAll(log, [batch]))[0]?.duplicate, true);
  });
});

test("a start with a clock a year ahead deletes nothing that is minutes old", async () => {
  const log = { retentionMs: 7 * day };
  await simulate({ log }, async ({ start }) => {
    const first = await start();
    await appendAll(await first.log(), [batchOf([{ value: "fresh", timestampMs: now }])]);
    await first.manager.close(true);
    first.die("process");
    const kernelStart = start;
    const second = await kernelStart();
    const { wallMs } = second.clock;
    second.clock.wallMs = () => wallMs() + 365 * day;
    const again = await second.log();
    again.updateHighWatermark(1);
    for (let i = 0; i < 3; i += 1) await again.runRetention();
    assert.equal(again.logStartOffset, 0);
  });
});

test("absent times and times in the future count from the append", async () => {
  for (const timestampMs of [0, now + 100 * day]) {
    for (const restart of [false, true]) {
      const settings = { log: { retentionMs: 1000, segmentBytes: 100 } };
      await simulate(settings, async ({ sleep, start }) => {
        let life = await start();
        let log = await life.log();
        await appendAll(log, [batchOf([{ value: "a".repeat(100), timestampMs }])]);
        await appendAll(log, [batchOf([{ value: "b".repeat(100), timestampMs }])]);
        if (restart) {
          await life.manager.close(true);
          life.die("process");
          life = await start();
          log = await life.log();
          log.updateHighWatermark(2);
        }
        await log.runRetention();
        await log.runRetention();
        assert.equal(log.logStartOffset, 0, "deleted at once");
        await sleep(5000);
        await log.runRetention();
        await log.runRetention();
        assert.equal(log.logStartOffset, 2, "kept for ever");
      });
    }
  }
});

test("more than half of a partition goes one round after it was announced, unless somebody asked", async () => {
  const settings = { log: { retentionMs: 1000, segmentBytes: 400 } };
  await simulate(settings, async ({ start }) => {
    const log = await (await start()).log();
    const old = Array.from({ length: 20 }, () => batchOf([{ value: "x".repeat(100) }]));
    await appendAll(log, old);
    assert.equal(await log.runRetention(), 0);
    assert.equal(log.logStartOffset, 0);
    assert.ok((await log.runRetention()) > 0);
    assert.equal(log.logStartOffset, 20);
    await appendAll(log, old);
    log.updateConfig({ ...log.config, retentionMs: 500 });
    assert.ok((await log.runRetention()) > 0);
    assert.equal(log.logStartOffset, 40);
  });
});

test("what was announced is not more than what goes", () => {
  const announcements = new RetentionAnnouncements();
  const plan = (startOffset: number, oldBytes: number) => ({ startOffset, oldBytes, roll: false });
  const log = { logStartOffset: 2, sizeBytes: 100 };
  assert.equal(announcements.startFor(plan(5, 60), log), 2);
  assert.equal(announcements.startFor(plan(9, 90), log), 5, "more than was announced");
  assert.equal(announcements.startFor(plan(9, 90), log), 9);
  assert.equal(announcements.startFor(plan(9, 50), log), 9, "half is usual");
});

test("the largest time that can be read is looked for above the log start alone", async () => {
  await simulate({}, async ({ start }) => {
    const log = await (await start()).log();
    const at = (timestampMs: number) => batchOf([{ value: "x", timestampMs }]);
    await appendAll(log, [at(9000), at(1000), at(2000)]);
    await log.advanceLogStart(1);
    assert.deepEqual(await log.maxTimestamp(), { offset: 2, timestampMs: 2000, leaderEpoch: 1 });
    const mixed = [5000, 3000, 4000].map((timestampMs) => ({ value: "y", timestampMs }));
    await appendAll(log, [batchOf(mixed)]);
    await log.advanceLogStart(4);
    assert.deepEqual(await log.maxTimestamp(), { offset: 5, timestampMs: 4000, leaderEpoch: 1 });
  });
});
