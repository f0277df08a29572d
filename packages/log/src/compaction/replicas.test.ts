/** Replicas of a compacted log, and what truncations and starts know of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode } from "@millrace/errors";
import { Incarnation } from "@millrace/sim";
import type { PartitionLog } from "../api.ts";
import { producersPath } from "../partition/producer-snapshots.ts";
import { appendAll, batchOf } from "../testing.ts";
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

/** Copies what a follower lacks, as the leader has it now. */
const follow = async (
  leader: PartitionLog,
  follower: PartitionLog,
  upTo: number,
): Promise<void> => {
  while (follower.logEndOffset < upTo) {
    const { chunks } = await leader.read(follower.logEndOffset, 1, "log_end");
    await new Promise<void>((resolve, reject) => {
      follower.appendReplicated(Buffer.concat(chunks), 1, (error) =>
        error === undefined ? resolve() : reject(error),
      );
    });
  }
  follower.updateHighWatermark(follower.logEndOffset);
};

const tombstone = (key: string) => ({ key, value: null });

test("replicas that are cleaned at different times agree on every key, and on offsets", () =>
  simulate({ log: { ...compacted, deleteRetentionMs: 100 } }, async ({ sleep, start }) => {
    const { log: make } = await start();
    const [leader, early, late] = [await make(0), await make(1), await make(2)];
    await appendKeyed(leader, [...turnsOf(0, 20), tombstone("k0"), tombstone("k1")]);
    await closeSegments(leader);
    await follow(leader, early, leader.logEndOffset);
    // In the middle of what will be one batch.
    await follow(leader, late, 5);
    const before = latestOf(await allRecords(leader));
    assert.ok(await clean(early));
    assert.ok(await clean(leader));
    assert.ok(
      (await allBatches(leader)).some((batch) => batch.baseOffset < 5 && batch.lastOffset > 5),
    );
    await follow(leader, late, leader.logEndOffset);
    await sleep(1000);
    for (const log of [early, late]) await closeSegments(log);
    assert.ok(await clean(early));
    assert.ok(await clean(late));
    for (const key of ["k2", "k3", "k4"]) {
      for (const log of [leader, early, late]) {
        assert.deepEqual(latestOf(await allRecords(log)).get(key), before.get(key), key);
      }
    }
    // The tombstones are old on one of them, and new on the others: the keys are deleted on all.
    const told = [];
    for (const log of [leader, early, late]) {
      told.push(
        [...latestOf(await allRecords(log)).values()].filter(({ value }) => value === null),
      );
    }
    assert.deepEqual(
      told.map((all) => all.map(({ key }) => key)),
      [["k0", "k1"], [], ["k0", "k1"]],
    );
    for (const log of [early, late]) {
      const keys = (await allRecords(log)).flatMap(({ key, value }) => (value === null ? [] : key));
      assert.ok(!keys.includes("k0") && !keys.includes("k1"), keys.join());
    }
  }));

test("an empty batch is cut to where a follower ends, and nothing else is", () =>
  simulate({ log: compacted }, async ({ start }) => {
    const { log: make } = await start();
    const [leader, follower, other] = [await make(0), await make(1), await make(2)];
    await appendKeyed(leader, turnsOf(0, 20));
    await closeSegments(leader);
    await follow(leader, follower, 3);
    await appendAll(other, [batchOf([..."vwxyz"].map((value) => ({ value })))]);
    const { chunks: whole } = await other.read(0, 1, "log_end");
    await follow(other, await make(3), 5);
    assert.throws(
      () => follower.appendReplicated(Buffer.concat(whole), 1, () => {}),
      (thrown) => hasCode(thrown, ErrorCode.CORRUPT_MESSAGE),
    );
    assert.ok(await clean(leader));
    const [first] = await allBatches(leader);
    assert.ok(first !== undefined && first.lastOffset > 3 && first.records.length === 0);
    await follow(leader, follower, leader.logEndOffset);
    const batches = await allBatches(follower);
    assert.deepEqual(batches.map(({ baseOffset }) => baseOffset).slice(0, 4), [0, 1, 2, 3]);
    assert.equal(batches[3]?.lastOffset, first.lastOffset);
    assert.deepEqual(latestOf(await allRecords(follower)), latestOf(await allRecords(leader)));
    // All of it lies before the follower's end.
    const { chunks } = await leader.read(0, 1, "log_end");
    assert.throws(
      () => follower.appendReplicated(Buffer.concat(chunks), 1, () => {}),
      (thrown) => hasCode(thrown, ErrorCode.CORRUPT_MESSAGE),
    );
  }));

const stamp = (baseSequence: number) => ({ producerId: 9, producerEpoch: 0, baseSequence });

test("a producer is known to whoever has only the cleaned log", () =>
  simulate({ log: compacted }, async ({ disk, start }) => {
    const first = await start();
    const log = await first.log();
    const batches = [];
    for (let i = 0; i < 4; i += 1) {
      batches.push(
        await keyedBatch(
          [
            { key: "a", value: `${i}` },
            { key: "a", value: null },
          ],
          stamp(2 * i),
        ),
      );
    }
    await appendAll(log, batches);
    await appendKeyed(log, [{ key: "a", value: "last" }]);
    await closeSegments(log);
    assert.ok(await clean(log));
    const left = (await allBatches(log)).filter(({ producerId }) => producerId === 9);
    assert.deepEqual(
      left.map(({ baseOffset, lastOffset, baseSequence, records }) => [
        ...[baseOffset, lastOffset, baseSequence, records.length],
      ]),
      [[6, 7, 6, 0]],
    );
    const follower = await first.log(1);
    await follow(log, follower, log.logEndOffset);
    const retry = batches[3];
    assert.ok(retry !== undefined);
    const again = follower.append(retry, 1, () => {});
    assert.deepEqual([again.duplicate, again.baseOffset, again.lastOffset], [true, 6, 7]);
    assert.throws(
      () => follower.append({ ...retry, info: { ...retry.info, baseSequence: 20 } }, 1, () => {}),
      (thrown) => hasCode(thrown, ErrorCode.OUT_OF_ORDER_SEQUENCE),
    );
    // Also where no snapshot is left.
    first.die("process");
    for (const path of disk.paths().filter((name) => /producers\.\d+$/.test(name))) {
      disk.flipBit(path, 9, 1);
    }
    const reopened = await (await start()).log();
    assert.equal(reopened.append(retry, 1, () => {}).duplicate, true);
  }));

test("a truncation knows producers as they were before a cleaning", () =>
  simulate({ log: compacted }, async ({ disk, kernel, start }) => {
    const { log: make } = await start();
    const log = await make();
    const old = [];
    for (let i = 0; i < 12; i += 1) {
      old.push(await keyedBatch([{ key: "a", value: `${i}`.padEnd(99) }], stamp(i)));
    }
    await appendAll(log, old);
    await closeSegments(log);
    const { directory, segments } = partitionOf(log);
    await log.flush();
    // Too many producers, and none was kept as the segment began.
    const mounted = disk.mount(new Incarnation(kernel));
    for (const name of await mounted.list(directory)) {
      if (name.startsWith("producers.")) await mounted.unlink(`${directory}/${name}`);
    }
    assert.ok(await log.runCompaction());
    const cleanedEnd = segments.at(-1)?.baseOffset ?? 0;
    const there = disk.paths().includes(producersPath(directory, cleanedEnd));
    assert.ok(there, `no snapshot at ${cleanedEnd}`);
    await appendAll(log, [await keyedBatch([{ key: "b", value: "" }], stamp(12))]);
    await log.truncateTo(log.logEndOffset - 1);
    for (const batch of old) assert.equal(log.append(batch, 1, () => {}).duplicate, true);
  }));

test("a truncation into what was cleaned forgets that it was, also after a crash", () =>
  simulate({ log: compacted }, async ({ disk, start }) => {
    const first = await start();
    const log = await first.log();
    await appendKeyed(log, turnsOf(0, 30));
    await closeSegments(log);
    assert.ok(await clean(log));
    const partition = partitionOf(log);
    assert.ok(partition.cleaned.upTo > 30);
    const image = (): boolean => disk.paths().some((path) => path.endsWith("cleaner-checkpoint"));
    assert.ok(image());
    await log.truncateTo(28);
    assert.equal(partition.cleaned.upTo, 0);
    assert.ok(!image());
    await appendKeyed(log, turnsOf(100, 120));
    const before = latestOf(await allRecords(log));
    first.die("power");
    const again = await start();
    const reopened = await again.log();
    assert.equal(partitionOf(reopened).cleaned.upTo, 0);
    reopened.updateHighWatermark(reopened.logEndOffset);
    await closeSegments(reopened);
    assert.ok(await clean(reopened));
    const after = latestOf(await allRecords(reopened));
    for (const [key, record] of before) assert.deepEqual(after.get(key), record);
  }));

test("a start does not believe a cleaning that a truncation went back into", () =>
  simulate({ log: compacted }, async ({ disk, kernel, start }) => {
    const first = await start();
    const log = await first.log();
    await appendKeyed(log, turnsOf(0, 30));
    await closeSegments(log);
    assert.ok(await clean(log));
    const there = (): boolean => disk.paths().some((path) => path.endsWith("cleaner-checkpoint"));
    let died = false;
    disk.onStep = (_, what) => {
      if (!what.includes("cleaner-checkpoint")) return;
      died = true;
      first.die("process");
    };
    log.truncateTo(28).catch(() => {});
    await kernel.runUntil(() => died);
    disk.onStep = () => {};
    assert.ok(there());
    const reopened = await (await start()).log();
    assert.ok(reopened.logEndOffset <= 28);
    assert.equal(partitionOf(reopened).cleaned.upTo, 0);
    assert.ok(!there());
  }));

test("a log that begins anew was never cleaned", () =>
  simulate({ log: compacted }, async ({ disk, start }) => {
    const first = await start();
    const log = await first.log();
    await appendKeyed(log, turnsOf(0, 30));
    await closeSegments(log);
    assert.ok(await clean(log));
    await log.resetTo(0);
    assert.equal(partitionOf(log).cleaned.upTo, 0);
    assert.ok(!disk.paths().some((path) => path.endsWith("cleaner-checkpoint")));
    await appendKeyed(log, turnsOf(0, 30));
    await closeSegments(log);
    assert.ok(await clean(log));
  }));
