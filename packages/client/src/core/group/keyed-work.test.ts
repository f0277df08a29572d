/** Handlers of several records at once: their order, what is committed, and what comes again. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { base, groupSetUp } from "../../testing/group-set-up.ts";
import { until, writeBatch } from "../../testing/set-up.ts";
import type { ConsumedRecord } from "../types.ts";

const limit = { timeout: 15_000 };

test(
  "handlers run at once, those of one key in order, and offsets follow the first",
  limit,
  async () => {
    const { client, coordinator } = groupSetUp(1);
    const producer = client.producer({ lingerMs: 20 });
    for (const key of ["a", "b", "a", "c"]) {
      producer.write({ topic: "events", partition: 0, key, value: key });
    }
    await producer.close();
    const consumer = client.consumer({ ...base, concurrency: { perPartition: 3 } });
    const running = new Map<string, () => void>();
    const processing = consumer.process(async (record: ConsumedRecord) => {
      const name = `${record.keyText()}${record.offset}`;
      await new Promise<void>((resolve) => running.set(name, resolve));
      running.delete(name);
    });
    await until(() => coordinator.heard().includes("open events"));
    coordinator.last.assign(1, [0]);
    await until(() => running.size === 3);
    assert.deepEqual([...running.keys()], ["a0", "b1", "c3"]);
    coordinator.heard();
    running.get("b1")?.();
    running.get("c3")?.();
    await until(() => running.size === 1);
    await consumer.commit();
    assert.deepEqual(coordinator.heard(), ["commit 0@0"], "the first is unfinished");
    running.get("a0")?.();
    await until(() => running.has("a2"));
    await consumer.commit();
    assert.deepEqual(coordinator.heard(), ["commit 0@2"]);
    coordinator.last.assign(2, []);
    await sleep(30);
    assert.deepEqual(coordinator.heard(), [], "what runs is waited for");
    running.get("a2")?.();
    await until(() => coordinator.transcript.includes("report 2: nothing"));
    assert.deepEqual(coordinator.heard(), ["commit 0@4", "report 2: nothing"]);
    await consumer.close();
    await processing;
  },
);

test(
  "a partition whose handlers are slow waits, and only as long as the application lets it",
  limit,
  async () => {
    const { client, coordinator } = groupSetUp(2);
    await writeBatch(
      client,
      Array.from({ length: 50 }, () => "x"),
      0,
    );
    const consumer = client.consumer({ ...base });
    const waiting: (() => void)[] = [];
    let isSlow = true;
    const seen: number[] = [];
    const processing = consumer.process(async ({ partition }) => {
      seen.push(partition);
      if (partition === 0 && isSlow) await new Promise<void>((resolve) => waiting.push(resolve));
    });
    await until(() => coordinator.heard().includes("open events"));
    coordinator.last.assign(1, [0, 1]);
    await until(() => waiting.length === 1);
    await writeBatch(client, ["y", "y"], 1);
    await until(() => seen.filter((partition) => partition === 1).length === 2);
    assert.equal(seen.filter((partition) => partition === 0).length, 1, "the other one goes on");
    const place = { topic: "events", partition: 0 };
    consumer.pause(place);
    isSlow = false;
    waiting.shift()?.();
    // One that runs and four that wait were taken before.
    await until(() => seen.filter((partition) => partition === 0).length === 5);
    await sleep(30);
    assert.equal(seen.filter((partition) => partition === 0).length, 5, "it is paused");
    consumer.resume(place);
    await until(() => seen.length === 52);
    await consumer.close();
    await processing;
  },
);

test("what is given back has no gap: records behind it would come twice", limit, async () => {
  const { client, coordinator } = groupSetUp(1);
  const producer = client.producer({ lingerMs: 20 });
  for (const key of ["a", "a", "b", "a", "b"]) {
    producer.write({ topic: "events", partition: 0, key, value: key });
  }
  await producer.close();
  const consumer = client.consumer({ ...base, concurrency: { perPartition: 2 } });
  const running = new Map<string, () => void>();
  const begun: string[] = [];
  const processing = consumer.process(async (record: ConsumedRecord) => {
    const name = `${record.keyText()}${record.offset}`;
    begun.push(name);
    await new Promise<void>((resolve) => running.set(name, resolve));
  });
  await until(() => coordinator.heard().includes("open events"));
  coordinator.last.assign(1, [0]);
  await until(() => begun.length === 2);
  coordinator.last.assign(2, []);
  await sleep(30);
  coordinator.heard();
  // a1 lies before b2, which has begun; a3 and b4 lie behind it.
  running.get("b2")?.();
  running.get("a0")?.();
  await until(() => begun.length === 3);
  running.get("a1")?.();
  await until(() => coordinator.transcript.includes("report 2: nothing"));
  assert.deepEqual(begun, ["a0", "b2", "a1"]);
  assert.deepEqual(coordinator.heard(), ["commit 0@3", "report 2: nothing"]);
  await consumer.close();
  await processing;
});

test("a handler that throws ends processing, and its record comes again", limit, async () => {
  const { client, coordinator } = groupSetUp(1);
  await writeBatch(client, ["a", "b", "c"]);
  const consumer = client.consumer({ ...base });
  const seen: bigint[] = [];
  const failing = consumer.process((record) => {
    seen.push(record.offset);
    if (record.offset === 1n) throw new Error("broken");
  });
  await until(() => coordinator.heard().includes("open events"));
  coordinator.last.assign(1, [0]);
  await assert.rejects(failing, /broken/);
  assert.deepEqual(consumer.positions(), [{ topic: "events", partition: 0, offset: 1n }]);
  const again = consumer.process((record) => {
    seen.push(record.offset);
  });
  await until(() => seen.length === 4);
  assert.deepEqual(seen, [0n, 1n, 1n, 2n]);
  await consumer.close();
  await again;
});
