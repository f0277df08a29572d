/** Retention whose settings change while it looks, or change so that more is kept. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { appendAll, batchOf } from "../testing.ts";
import { simulate } from "../testing-sim.ts";

const hour = 3_600_000;
const now = 1_700_000_000_000;
const old = Array.from({ length: 20 }, () =>
  batchOf([{ value: "x".repeat(100), timestampMs: now - 100 * hour }]),
);

test("settings that keep everything stop a retention that is under way", async () => {
  const settings = { log: { retentionMs: hour, segmentBytes: 400 } };
  await simulate(settings, async ({ sleep, start }) => {
    const first = await start();
    await appendAll(await first.log(), old);
    await first.manager.close(true);
    first.die("process");
    const log = await (await start()).log();
    log.updateHighWatermark(20);
    // Whoever asks for it needs no announcement; and then thinks better of it.
    log.updateConfig({ ...log.config, retentionMs: hour / 2 });
    const looking = log.runRetention();
    // It reads indexes, and has begun with the old settings.
    await sleep(1);
    log.updateConfig({ ...log.config, retentionMs: -1 });
    await looking;
    await log.runRetention();
    assert.equal(log.logStartOffset, 0);
  });
});

test("who asks for more to be kept asks for nothing to go", async () => {
  const settings = { log: { retentionMs: hour, segmentBytes: 400 } };
  await simulate(settings, async ({ start }) => {
    const log = await (await start()).log();
    await appendAll(log, old);
    log.updateConfig({ ...log.config, retentionMs: 2 * hour });
    assert.equal(await log.runRetention(), 0, "announced first");
  });
});
