/** Retention of a log that grows. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { appendAll, batchOf } from "../testing.ts";
import { simulate } from "../testing-sim.ts";

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
