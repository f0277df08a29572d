/**
 * Limits are judged before an append is accepted; work and memory are bounded whatever clients do.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { nodeClock } from "@millrace/env/node";
import { ErrorCode, hasCode } from "@millrace/errors";
import type { AppendBatch, PartitionLog } from "../api.ts";
import { inSteps } from "../files/breathe.ts";
import { decodeSnapshot, encodeSnapshot } from "../partition/producer-snapshots.ts";
import { ProducerTable, packBatches } from "../partition/producer-table.ts";
import { decodeIndexSteps, encodeOffsetSteps, encodeTimeSteps } from "../segment/index-format.ts";
import { appendAll, batchOf, PauseCounter, readAll } from "../testing.ts";
import { simulate } from "../testing-sim.ts";

/** A batch that takes `count` offsets, as a compressed set of empty records may. */
const wide = (count: number): AppendBatch => {
  const batch = batchOf([{ value: "" }]);
  return { ...batch, info: { ...batch.info, lastOffsetDelta: count - 1, recordCount: count } };
};

test("a segment's offsets fit its index: a batch that would end behind rolls", async () => {
  await simulate({}, async ({ start }) => {
    const first = await start();
    const log = await first.log(0);
    const other = await first.log(1);
    await log.becomeLeader(1);
    await appendAll(log, [wide(2 ** 32 - 1 - 10)]);
    await appendAll(log, [wide(10)]);
    assert.deepEqual([log.logEndOffset, log.segmentCount], [2 ** 32 - 1, 1]);
    await appendAll(log, [wide(1)]);
    assert.equal(log.segmentCount, 2);
    await log.flush();
    await appendAll(other, [batchOf([{ value: "x" }])]);
    assert.deepEqual([log.state.kind, other.state.kind], ["online", "online"]);
    await first.manager.close(true);
  });
});

test("a batch with more offsets than a segment or a log can number is refused, without effect", async () => {
  await simulate({}, async ({ start }) => {
    const log = await (await start()).log();
    await log.becomeLeader(1);
    for (const count of [2 ** 32, 2 ** 40, 0, -5, Number.NaN]) {
      assert.throws(
        () => log.append(wide(count), 1, () => {}),
        (e) => hasCode(e, ErrorCode.INVALID_RECORD),
        String(count),
      );
    }
    assert.equal(log.logEndOffset, 0);
  });
});

test("index rows do not gather in memory between checkpoints", async () => {
  const settings = { log: { flushPolicy: "none" as const, indexIntervalBytes: 64 } };
  await simulate(settings, async ({ sleep, start }) => {
    const log = await (await start()).log();
    await log.becomeLeader(1);
    for (let i = 0; i < 30; i += 1) {
      await appendAll(
        log,
        Array.from({ length: 100 }, () => batchOf([{ value: "x".repeat(100) }])),
      );
      await sleep(50);
    }
    const { segments } = log as unknown as {
      segments: readonly { index: { fresh: readonly unknown[] } }[];
    };
    const fresh = segments.reduce((sum, { index }) => sum + index.fresh.length, 0);
    assert.ok(fresh <= 1024, `${fresh} rows`);
    assert.equal((await readAll(log, 2990)).length, 10);
  });
});

test("a sparse index costs a read no more than its steps", async () => {
  const settings = { log: { indexIntervalBytes: 2 ** 31 - 1 } };
  await simulate(settings, async ({ disk, start }) => {
    const log = await (await start()).log();
    await log.becomeLeader(1);
    const value = "x".repeat(10_000);
    for (let i = 0; i < 4; i += 1) {
      await appendAll(
        log,
        Array.from({ length: 100 }, () => batchOf([{ value }])),
      );
    }
    await log.flush();
    assert.ok(log.config.indexIntervalBytes <= 1024 * 1024);
    let reads = 0;
    disk.onStep = (_, what) => {
      if (what.startsWith("read ") && what.endsWith(".log")) reads += 1;
    };
    const found = await log.read(399, 1000, "high_watermark");
    assert.ok(found.bytes > 10_000 && reads > 0 && reads < 10, `${reads} reads`);
  });
});

test("a partition remembers a bounded number of producers, and forgets the one idle longest", () => {
  const table = new ProducerTable(undefined, 3);
  const info = { ...batchOf([{ value: "x" }]).info, producerEpoch: 0, baseSequence: 0 };
  for (const producerId of [1, 2, 3]) table.record({ ...info, producerId }, producerId, 1);
  table.record({ ...info, producerId: 1, baseSequence: 1 }, 4, 1);
  table.record({ ...info, producerId: 4 }, 5, 1);
  assert.deepEqual(
    table.entries().map(({ id }) => id),
    [3, 1, 4],
  );
});

test("a retry of any of the last 16 batches is known, and of no older one", () => {
  const table = new ProducerTable();
  const info = { ...batchOf([{ value: "x" }]).info, producerId: 7, producerEpoch: 0 };
  for (let i = 0; i < 20; i += 1) table.record({ ...info, baseSequence: i }, 100 + i, 1);
  for (let i = 4; i < 20; i += 1) {
    assert.equal(table.check({ ...info, baseSequence: i })?.baseOffset, 100 + i);
  }
  for (const baseSequence of [3, 21]) {
    assert.throws(() => table.check({ ...info, baseSequence }), {
      code: ErrorCode.OUT_OF_ORDER_SEQUENCE,
    });
  }
  assert.equal(table.check({ ...info, baseSequence: 20 }), undefined);
});

test("the index of a full segment, and a large producers' table, are taken in short turns", async () => {
  const counter = new PauseCounter();
  const clock = counter.clock(nodeClock());
  const rows = Array.from({ length: 100_000 }, (_, i) => ({
    offset: i + 1,
    position: (i + 1) * 4096,
    maxBeforeMs: 1_700_000_000_000 + i,
  }));
  const index = await counter.of(() => inSteps(clock, encodeOffsetSteps(0, rows)));
  const times = await counter.of(() => inSteps(clock, encodeTimeSteps(0, rows)));
  for (const { pauses } of [index, times]) assert.ok(pauses >= 20, `${pauses} pauses`);
  const steps = decodeIndexSteps(0, index.result, times.result, 200_000, 2 ** 30);
  const decoded = await counter.of(() => inSteps(clock, steps));
  assert.deepEqual(decoded.result.rows, rows);
  const batch = {
    baseSequence: 3,
    lastSequence: 4,
    baseOffset: 7e9,
    appendTimeMs: 1_700_000_000_000,
  };
  const producer = { epoch: 1, lastAppendTimeMs: 5, batches: packBatches([batch, batch]) };
  const entries = Array.from({ length: 50_000 }, (_, id) => ({ id, ...producer }));
  const encoded = await counter.of(() => encodeSnapshot(clock, { offset: 7, entries }));
  const loaded = await counter.of(() => decodeSnapshot(clock, Buffer.concat(encoded.result)));
  assert.deepEqual(loaded.result, { offset: 7, entries });
  for (const { pauses } of [decoded, encoded, loaded]) assert.ok(pauses >= 40, `${pauses} pauses`);
});

// The journal has the deleted batches under `commit`; under `none` only a snapshot knows of them.
for (const flushPolicy of ["commit", "none"] as const) {
  test(`deleting records makes no producer unknown, retries or zombies: ${flushPolicy}`, async () => {
    const stamp = (producerEpoch: number) => ({ producerId: 7, producerEpoch, baseSequence: 0 });
    const settings = { log: { segmentBytes: 500, fileDeleteDelayMs: 1, flushPolicy } };
    for (const how of ["process", "power", "clean"] as const) {
      await simulate(settings, async ({ sleep, start }) => {
        let life = await start();
        let log = await life.log();
        await log.becomeLeader(1);
        await appendAll(log, [batchOf([{ value: "a" }], stamp(3))]);
        await appendAll(
          log,
          Array.from({ length: 9 }, (_, i) => batchOf([{ value: `${i}`.padEnd(200, ".") }])),
        );
        await log.advanceLogStart(9);
        await sleep(50);
        for (let round = 0; round < 3; round += 1) {
          const [again] = await appendAll(log, [batchOf([{ value: "a" }], stamp(3))]);
          assert.deepEqual([again?.duplicate, again?.baseOffset], [true, 0], `${how} ${round}`);
          assert.throws(
            () => log.append(batchOf([{ value: "zombie" }], stamp(1)), 1, () => {}),
            (e) => hasCode(e, ErrorCode.INVALID_PRODUCER_EPOCH),
          );
          if (round === 1) await log.truncateTo(9);
          if (how === "clean") await life.manager.close(true);
          life.die(how === "power" ? "power" : "process");
          life = await start();
          log = await life.log();
        }
      });
    }
  });
}

test("a callback that throws is a mistake of the caller, not a failure of the disk", async () => {
  await simulate({}, async ({ sleep, start }) => {
    const first = await start();
    const log: PartitionLog = await first.log(0);
    const other = await first.log(1);
    log.onProgress(() => {
      throw new Error("a mistake in a listener");
    });
    log.append(batchOf([{ value: "x" }]), 1, () => {
      throw new Error("a mistake in a callback");
    });
    await sleep(50);
    await appendAll(log, [batchOf([{ value: "y" }])]);
    assert.deepEqual([log.state.kind, other.state.kind], ["online", "online"]);
  });
});
