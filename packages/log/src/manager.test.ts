import assert from "node:assert/strict";
import { test } from "node:test";
import { queryObjects } from "node:v8";
import { defaultLogConfig } from "./defaults.ts";
import { WorkQueue } from "./files/work-queue.ts";
import { Partition } from "./partition/partition.ts";
import { Segment } from "./segment/segment.ts";
import { appendAll, batchOf, topicA } from "./testing.ts";
import { simulate } from "./testing-sim.ts";

/** Objects in memory of the kinds that a partition is made of. */
const inMemory = (): number[] =>
  [Partition, Segment, WorkQueue].map((kind) => queryObjects(kind, { format: "count" }));

test("10,000 partitions that were made and deleted leave nothing behind", async () => {
  const count = 10_000;
  const atOnce = 500;
  const config = { ...defaultLogConfig, fileDeleteDelayMs: 10 };
  await simulate({ seed: 1 }, async ({ disk, sleep, start }) => {
    const { manager } = await start();
    const before = { objects: inMemory(), directories: disk.image().directories };
    for (let from = 0; from < count; from += atOnce) {
      const lives = Array.from({ length: atOnce }, async (_, i) => {
        const log = await manager.create(topicA, "t", from + i, config);
        if (i === 0) await appendAll(log, [batchOf([{ value: "x" }])], 0);
        await manager.delete(topicA, from + i);
      });
      await Promise.all(lives);
    }
    await sleep(1000);
    assert.deepEqual([...manager.partitions()], []);
    assert.deepEqual({ objects: inMemory(), directories: disk.image().directories }, before);
    assert.equal(manager.gauges().openFiles, 0);
    await manager.close(true);
  });
});
