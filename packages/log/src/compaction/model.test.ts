/** Random histories of a compacted log against a list of what was appended. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { PartitionLog } from "../api.ts";
import { Partition } from "../partition/partition.ts";
import { appendAll } from "../testing.ts";
import { allRecords, type FoundRecord, keyedBatch } from "../testing-keys.ts";
import { type SimulatedLog, simulate } from "../testing-sim.ts";

const deleteRetentionMs = 1000;

const record = fc.record({
  key: fc.option(fc.constantFrom("a", "b", "c", "d"), { nil: undefined, freq: 20 }),
  isTombstone: fc.boolean(),
  size: fc.constantFrom(0, 10, 300),
});

const operation = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("append" as const),
      records: fc.array(record, { minLength: 1, maxLength: 5 }),
      compression: fc.constantFrom("none" as const, "none" as const, "lz4" as const),
      isIdempotent: fc.boolean(),
    }),
  },
  { weight: 3, arbitrary: fc.constant({ kind: "compact" as const }) },
  { weight: 1, arbitrary: fc.constant({ kind: "flush" as const }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("sleep" as const),
      ms: fc.constantFrom(10, 600, 1100),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("restart" as const),
      how: fc.constantFrom("clean" as const, "power" as const, "process" as const),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("deleteRecords" as const) }) },
);

class Model {
  readonly records: FoundRecord[] = [];
  /** When each tombstone can first have been seen by a cleaning, by its offset. */
  readonly #seenMs = new Map<number, number>();

  compacting(nowMs: number): void {
    for (const { offset, value } of this.records) {
      if (value === null && !this.#seenMs.has(offset)) this.#seenMs.set(offset, nowMs);
    }
  }

  check(found: readonly FoundRecord[], logStart: number, cleanedUpTo: number, nowMs: number): void {
    const there = new Map(found.map((one) => [one.offset, one]));
    const latest = new Map<string, FoundRecord>();
    for (const one of this.records) if (one.key !== undefined) latest.set(one.key, one);
    for (const one of this.records) {
      if (one.offset < logStart) continue;
      const other = there.get(one.offset);
      const superseded = one.key === undefined || latest.get(one.key)?.offset !== one.offset;
      if (other !== undefined) assert.deepEqual(other, one);
      else if (!superseded) {
        assert.equal(one.value, null, `the latest record of ${one.key} is gone`);
        const sinceMs = nowMs - (this.#seenMs.get(one.offset) ?? nowMs);
        assert.ok(sinceMs > deleteRetentionMs, `a tombstone is gone after ${sinceMs} ms`);
        const older = found.filter(({ key, offset }) => key === one.key && offset >= logStart);
        assert.deepEqual(older, [], `${one.key} came back`);
      }
    }
    const clean = found.filter(({ offset }) => offset < cleanedUpTo && offset >= logStart);
    const keys = clean.map(({ key }) => key);
    assert.equal(new Set(keys).size, keys.length, `keys twice before ${cleanedUpTo}`);
    assert.ok(!keys.includes(undefined), "a record without a key is left");
  }
}

test("whatever happens, each key has its latest record, and deletions last", () =>
  fc.assert(
    fc.asyncProperty(
      fc.array(operation, { minLength: 5, maxLength: 50 }),
      fc.nat(),
      async (all, seed) => {
        const settings = {
          seed,
          log: {
            ...{ compactionEnabled: true, retentionEnabled: false, deleteRetentionMs },
            ...{ segmentBytes: 1024, indexIntervalBytes: 200 },
          },
        };
        await simulate(settings, async ({ start, sleep, kernel }) => {
          const model = new Model();
          let life: SimulatedLog = await start();
          let log: PartitionLog = await life.log();
          let sequence = 0;
          for (const step of all) {
            const nowMs = kernel.nowMs;
            if (step.kind === "append") {
              const timestampMs = 1_700_000_000_000 + Math.floor(nowMs);
              const records = step.records.map(({ key, isTombstone, size }) => ({
                key,
                value: isTombstone ? null : `${model.records.length}`.padEnd(size, "."),
                timestampMs,
              }));
              const producer = { producerId: 1, producerEpoch: 0, baseSequence: sequence };
              const stamp = step.isIdempotent ? producer : undefined;
              if (step.isIdempotent) sequence += records.length;
              const batch = await keyedBatch(records, stamp, step.compression);
              const [appended] = await appendAll(log, [batch]);
              const baseOffset = appended?.baseOffset ?? -1;
              for (const [i, one] of records.entries()) {
                model.records.push({ ...one, offset: baseOffset + i });
              }
            } else if (step.kind === "sleep") await sleep(step.ms);
            else if (step.kind === "flush") await log.flush();
            else if (step.kind === "deleteRecords") {
              const start = log.logStartOffset;
              await log.advanceLogStart(Math.floor((start + log.highWatermark) / 2));
            } else if (step.kind === "restart") {
              if (step.how === "clean") await life.manager.close(true);
              else life.die(step.how);
              life = await start();
              log = await life.log();
              log.updateHighWatermark(log.logEndOffset);
            } else {
              model.compacting(nowMs);
              await log.flush();
              await log.runCompaction();
            }
            assert.ok(log instanceof Partition);
            assert.equal(log.state.kind, "online");
            const found = await allRecords(log);
            model.check(found, log.logStartOffset, log.cleaned.upTo, kernel.nowMs);
          }
          await life.manager.close(true);
        });
      },
    ),
    { numRuns: 60 },
  ));
