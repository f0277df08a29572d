/** Index files of another log, whole in themselves: they may lead a read astray, never the log. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { syncCompressor } from "@millrace/record/node";
import { Incarnation } from "@millrace/sim";
import type { PartitionLog } from "../api.ts";
import { offsetName, partitionDirectory } from "../files/paths.ts";
import { appendAll, batchOf, keepingLogger, readAll, topicA } from "../testing.ts";
import { type Simulation, simulate } from "../testing-sim.ts";
import { verifyDirectory } from "../tools/verify.ts";

const ownSize = 100;
const settings = { log: { indexIntervalBytes: 500 } };

/**
 * Bytes of the values of partition 1. With larger batches its rows point behind the end of
 * partition 0, and with smaller ones they are as good as its own until a read follows one.
 */
const otherSizes = [60, 140];

/** Batches of a record each; the times of partition 1 are later by a minute. */
const fill = (log: PartitionLog, partition: number, count: number, size: number) =>
  appendAll(
    log,
    Array.from({ length: count }, (_, i) =>
      batchOf([
        {
          value: `${partition}/${i}`.padEnd(size, "."),
          timestampMs: 1000 + i + partition * 60_000,
        },
      ]),
    ),
  );

/** Gives partition 0 the index files of partition 1. */
const exchange = async ({ disk, kernel }: Simulation): Promise<void> => {
  const mounted = disk.mount(new Incarnation(kernel));
  for (const suffix of ["index", "timeindex"]) {
    const path = (partition: number): string =>
      `${partitionDirectory(topicA, partition)}/${offsetName(0)}.${suffix}`;
    const foreign = disk.image().files.get(path(1));
    assert.ok(foreign !== undefined && foreign.length > 160, suffix);
    const file = await mounted.open(path(0), "write");
    await file.truncate(0);
    await file.write([Buffer.from(foreign)], 0);
    await file.sync();
    await file.close();
  }
};

/** A log of 60 batches that was stopped in order, and has the index of another one. */
const withForeignIndex = async (
  otherSize: number,
  run: (log: PartitionLog, told: readonly string[]) => Promise<unknown>,
  otherCount = 60,
): Promise<void> => {
  const { logger, told } = keepingLogger();
  await simulate({ ...settings, logger }, async (simulation) => {
    const { disk, kernel, start } = simulation;
    const first = await start();
    await fill(await first.log(0), 0, 60, ownSize);
    await fill(await first.log(1), 1, otherCount, otherSize);
    await first.manager.close(true);
    first.die("process");
    await exchange(simulation);
    const second = await start();
    const log = await second.log();
    log.updateHighWatermark(log.logEndOffset);
    await run(log, told);
    assert.equal(log.state.kind, "online");
    await second.manager.close(true);
    const { clean, damages } = await verifyDirectory(
      disk.mount(new Incarnation(kernel)),
      syncCompressor,
    );
    assert.deepEqual({ clean, damages }, { clean: true, damages: [] });
  });
};

const valueAt = (offset: number): string => `0/${offset}`.padEnd(ownSize, ".");

for (const size of otherSizes) {
  test(`reads that another log's index sends astray are tried again: batches of ${size}`, () =>
    withForeignIndex(size, async (log) => {
      for (const offset of [30, 59, 7, 0, 44]) {
        const [record] = await readAll(log, offset, 1);
        assert.deepEqual(record, { offset, value: valueAt(offset) });
      }
      assert.equal((await log.offsetForTimestamp(1040))?.offset, 40);
      assert.deepEqual(await log.maxTimestamp(), { offset: 59, timestampMs: 1059, leaderEpoch: 1 });
    }));

  test(`appends and a stop in order leave a log whole: batches of ${size}`, () =>
    withForeignIndex(size, async (log) => {
      await fill(log, 0, 30, ownSize);
      log.updateHighWatermark(90);
      for (const offset of [59, 20]) {
        const [record] = await readAll(log, offset, 1);
        assert.equal(record?.value, valueAt(offset));
      }
      const [last] = await readAll(log, 89, 1);
      assert.equal(last?.value, valueAt(29));
    }));

  test(`a log that has another one's index is cut where it should be: batches of ${size}`, () =>
    withForeignIndex(size, async (log) => {
      await log.becomeLeader(2);
      await log.truncateTo(33);
      assert.equal(log.logEndOffset, 33);
      await fill(log, 0, 1, ownSize);
      log.updateHighWatermark(34);
      const [record] = await readAll(log, 32, 1);
      assert.equal(record?.value, valueAt(32));
    }));
}

// Batches of 252 are twice as large: some rows are where a batch is, but not the one they tell of.
for (const size of [140, 252]) {
  test(`a stop in order builds nothing behind rows of another log: batches of ${size}`, () =>
    withForeignIndex(size, (log) => fill(log, 0, 30, ownSize), 70));
}

test("many reads that are led astray have the index built once", () =>
  withForeignIndex(60, async (log, told) => {
    const found = await Promise.all([50, 51, 52, 53].map((offset) => readAll(log, offset, 1)));
    assert.deepEqual(
      found.map(([record]) => record?.value),
      [50, 51, 52, 53].map(valueAt),
    );
    assert.equal(told.filter((line) => /built anew/.test(line)).length, 1);
  }));

test("damage of the log itself still takes the partition offline", async () => {
  await simulate(settings, async ({ disk, kernel, start }) => {
    const first = await start();
    await fill(await first.log(), 0, 60, ownSize);
    await first.manager.close(true);
    first.die("process");
    const path = `${partitionDirectory(topicA, 0)}/${offsetName(0)}.log`;
    const size = disk.image().files.get(path)?.length ?? 0;
    const file = await disk.mount(new Incarnation(kernel)).open(path, "write");
    await file.write([Buffer.from([0xff, 0xff])], size / 2);
    await file.close();
    const log = await (await start()).log();
    log.updateHighWatermark(60);
    await assert.rejects(readAll(log, 0, 60), /is damaged at byte/);
    assert.equal(log.state.kind, "offline");
  });
});
