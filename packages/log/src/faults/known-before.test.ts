/** A truncation finds what was known of producers before the first segment. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { PartitionLog } from "../api.ts";
import { pendingProducersMax } from "../partition/producer-budget.ts";
import { appendAll, batchOf } from "../testing.ts";
import { simulate } from "../testing-sim.ts";

const sent = (producerId: number, baseSequence: number) =>
  batchOf([{ value: "x".padEnd(300, ".") }], { producerId, producerEpoch: 1, baseSequence });

const allOf = (count: number) => Array.from({ length: count }, (_, i) => sent(7, i));

const knows = (log: PartitionLog, batches: readonly ReturnType<typeof sent>[], from = 0) => {
  for (const [offset, batch] of batches.entries()) {
    if (offset < from) continue;
    const retry = log.append(batch, log.leaderEpoch, () => {});
    assert.deepEqual([retry.duplicate, retry.baseOffset], [true, offset]);
  }
};

/** As many producers as may be kept for snapshots: another log keeps none when a segment begins. */
const crowd = async (log: PartitionLog): Promise<void> => {
  await log.becomeLeader(1);
  const { config } = log;
  log.updateConfig({ ...config, segmentBytes: 1_000_000 });
  const ids = Array.from({ length: 512 }, (_, i) => i);
  await appendAll(
    log,
    ids.map((id) => sent(id, 0)),
  );
  log.updateConfig(config);
  const rolls = pendingProducersMax / ids.length;
  await appendAll(
    log,
    Array.from({ length: 2 * rolls }, (_, i) => sent(0, i + 1)),
  );
};

const noRoom = (operation: string, path: string) =>
  operation === "open" && /producers\.[0-9]+\.tmp$/.test(path) ? "ENOSPC" : undefined;

test("segments that could not go say it, where a roll kept nothing", async () => {
  const settings = { log: { segmentBytes: 800, fileDeleteDelayMs: 0 } };
  await simulate(settings, async ({ disk, start }) => {
    const { log: logOf } = await start();
    await crowd(await logOf(1));
    const log = await logOf(0);
    await log.becomeLeader(1);
    const all = allOf(5);
    await appendAll(log, all);
    log.updateHighWatermark(4);
    disk.fault = noRoom;
    await log.advanceLogStart(4);
    disk.fault = () => undefined;
    await log.truncateTo(4);
    knows(log, all.slice(0, 4));
  });
});

test("a log outlives segments that could not go and cannot be read", async () => {
  const settings = { log: { segmentBytes: 800, fileDeleteDelayMs: 0 } };
  await simulate(settings, async ({ disk, start }) => {
    const { log: logOf } = await start();
    await crowd(await logOf(1));
    const log = await logOf(0);
    await log.becomeLeader(1);
    const all = allOf(6);
    await appendAll(log, all);
    log.updateHighWatermark(4);
    disk.fault = noRoom;
    await log.advanceLogStart(2);
    disk.fault = (operation, path) =>
      operation === "read" && path.includes("-00000/0") && path.endsWith("0000.log")
        ? "EIO"
        : undefined;
    await log.truncateTo(5);
    assert.equal(log.state.kind, "online");
    knows(log, all.slice(0, 5), 2);
  });
});

test("a first segment that recovery began anew leaves the snapshot that stands behind it", async () => {
  const settings = { log: { segmentBytes: 800, fileDeleteDelayMs: 0 } };
  await simulate(settings, async ({ die, start }) => {
    const log = await (await start()).log();
    await log.becomeLeader(1);
    const all = allOf(10);
    await appendAll(log, all);
    await log.flush();
    // The recovery point is at 10. The journal has the truncation, and all that follows it.
    await log.truncateTo(3);
    await appendAll(log, all.slice(3, 10));
    log.updateHighWatermark(9);
    await log.advanceLogStart(4);
    die("process");
    // Its first segment begins at the cut, 3; the one that was left had begun at 4.
    const again = await (await start()).log();
    assert.deepEqual([again.logStartOffset, again.logEndOffset], [4, 10]);
    await again.truncateTo(4);
    knows(again, all.slice(0, 4));
  });
});
