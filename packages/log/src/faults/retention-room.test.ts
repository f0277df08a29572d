/** Retention makes the room that a truncation of another partition waits for. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { PartitionState } from "../api.ts";
import { appendAll, batchOf, topicA } from "../testing.ts";
import { simulate } from "../testing-sim.ts";

test("retention frees the room that a truncation waits for", async () => {
  const settings = {
    log: { segmentBytes: 1000, fileDeleteDelayMs: 1 },
    manager: { retentionCheckIntervalMs: 1000 },
  };
  await simulate(settings, async ({ disk, sleep, start }) => {
    const { log: logOf } = await start();
    const log = await logOf(0);
    const other = await logOf(1);
    const producer = { producerId: 1, producerEpoch: 0 };
    for (let i = 0; i < 12; i += 1) {
      const batch = batchOf([{ value: "x".repeat(300) }], { ...producer, baseSequence: i });
      await appendAll(log, [batch]);
      await appendAll(other, [batchOf([{ value: "x".repeat(300) }])]);
    }
    // The disk is full until the other partition's old segments have gone.
    disk.fault = (operation, path) =>
      operation === "write" && path.includes("/producers.") && other.logStartOffset === 0
        ? "ENOSPC"
        : undefined;
    let cut = false;
    const truncating = log.truncateTo(11).then(() => {
      cut = true;
    });
    other.updateConfig({ ...other.config, retentionMs: 1000 });
    await sleep(600_000);
    const goneBy = other.logStartOffset;
    disk.fault = () => undefined;
    await truncating;
    assert.ok(goneBy > 0, "nothing of the other partition went in ten minutes");
    assert.ok(cut);
  });
});

test("interval flushes go on beside a truncation that waits for room", async () => {
  const settings = { log: { segmentBytes: 1000, flushPolicy: "interval" } } as const;
  await simulate(settings, async ({ disk, sleep, start }) => {
    const { log: logOf } = await start();
    const log = await logOf(0);
    const other = await logOf(1);
    const producer = { producerId: 1, producerEpoch: 0 };
    for (let i = 0; i < 12; i += 1) {
      const batch = batchOf([{ value: "x".repeat(300) }], { ...producer, baseSequence: i });
      await appendAll(log, [batch]);
    }
    let syncs = 0;
    disk.fault = (operation, path) => {
      if (operation === "sync" && path.includes("-00001/")) syncs += 1;
      const full = operation === "write" && path.includes("-00000/producers.");
      return full ? "ENOSPC" : undefined;
    };
    const truncating = log.truncateTo(11);
    await sleep(2000);
    await appendAll(other, [batchOf([{ value: "y" }])]);
    await sleep(60_000);
    const seen = syncs;
    disk.fault = () => undefined;
    await truncating;
    assert.ok(seen > 0, "not fsynced for a minute, the interval is a second");
  });
});

test("a partition whose truncation waits for room can be deleted", async () => {
  await simulate({ log: { segmentBytes: 1000 } }, async ({ disk, sleep, start }) => {
    const { log: logOf, manager } = await start();
    const log = await logOf(0);
    const producer = { producerId: 1, producerEpoch: 0 };
    for (let i = 0; i < 12; i += 1) {
      const batch = batchOf([{ value: "x".repeat(300) }], { ...producer, baseSequence: i });
      await appendAll(log, [batch]);
    }
    disk.fault = (operation, path) =>
      operation === "write" && path.includes("-00000/producers.") ? "ENOSPC" : undefined;
    let given: PartitionState | undefined;
    const truncating = log.truncateTo(11).catch(() => {
      given = log.state;
    });
    await sleep(1000);
    let deleted = false;
    const deleting = manager.delete(topicA, 0).then(() => {
      deleted = true;
    });
    await sleep(60_000);
    const inTime = deleted;
    disk.fault = () => undefined;
    await truncating;
    await deleting;
    assert.ok(inTime, "the room that it takes cannot be freed");
    // Its files are not what a checkpoint would say, should the journal never have the deletion.
    assert.match(given?.kind === "offline" ? given.reason : "", /a truncation waited for room/);
  });
});
