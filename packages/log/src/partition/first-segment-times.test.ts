/** Times are looked up in what can be read, and what was walked through once is remembered. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { SeededRandom } from "@millrace/sim";
import type { AppendBatch, PartitionLog } from "../api.ts";
import { appendAll, batchOf, type TestRecord } from "../testing.ts";
import { type Simulation, simulate } from "../testing-sim.ts";

const at = (timestampMs: number): TestRecord => ({ value: "x".repeat(100), timestampMs });

/** Reads of segments in `work`. */
const segmentReads = async (
  { disk }: Pick<Simulation, "disk">,
  work: () => Promise<unknown>,
): Promise<number> => {
  let reads = 0;
  disk.onStep = (_, what) => {
    if (what.startsWith("read ") && what.endsWith(".log")) reads += 1;
  };
  await work();
  disk.onStep = () => {};
  return reads;
};

test("the largest time of a log that begins inside of a segment is looked for once", async () => {
  await simulate({ manager: { journalFileBytes: 2 ** 24 } }, async (simulation) => {
    const log = await (await simulation.start()).log();
    const value = "x".repeat(100_000);
    const timestamps = [9000, ...Array.from({ length: 100 }, (_, i) => 1000 + (i % 50))];
    for (const timestampMs of timestamps) await appendAll(log, [batchOf([{ value, timestampMs }])]);
    await log.flush();
    await log.advanceLogStart(1);
    const largest = () => log.maxTimestamp();
    const expected = { offset: 50, timestampMs: 1049, leaderEpoch: 1 };
    assert.ok((await segmentReads(simulation, largest)) >= 10);
    assert.ok((await segmentReads(simulation, largest)) <= 1);
    assert.deepEqual(await largest(), expected);
    const late = () => log.offsetForTimestamp(5000);
    assert.ok((await segmentReads(simulation, late)) <= 1, "a time that was deleted");
    assert.equal(await late(), undefined);
    // What is appended is looked at, and nothing before it.
    await appendAll(log, [batchOf([at(2000)])]);
    assert.ok((await segmentReads(simulation, largest)) <= 2);
    assert.deepEqual(await largest(), { offset: 101, timestampMs: 2000, leaderEpoch: 1 });
    await log.truncateTo(101);
    assert.deepEqual(await largest(), expected);
    await log.advanceLogStart(51);
    assert.deepEqual(await largest(), { ...expected, offset: 100 });
  });
});

test("those that ask at once wait for one walk", async () => {
  await simulate({ manager: { journalFileBytes: 2 ** 24 } }, async (simulation) => {
    const log = await (await simulation.start()).log();
    const value = "x".repeat(100_000);
    for (let i = 0; i < 60; i += 1) await appendAll(log, [batchOf([{ value, timestampMs: i }])]);
    await log.flush();
    await log.advanceLogStart(1);
    const eight = () => Promise.all(Array.from({ length: 8 }, () => log.maxTimestamp()));
    const reads = await segmentReads(simulation, eight);
    assert.ok(reads <= 6 + 8 * 2, `${reads} reads`);
  });
});

/** What a client may read, record by record. */
class Records {
  readonly all: number[] = [];
  start = 0;
  end = 0;

  firstAt(ms: number): number {
    return this.all.findIndex((one, i) => i >= this.start && i < this.end && one >= ms);
  }

  largest(): number {
    return Math.max(...this.all.slice(this.start, this.end));
  }
}

/** Without raising the high watermark. */
const append = (log: PartitionLog, batch: AppendBatch): Promise<void> =>
  new Promise((resolve, reject) => {
    log.append(batch, 1, (error) => (error === undefined ? resolve() : reject(error)));
  });

const agree = async (log: PartitionLog, records: Records, ms: number): Promise<void> => {
  const found = await log.offsetForTimestamp(ms);
  assert.equal(found?.offset ?? -1, records.firstAt(ms), `offset of ${ms}`);
  if (records.start >= records.end) return;
  const largest = await log.maxTimestamp();
  assert.equal(largest?.timestampMs, records.largest());
  assert.equal(largest?.offset, records.firstAt(records.largest()));
};

test("times are found as in a plain list of records, whatever happens to the log", async () => {
  for (let seed = 1; seed <= 30; seed += 1) {
    const settings = { seed, log: { segmentBytes: 3000, indexIntervalBytes: 256 } };
    await simulate(settings, async ({ start }) => {
      const random = new SeededRandom(seed);
      const pick = (most: number): number => random.below(most);
      const log = await (await start()).log();
      await log.becomeLeader(1);
      const records = new Records();
      let ends: number[] = [];
      for (let step = 0; step < 60; step += 1) {
        const what = pick(10);
        if (what < 6) {
          const times = Array.from({ length: 1 + pick(4) }, () => 1000 + pick(100));
          await append(log, batchOf(times.map(at)));
          records.all.push(...times);
          ends.push(log.logEndOffset);
          // Followers may lag by some batches.
          log.updateHighWatermark(ends.at(-1 - pick(4)) ?? 0);
        } else if (what < 8) {
          await log.advanceLogStart(records.start + pick(records.end - records.start + 1));
        } else if (what === 8 && records.end > records.start) {
          await log.truncateTo(records.end - pick(Math.min(5, records.end - records.start)));
          records.all.splice(log.logEndOffset);
          ends = ends.filter((end) => end <= log.logEndOffset);
        }
        records.start = log.logStartOffset;
        records.end = log.highWatermark;
        await agree(log, records, 1000 + pick(110));
      }
    });
  }
});
