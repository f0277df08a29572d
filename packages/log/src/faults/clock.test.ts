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

const minute = 60_000;
const hour = 60 * minute;
const day = 24 * hour;
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

/** Both clocks of a process go on, without what happens meanwhile. */
const later = (clock: Clock, ms: number): void => {
  const { monoMs, wallMs } = clock;
  clock.monoMs = () => monoMs() + ms;
  clock.wallMs = () => wallMs() + ms;
};

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

test("a clock that jumped is believed after a day, or once records agree with it", () => {
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
    clock.pass(day - 10_001);
    assert.equal(retention.read(), records ? clock.wall : undefined, "not quite a day");
    clock.pass(1);
    assert.equal(retention.read(), clock.wall);
  }
});

test("records agree with a clock that is near them", () => {
  for (const [offMs, agrees] of [
    [30 * minute, true],
    [-30 * minute, true],
    [2 * hour, false],
    [-2 * hour, false],
  ] as const) {
    const clock = new FakeClock();
    const retention = new RetentionClock(clock, silentLogger, undefined);
    clock.wall += 8 * day;
    assert.equal(retention.read(), undefined);
    retention.observe(clock.wall + offMs);
    clock.pass(10_000);
    assert.equal(retention.read(), agrees ? clock.wall : undefined, `${offMs} ms off`);
  }
});

test("minutes are no jump, half an hour is", () => {
  for (const [byMs, believed] of [
    [4 * minute, true],
    [-4 * minute, true],
    [30 * minute, false],
    [-30 * minute, false],
  ] as const) {
    const clock = new FakeClock();
    const retention = new RetentionClock(clock, silentLogger, undefined);
    clock.wall += byMs;
    assert.equal(retention.read(), believed ? clock.wall : undefined, `${byMs} ms`);
  }
});

test("steps that are no jump do not add up to one", () => {
  const clock = new FakeClock();
  const retention = new RetentionClock(clock, silentLogger, undefined);
  clock.wall += 4 * minute;
  assert.equal(retention.read(), clock.wall);
  for (let readings = 0; readings < 1000; readings += 1) {
    clock.pass(minute);
    clock.wall += 4 * minute;
    assert.equal(retention.read(), undefined);
  }
});

test("a clock that gains is believed as long as records agree with it", () => {
  const clock = new FakeClock();
  const retention = new RetentionClock(clock, silentLogger, undefined);
  let gained = 0;
  for (let readings = 0; readings < 1000; readings += 1) {
    clock.pass(minute);
    clock.wall += 4 * minute;
    gained += 4 * minute;
    retention.observe(clock.wall - gained);
    if (retention.read() === undefined) break;
  }
  // The records' hour, and one jump more.
  assert.ok(gained > 50 * minute && gained <= 70 * minute, `${gained / minute} min`);
});

test("a clock that was put right by small steps is believed for good", () => {
  const clock = new FakeClock();
  const retention = new RetentionClock(clock, silentLogger, undefined);
  for (let readings = 0; readings < 10; readings += 1) {
    clock.pass(minute);
    clock.wall -= 4 * minute;
    retention.observe(clock.wall);
    assert.equal(retention.read(), clock.wall);
  }
});

test("a doubt ends although the process is started again every day", () => {
  const clock = new FakeClock();
  let knownMs = clock.wall;
  const start = (offMs: number): RetentionClock => {
    clock.wall += offMs;
    return new RetentionClock(clock, silentLogger, knownMs);
  };
  // Off for ten minutes once, then for twenty seconds a day. No record agrees with the clock.
  let retention = start(10 * minute);
  const believed: boolean[] = [];
  for (let days = 0; days < 3; days += 1) {
    for (let hours = 0; hours < 23; hours += 1) {
      clock.pass(hour);
      retention.read();
    }
    believed.push(retention.read() !== undefined);
    knownMs = retention.knownMs();
    retention = start(20_000);
  }
  assert.deepEqual(believed, [false, true, true]);
});

test("a doubt of a year does not end with a restart of the first day", () => {
  const clock = new FakeClock();
  let retention = new RetentionClock(clock, silentLogger, clock.wall - 365 * day);
  assert.equal(retention.read(), undefined);
  clock.pass(12 * hour);
  assert.equal(retention.read(), undefined);
  retention = new RetentionClock(clock, silentLogger, retention.knownMs());
  assert.equal(retention.read(), undefined);
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

test("a start with a clock ahead of the last checkpoint is in doubt", () => {
  const clock = new FakeClock();
  for (const aheadMs of [365 * day, 25 * hour, 23 * hour, 30 * minute, 6 * minute]) {
    const started = new RetentionClock(clock, silentLogger, now - aheadMs);
    assert.equal(started.read(), undefined, `${aheadMs} ms`);
    assert.equal(started.knownMs(), now - aheadMs);
  }
  assert.equal(new RetentionClock(clock, silentLogger, now - 4 * minute).read(), now);
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

for (const aheadMs of [23 * hour, 365 * day]) {
  const how = `a start with a clock ${aheadMs / hour} h ahead`;
  test(`${how} deletes nothing of an idle topic for a day`, async () => {
    await simulate({ log: { retentionMs: 2 * hour } }, async ({ kernel, sleep, start }) => {
      const first = await start();
      await appendAll(await first.log(), [batchOf([{ value: "fresh", timestampMs: now }])]);
      await first.manager.close(true);
      first.die("process");
      kernel.wallOffsetMs = aheadMs;
      const second = await start();
      const log = await second.log();
      log.updateHighWatermark(1);
      for (let hours = 0; hours < 24; hours += 1) {
        await log.runRetention();
        assert.equal(log.logStartOffset, 0, `${hours} h`);
        later(second.clock, hour);
        await sleep(1);
      }
      for (let i = 0; i < 2; i += 1) await log.runRetention();
      assert.equal(log.logStartOffset, 1);
    });
  });
}

test("a start after a day off deletes what is old once a record agrees with the clock", async () => {
  await simulate({ log: { retentionMs: 2 * hour } }, async ({ kernel, sleep, start }) => {
    const first = await start();
    await appendAll(await first.log(), [batchOf([{ value: "old", timestampMs: now }])]);
    await first.manager.close(true);
    first.die("process");
    kernel.wallOffsetMs = day;
    const second = await start();
    const log = await second.log();
    log.updateHighWatermark(1);
    await log.runRetention();
    await appendAll(await second.log(1), [batchOf([{ value: "new", timestampMs: now + day }])]);
    await sleep(5 * minute);
    for (let i = 0; i < 2; i += 1) await log.runRetention();
    assert.equal(log.logStartOffset, 1);
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
