/** Retention of a log that grows, and what lookups and damage come to know of it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode } from "@millrace/errors";
import { Incarnation } from "@millrace/sim";
import { offsetName, partitionDirectory } from "../files/paths.ts";
import { appendAll, batchOf, topicA } from "../testing.ts";
import { type Simulation, simulate } from "../testing-sim.ts";

const firstSegment = `${partitionDirectory(topicA, 0)}/${offsetName(0)}`;

const at = (timestampMs: number) => batchOf([{ value: "x".repeat(300), timestampMs }]);

test("a log of which most is too old at every round is deleted as it grows", async () => {
  const settings = { log: { retentionMs: 60_000, segmentBytes: 1000 } };
  await simulate(settings, async ({ sleep, start }) => {
    const { clock, log: logOf } = await start();
    const log = await logOf();
    const ends: number[] = [];
    const starts: number[] = [];
    for (let round = 0; round < 4; round += 1) {
      for (let i = 0; i < 30; i += 1) {
        await appendAll(log, [at(clock.wallMs())]);
        await sleep(10_000);
      }
      await log.runRetention();
      starts.push(log.logStartOffset);
      ends.push(log.logEndOffset);
    }
    assert.deepEqual(ends, [30, 60, 90, 120]);
    // What is older than a minute, one round after it was announced.
    assert.deepEqual(starts, [0, 24, 54, 84]);
  });
});

test("a lookup by time whose segment is deleted under it finds what is left", async () => {
  const settings = {
    log: { segmentBytes: 800, indexIntervalBytes: 300, fileDeleteDelayMs: 0 },
    manager: { indexCacheBytesMax: 0, openFilesMax: 1 },
  };
  for (let seed = 1; seed <= 60; seed += 1) {
    await simulate({ seed, ...settings }, async ({ sleep, start }) => {
      const first = await start();
      const before = await first.log();
      await before.becomeLeader(1);
      // The largest time is among those that go.
      for (let i = 0; i < 12; i += 1) await appendAll(before, [at(i === 3 ? 9000 : 1000 + i)]);
      await first.manager.close(true);
      first.die("process");
      const log = await (await start()).log();
      log.updateHighWatermark(12);
      const move = () => log.advanceLogStart(8);
      const look = () => Promise.all([log.offsetForTimestamp(1009), log.maxTimestamp()]);
      const lookFirst = seed % 2 === 0;
      const looked = sleep(lookFirst ? 0 : seed / 20).then(look);
      const moved = sleep(lookFirst ? seed / 20 : 0).then(move);
      const [found, largest] = await looked;
      // As it was before the log start moved, or after.
      assert.ok(found?.offset === 9 || found?.offset === 3, `${found?.offset}, seed ${seed}`);
      assert.ok(largest?.offset === 11 || largest?.offset === 3, `${largest?.offset}`);
      await moved;
    });
  }
});

/** A clean start on a first segment that has rotted, and whose index says no largest time. */
const startOnRot = async ({ disk, kernel, start }: Simulation) => {
  const first = await start();
  const log = await first.log();
  await log.becomeLeader(1);
  for (let i = 0; i < 12; i += 1) await appendAll(log, [at(1000 + i)]);
  await first.manager.close(true);
  first.die("process");
  await disk.mount(new Incarnation(kernel)).unlink(`${firstSegment}.timeindex`);
  assert.ok(disk.flipBit(`${firstSegment}.log`, 100, 1));
  const again = await (await start()).log();
  again.updateHighWatermark(12);
  return again;
};

test("damage that retention meets takes the partition offline", async () => {
  await simulate({ log: { segmentBytes: 800, retentionMs: 1000 } }, async (simulation) => {
    const log = await startOnRot(simulation);
    await assert.rejects(log.runRetention(), (thrown) =>
      hasCode(thrown, ErrorCode.PARTITION_OFFLINE),
    );
    assert.equal(log.state.kind, "offline");
  });
});

test("damage that is met while index rows are written takes the partition offline", async () => {
  const settings = {
    log: { indexIntervalBytes: 300 },
    manager: { journalBytesMax: 16 * 1024 * 1024 },
  };
  await simulate(settings, async (simulation) => {
    const log = await startOnRot(simulation);
    await appendAll(
      log,
      Array.from({ length: 520 }, () => at(2000)),
    );
    await simulation.sleep(100);
    assert.equal(log.state.kind, "offline");
  });
});
