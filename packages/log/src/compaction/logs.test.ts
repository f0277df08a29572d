/** What compaction does to a log, and what it leaves alone. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { BatchBodySchema, RecordSetSchema } from "@millrace/proto/storage";
import { crcOf, parseBody } from "@millrace/record";
import type { AppendBatch, LogConfig } from "../api.ts";
import { appendAll, keepingLogger } from "../testing.ts";
import {
  appendKeyed,
  clean,
  closeSegments,
  compacted,
  partitionOf,
  turnsOf,
} from "../testing-compaction.ts";
import { allBatches, allRecords, keyedBatch, latestOf } from "../testing-keys.ts";
import { simulate } from "../testing-sim.ts";
import { mapBytesMin } from "./offset-map.ts";

test("a closed segment is cleaned, swapped, read, and found by the next start", () =>
  simulate({ log: compacted }, async ({ disk, start }) => {
    const { manager, log: make } = await start();
    const log = await make();
    await appendKeyed(log, turnsOf(0, 40));
    await closeSegments(log);
    const before = await allRecords(log);
    const { logEndOffset, sizeBytes } = log;
    assert.equal(await clean(log), true);
    assert.equal(log.logEndOffset, logEndOffset);
    assert.ok(log.sizeBytes < sizeBytes * 0.75, `${log.sizeBytes} of ${sizeBytes}`);
    const after = await allRecords(log);
    assert.deepEqual(latestOf(after), latestOf(before));
    assert.ok(after.length < 25, `${after.length} records`);
    // Nothing is dirty any more.
    assert.equal(await clean(log), false);
    const { upTo } = partitionOf(log).cleaned;
    await manager.close(true);
    const again = await start();
    const reopened = await again.log();
    assert.deepEqual(await allRecords(reopened), after);
    assert.equal(again.manager.recovery.segmentBytesScanned, 0);
    assert.equal(partitionOf(reopened).cleaned.upTo, upTo);
    assert.ok(upTo > 40);
    assert.ok(!disk.paths().some((path) => path.endsWith(".tmp")));
    await again.manager.close(true);
  }));

test("what is not enabled, closed, readable and covered by a recovery point is left alone", () =>
  simulate({ log: compacted }, async ({ start }) => {
    const log = await (await start()).log();
    const { updateHighWatermark } = log;
    log.updateHighWatermark = () => {};
    await appendKeyed(log, turnsOf(0, 40));
    log.updateHighWatermark = updateHighWatermark;
    const sizes = () => partitionOf(log).segments.map(({ sizeBytes }) => sizeBytes);
    const before = sizes();
    assert.equal(await clean(log), false, "nothing is readable");
    log.updateHighWatermark(20);
    assert.equal(await log.runCompaction(), false, "the point knows of no high watermark");
    log.updateConfig({ ...log.config, compactionEnabled: false });
    assert.equal(await clean(log), false, "it is not enabled");
    log.updateConfig({ ...log.config, compactionEnabled: true });
    assert.equal(await clean(log), true);
    const cleaned = partitionOf(log).segments.findIndex(({ endOffset }) => endOffset > 20);
    assert.deepEqual(sizes().slice(cleaned), before.slice(cleaned));
    log.updateHighWatermark(log.logEndOffset);
    assert.equal(await clean(log), true);
    assert.deepEqual(sizes().slice(-1), before.slice(-1), "the active segment");
  }));

test("records without a key go, and those of compressed batches stay compressed", () =>
  simulate({ log: compacted }, async ({ start }) => {
    const log = await (await start()).log();
    const record = (i: number) => ({ key: `k${i % 7}`, value: `${i}`.padEnd(99, "-") });
    const records = Array.from({ length: 20 }, (_, i) => record(i));
    for (const compression of ["gzip", "zstd", "lz4", "none"] as const) {
      await appendAll(log, [
        await keyedBatch([...records, { value: "keyless" }], undefined, compression),
      ]);
    }
    await appendAll(log, [
      await keyedBatch([...records.slice(0, 3), { key: "own", value: "1" }], undefined, "zstd"),
    ]);
    await closeSegments(log);
    const before = await allRecords(log);
    assert.ok(await clean(log));
    const after = await allRecords(log);
    const clear = (all: typeof after) => latestOf(all.filter(({ key }) => key !== undefined));
    assert.deepEqual(clear(after), clear(before));
    assert.equal(after.filter(({ key }) => key === undefined).length, 0);
    assert.ok((await allBatches(log)).some(({ records: left }) => left.length === 4));
  }));

/** A batch whose records leave their offsets to their places, as any protobuf encoder may. */
const terse = (keys: readonly string[]): AppendBatch => {
  const records = keys.map((key) => ({ key: Buffer.from(key), value: Buffer.alloc(200) }));
  const set = toBinary(RecordSetSchema, create(RecordSetSchema, { records }));
  const fields = { recordCount: keys.length, records: set };
  const body = toBinary(BatchBodySchema, create(BatchBodySchema, fields));
  return { body, bodyCrc: crcOf(body), info: parseBody(body) };
};

test("records that leave their offsets to their places say them once some are gone", () =>
  simulate({ log: compacted }, async ({ start }) => {
    const log = await (await start()).log();
    await appendAll(log, [terse(["a", "b", "a", "c", "a", "d"])]);
    await appendKeyed(log, [{ key: "c", value: "later" }]);
    await closeSegments(log);
    assert.ok(await clean(log));
    const [first] = await allBatches(log);
    assert.deepEqual(
      first?.records.map(({ key, offset }) => [key, offset]),
      [
        ["b", 1],
        ["a", 4],
        ["d", 5],
      ],
    );
  }));

test("a tombstone stays for its time from the first cleaning on, through starts", async () => {
  const log: Partial<LogConfig> = { ...compacted, deleteRetentionMs: 60_000 };
  await simulate({ log }, async ({ disk, sleep, start }) => {
    let life = await start();
    const open = async () => {
      const opened = await life.log();
      opened.updateHighWatermark(opened.logEndOffset);
      return opened;
    };
    let opened = await open();
    const keysOf = async () => [...latestOf(await allRecords(opened)).keys()];
    await appendKeyed(opened, [
      { key: "gone", value: "1" },
      { key: "gone", value: null },
    ]);
    await closeSegments(opened);
    // Its time begins with the first cleaning, not with its append.
    await sleep(100_000);
    assert.ok(await clean(opened));
    assert.deepEqual((await allRecords(opened)).map(({ value }) => value).slice(0, 1), [null]);
    await sleep(50_000);
    await closeSegments(opened);
    await clean(opened);
    assert.ok((await keysOf()).includes("gone"), "after 50 s");
    await life.manager.close(true);
    life = await start();
    opened = await open();
    await sleep(15_000);
    await closeSegments(opened);
    assert.ok(await clean(opened));
    assert.ok(!(await keysOf()).includes("gone"), "after 65 s");
    // Where nobody knows when the first cleaning was, it begins anew.
    await appendKeyed(opened, [{ key: "other", value: null }]);
    await closeSegments(opened);
    assert.ok(await clean(opened));
    await sleep(70_000);
    await life.manager.close(true);
    const path = disk.paths().find((name) => name.endsWith("cleaner-checkpoint"));
    assert.ok(path !== undefined && disk.flipBit(path, 12, 1));
    life = await start();
    opened = await open();
    assert.equal(partitionOf(opened).cleaned.upTo, 0);
    await closeSegments(opened);
    assert.ok(await clean(opened));
    assert.ok((await keysOf()).includes("other"), "after damage");
    await sleep(70_000);
    await closeSegments(opened);
    assert.ok(await clean(opened));
    assert.ok(!(await keysOf()).includes("other"), "in the end");
  });
});

test("what is gone leaves one batch for each leader epoch", () =>
  simulate({ log: { ...compacted, segmentBytes: 4096 } }, async ({ start }) => {
    const log = await (await start()).log();
    for (const epoch of [1, 2, 5]) await appendKeyed(log, turnsOf(0, 6, 1), epoch);
    await closeSegments(log, 5);
    await closeSegments(log, 5);
    await closeSegments(log, 5);
    assert.ok(await clean(log));
    const gone = (await allBatches(log)).filter(({ records }) => records.length === 0);
    assert.deepEqual(
      gone
        .slice(0, 3)
        .map(({ baseOffset, lastOffset, leaderEpoch }) => [
          ...[baseOffset, lastOffset, leaderEpoch],
        ]),
      [
        [0, 5, 1],
        [6, 11, 2],
        [12, 16, 5],
      ],
    );
    assert.deepEqual(log.endOffsetForEpoch(2), { leaderEpoch: 2, endOffset: 12 });
  }));

test("a map that is full cleans as far as it reached, and the next goes on there", () =>
  simulate(
    { log: { ...compacted, segmentBytes: 100_000 }, manager: { cleanerMapBytesMax: mapBytesMin } },
    async ({ start }) => {
      const log = await (await start()).log();
      const keys = 9000;
      const batches = [];
      for (let round = 0; round < 2; round += 1) {
        for (let at = 0; at < keys; at += 500) {
          const records = Array.from({ length: 500 }, (_, i) => ({
            key: `${at + i}`,
            value: `${round}`,
          }));
          batches.push(await keyedBatch(records));
        }
      }
      await appendAll(log, batches);
      await appendKeyed(log, [{ key: "end", value: ".".repeat(90_000) }]);
      await appendKeyed(log, [{ key: "end", value: ".".repeat(90_000) }]);
      const before = latestOf(await allRecords(log));
      await log.flush();
      const { cleaned } = partitionOf(log);
      const steps = [];
      for (let upTo = -1; upTo !== cleaned.upTo; ) {
        upTo = cleaned.upTo;
        await log.runCompaction();
        steps.push(cleaned.upTo);
      }
      assert.ok(steps.length > 4, steps.join());
      const after = await allRecords(log);
      assert.deepEqual(latestOf(after), before);
      assert.ok(after.length < keys * 1.4, `${after.length} records of ${keys} keys`);
    },
  ));

test("damage is never cleaned: it takes the log offline, and the file stays as it is", async () => {
  const { logger } = keepingLogger();
  await simulate({ log: compacted, logger }, async ({ disk, start }) => {
    const log = await (await start()).log();
    await appendKeyed(log, turnsOf(0, 40));
    await closeSegments(log);
    await log.flush();
    const { path, sizeBytes } = partitionOf(log).segments[1] ?? assert.fail();
    disk.flipBit(path, 300, 1);
    assert.equal(await log.runCompaction(), false);
    assert.equal(log.state.kind, "offline");
    assert.equal(disk.content(path)?.length, sizeBytes);
  });
});

test("a read that a cleaning straddles has no gap, no repeat and no damage", async () => {
  for (let seed = 1; seed <= 12; seed += 1) {
    await simulate(
      { seed, log: compacted, manager: { indexCacheBytesMax: 0, openFilesMax: 2 } },
      async ({ start, sleep }) => {
        const log = await (await start()).log();
        await appendKeyed(log, turnsOf(0, 80, 9));
        await closeSegments(log);
        await log.flush();
        const before = latestOf(await allRecords(log));
        let cleaning = true;
        const done = log.runCompaction().finally(() => {
          cleaning = false;
        });
        let rounds = 0;
        const read = async (): Promise<void> => {
          for (; cleaning || rounds < 2; rounds += 1) {
            // Throws where offsets are missing or come twice.
            assert.deepEqual(latestOf(await allRecords(log)), before);
            const told = await log.maxTimestamp();
            assert.equal(told?.timestampMs, 1079);
            assert.ok((await log.offsetForTimestamp(1050)) !== undefined);
            await sleep(0.1);
          }
        };
        await Promise.all([done, read(), read(), read()]);
        assert.equal(log.state.kind, "online");
        assert.ok(rounds > 2, `${rounds} rounds`);
      },
    );
  }
});

test("with max.compaction.lag.ms a segment is closed in time, and cleaned by nobody's call", () =>
  simulate(
    {
      log: { ...compacted, maxCompactionLagMs: 2000, minCleanableDirtyRatio: 1 },
      manager: { cleanerIntervalMs: 500, retentionCheckIntervalMs: 300, checkpointIntervalMs: 400 },
    },
    async ({ sleep, start }) => {
      const log = await (await start()).log();
      await appendKeyed(log, turnsOf(0, 4, 1));
      await sleep(1500);
      assert.equal(log.segmentCount, 1);
      assert.equal((await allRecords(log)).length, 4);
      await sleep(2500);
      assert.equal(log.segmentCount, 2);
      assert.deepEqual(
        (await allRecords(log)).map(({ offset }) => offset),
        [3],
      );
    },
  ));

/** Takes a tenth of a second for a few segments. */
const slowly = { cleanerBytesPerSecondMax: 100_000 };

test("what is deleted while it is cleaned does not count against the log", async () => {
  for (let seed = 1; seed <= 10; seed += 1) {
    await simulate({ seed, log: compacted, manager: slowly }, async ({ sleep, start }) => {
      const { manager, log: make } = await start();
      const log = await make();
      await appendKeyed(log, turnsOf(0, 80, 9));
      await closeSegments(log);
      await log.flush();
      const cleaning = log.runCompaction();
      await sleep(seed * 11);
      await log.advanceLogStart(70);
      await cleaning;
      await clean(log);
      assert.equal(manager.gauges().cleanerFailedLogs, 0);
      assert.equal(log.state.kind, "online");
      assert.ok(partitionOf(log).cleaned.upTo > 70);
      await allRecords(log);
    });
  }
});

test("a stop waits for no cleaning, and leaves nothing of it behind", async () => {
  for (let seed = 1; seed <= 10; seed += 1) {
    await simulate({ seed, log: compacted, manager: slowly }, async ({ disk, sleep, start }) => {
      const { manager, log: make } = await start();
      const log = await make();
      await appendKeyed(log, turnsOf(0, 80, 9));
      await closeSegments(log);
      await log.flush();
      const before = latestOf(await allRecords(log));
      const cleaning = log.runCompaction();
      await sleep(seed * 25);
      await manager.close(true);
      const { steps } = disk;
      await cleaning;
      await sleep(1000);
      assert.equal(disk.steps, steps, "I/O behind a stop");
      const again = await start();
      const reopened = await again.log();
      assert.equal(again.manager.recovery.clean, true);
      assert.deepEqual(latestOf(await allRecords(reopened)), before);
      assert.ok(!disk.paths().some((path) => path.endsWith(".tmp")));
    });
  }
});

test("where both recovery points are lost, what was cleaned is told from what the journal has", () =>
  simulate({ log: compacted }, async ({ disk, start }) => {
    const first = await start();
    const log = await first.log();
    await appendKeyed(log, turnsOf(0, 40));
    await closeSegments(log);
    assert.ok(await clean(log));
    const before = await allRecords(log);
    first.die("process");
    for (const path of ["recovery-points", "recovery-points.copy"]) disk.flipBit(path, 9, 1);
    const reopened = await (await start()).log();
    assert.equal(reopened.state.kind, "online");
    assert.deepEqual(await allRecords(reopened), before);
  }));
