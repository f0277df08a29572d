import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { noPauses, Pace } from "../files/breathe.ts";
import { appendAll, batchOf, keepingLogger, topicA } from "../testing.ts";
import { simulate } from "../testing-sim.ts";
import { evenSize, ProducerBudget } from "./producer-budget.ts";
import { ProducerState } from "./producer-state.ts";
import { expiredPerCall, expiryGraceMs, ProducerTable } from "./producer-table.ts";

const infoOf = (producerId: number, baseSequence = 0) => ({
  ...({ compression: "none", recordCount: 1, baseTimestampMs: 0, maxTimestampMs: 0 } as const),
  ...{ producerId, producerEpoch: 0, baseSequence, transactional: false, control: 0 },
  ...{ lastOffsetDelta: 0, records: new Uint8Array(0) },
});

const setUp = (max: number, count: number) => {
  const forgotten: number[] = [];
  const tables: ProducerTable[] = [];
  const budget = new ProducerBudget(
    max,
    () => tables.map((table) => Object.assign(table, { pending: 0 })),
    (n) => forgotten.push(n),
  );
  tables.push(...Array.from({ length: count }, () => new ProducerTable(budget)));
  return { budget, forgotten, tables };
};

test("tables are cut to the largest even size that fits, and none that is smaller", () => {
  const sizes = fc.array(fc.nat(50), { maxLength: 20 });
  fc.assert(
    fc.property(sizes, fc.nat(300), (all, total) => {
      const most = evenSize(
        all.map((size) => ({ size })),
        total,
      );
      const cut = (size: number) => all.reduce((sum, one) => sum + Math.min(one, size), 0);
      if (cut(Number.POSITIVE_INFINITY) <= total) assert.equal(most, Number.POSITIVE_INFINITY);
      else if (most > 1 || cut(1) <= total) {
        assert.ok(cut(most) <= total, "they fit");
        assert.ok(cut(most + 1) > total, "a larger size would not");
      }
    }),
  );
});

test("who makes up producers loses his own, not those of others", () => {
  const { budget, forgotten, tables } = setUp(160, 4);
  const [small, large] = tables;
  assert.ok(small !== undefined && large !== undefined);
  for (let id = 0; id < 20; id += 1) small.record(infoOf(id), id, 1);
  for (let id = 0; id < 1000; id += 1) {
    large.record(infoOf(id), id, 1);
    assert.ok(budget.count <= 160 && budget.count === small.size + large.size);
  }
  assert.equal(small.size, 20);
  // The newest are known: a retry of theirs is recognised.
  assert.equal(large.check(infoOf(999))?.baseOffset, 999);
  assert.equal(large.check(infoOf(0)), undefined);
  // Not for every append: a sixteenth of the bound goes at a time.
  assert.ok(forgotten.length < 100 && forgotten.every((n) => n > 10), String(forgotten));
  assert.equal(
    forgotten.reduce((sum, n) => sum + n, 0),
    1020 - budget.count,
  );
});

test("many small tables are cut to one size, also those that a start found", () => {
  const forgotten: number[] = [];
  const tables = Array.from({ length: 20_000 }, () => ({
    size: 2,
    pending: 7,
    trim(most: number): void {
      budget.changed(most - this.size);
      this.size = most;
    },
  }));
  const budget: ProducerBudget = new ProducerBudget(
    30_000,
    () => tables,
    (n) => forgotten.push(n),
  );
  // A start does it in steps.
  const recount = budget.recount();
  let steps = 0;
  while (recount.next().done !== true) {
    steps += 1;
    assert.ok(steps < 100, "it ends");
  }
  assert.ok(steps > 15, `${steps} steps`);
  assert.deepEqual([budget.count, forgotten], [20_000, [20_000]]);
  assert.ok(!budget.hasRoomFor(1), "what is kept for snapshots is counted, too");
});

test("an append looks at some of ten thousand tables, and the next ones at the rest", () => {
  const { budget, forgotten, tables } = setUp(120_000, 10_000);
  for (const table of tables) for (let id = 0; id < 12; id += 1) table.record(infoOf(id), id, 1);
  assert.deepEqual([budget.count, forgotten], [120_000, []]);
  let appends = 0;
  for (; forgotten.length === 0; appends += 1) {
    const [before, table] = [budget.count, tables.at(-1 - appends)];
    table?.record(infoOf(100), 100, 1);
    assert.ok(before - budget.count <= 1024, `${before - budget.count} at once`);
    assert.ok(budget.count <= 120_001);
  }
  assert.ok(appends >= 9 && appends <= 11, `${appends} appends`);
  assert.equal(Math.max(...tables.map(({ size }) => size)), 11, "all of them are cut alike");
  assert.equal(120_000 + appends - (forgotten[0] ?? 0), budget.count);
});

test("where there are more tables than producers allowed, not every append cuts them", () => {
  const { budget, forgotten, tables } = setUp(64, 200);
  for (const table of tables) for (let id = 0; id < 100; id += 1) table.record(infoOf(id), id, 1);
  assert.ok(budget.count >= 200 && budget.count <= 230, String(budget.count));
  const largest = Math.max(...tables.map(({ size }) => size));
  assert.ok(largest <= 30, `${largest} of one`);
  assert.ok(forgotten.length < 4000, `${forgotten.length} times for 20,000 appends`);
});

test("a producer that is forgotten while its batch is under way stays so", () => {
  const { budget } = setUp(1000, 0);
  const state = new ProducerState(budget);
  const kept = state.latest.record(infoOf(2), 0, 1);
  const lost = state.latest.record(infoOf(1), 1, 1);
  assert.ok(kept !== undefined && lost !== undefined);
  state.latest.record(infoOf(2, 1), 2, 1);
  state.trim(1);
  state.adopt(lost);
  state.adopt(kept);
  assert.deepEqual([state.latest.size, state.completed.size], [1, 1]);
});

test("what tables let go of is counted", async () => {
  const { budget, tables } = setUp(1000, 2);
  const [table, other] = tables;
  assert.ok(table !== undefined && other !== undefined);
  for (let id = 0; id < 10; id += 1) table.record(infoOf(id), id, 1);
  table.record(infoOf(3, 1), 20, 1);
  assert.equal(budget.count, 10);
  await other.copyFrom(table, new Pace(noPauses, 1));
  assert.equal(budget.count, 20);
  table.trim(4);
  assert.equal(budget.count, 14);
  table.expire(2, 0);
  table.expire(2, expiryGraceMs);
  assert.equal(budget.count, 10);
  other.replace([]);
  assert.equal(budget.count, 0);
});

test("what is kept for snapshots has a bound of all partitions", () => {
  const { budget } = setUp(1000, 1);
  assert.ok(budget.hasRoomFor(131_072) && !budget.hasRoomFor(131_073));
  budget.pendingChanged(100_000);
  assert.ok(budget.hasRoomFor(31_072) && !budget.hasRoomFor(31_073));
  budget.pendingChanged(-1000);
  assert.ok(budget.hasRoomFor(32_072));
});

test("a roll takes no snapshot of producers for which there is no room", () => {
  const { budget } = setUp(1000, 0);
  const other = new ProducerState(budget);
  const state = new ProducerState(budget);
  for (let id = 0; id < 10; id += 1) state.latest.record(infoOf(id), id, 1);
  budget.pendingChanged(131_067);
  state.rolled(10);
  assert.equal(state.plan(20), undefined);
  budget.pendingChanged(-5);
  state.rolled(10);
  assert.deepEqual(
    state.plan(20)?.snapshots.map(({ offset }) => offset),
    [10],
  );
  other.latest.record(infoOf(1), 1, 1);
  other.rolled(1);
  assert.equal(other.plan(20), undefined, "the first has taken the room");
  state.beginAnew();
  other.rolled(1);
  assert.equal(other.plan(20)?.snapshots.length, 1);
});

test("a call of expire looks at few, and the next goes on behind them", () => {
  const table = new ProducerTable();
  const count = 2 * expiredPerCall + 10;
  for (let id = 0; id < count; id += 1) table.record(infoOf(id), id, 1);
  // Three calls are a pass, however many append meanwhile.
  for (let call = 0; call < 3; call += 1) {
    table.expire(2, call);
    for (let id = 0; id < 5; id += 1) table.record(infoOf(id, call + 1), count + call, 9);
  }
  assert.equal(table.size, count);
  table.expire(2, expiryGraceMs + 10);
  // The first five have moved to the end of the table.
  assert.equal(table.size, count - expiredPerCall);
  table.expire(2, expiryGraceMs + 10);
  table.expire(2, expiryGraceMs + 10);
  assert.deepEqual(
    table.entries().map(({ id }) => id),
    [0, 1, 2, 3, 4],
  );
});

test("who appends all the time keeps no pass of expire from its end", () => {
  const table = new ProducerTable();
  for (let id = 0; id <= expiredPerCall; id += 1) table.record(infoOf(id), id, id === 0 ? 1 : 9);
  const busy = (call: number): void => {
    for (let id = 1; id <= expiredPerCall; id += 1) table.record(infoOf(id, call), id, 9);
  };
  // The first one is idle. Each pass has two calls, and everybody else goes to the end meanwhile.
  for (let call = 0; call < 4; call += 1) {
    table.expire(2, call * expiryGraceMs);
    busy(call + 1);
  }
  assert.equal(table.size, expiredPerCall);
});

const only = (producerId: number) =>
  batchOf([{ value: "v" }], { producerId, producerEpoch: 0, baseSequence: 0 });

test("a directory remembers a bounded number of producers, over partitions and starts", async () => {
  const { logger, told } = keepingLogger();
  await simulate({ manager: { producersMax: 64 }, logger }, async (simulation) => {
    const first = await simulation.start();
    const [small, large] = [await first.log(0), await first.log(1)];
    for (const log of [small, large]) await log.becomeLeader(1);
    await appendAll(small, [1, 2, 3].map(only));
    await appendAll(
      large,
      Array.from({ length: 200 }, (_, i) => only(100 + i)),
    );
    assert.ok(first.manager.gauges().producers <= 64);
    assert.match(told.join(), /too many idempotent producers/);
    assert.equal(told.length, 1, "one warning a minute");
    for (const [log, id] of [
      [small, 1],
      [large, 299],
    ] as const) {
      assert.equal(log.append(only(id), 1, () => {}).duplicate, true);
    }
    await large.flush();
    first.die("process");
    simulation.configure({ producersMax: 16 });
    const again = await simulation.start();
    assert.equal(again.manager.gauges().producersMax, 16);
    assert.ok(again.manager.gauges().producers <= 15);
    const kept = await again.log(0);
    await kept.becomeLeader(2);
    assert.equal(kept.append(only(1), 2, () => {}).duplicate, true);
    await again.manager.delete(topicA, 1);
    assert.equal(again.manager.gauges().producers, 3);
  });
});

test("a producer that is forgotten while sequences are forgotten does not come back", async () => {
  const { budget, tables } = setUp(40_000, 2);
  const [a, b] = tables;
  assert.ok(a !== undefined && b !== undefined);
  for (let id = 0; id < 30_000; id += 1) a.record(infoOf(id), id, 1);
  const clock = { defer: (fn: () => void) => void setImmediate(fn) };
  const forgetting = a.forgetSequences(new Pace(clock, 8_192));
  // In the pause: too many for both tables.
  for (let id = 0; id < 25_000; id += 1) b.record(infoOf(100_000 + id), id, 1);
  await forgetting;
  assert.equal(a.size + b.size, budget.count);
  assert.equal(a.entries().at(-1)?.id, 29_999);
});
