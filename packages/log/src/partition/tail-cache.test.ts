/** What is held in the ring of the tail cache stays there, and nothing is held for ever. */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import type { PartitionLog } from "../api.ts";
import { appendAll, batchOf, readAll } from "../testing.ts";
import { type SimulatedLog, simulate } from "../testing-sim.ts";
import { TailCache } from "./tail-cache.ts";

const storedOf = (baseOffset: number, size: number, fill: number) => {
  const [prefix, body] = [Buffer.alloc(10, fill), Buffer.alloc(size, fill)];
  return { baseOffset, lastOffset: baseOffset, prefix, body };
};

test("nothing is copied over a batch that is held, whatever is appended, dropped and let go", () => {
  const push = fc.record({
    kind: fc.constant("push" as const),
    size: fc.integer({ min: 1, max: 400 }),
  });
  const rest = fc.record({ kind: fc.constantFrom("hold", "release", "clear"), size: fc.nat() });
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(2), fc.oneof(push, push, rest)), { maxLength: 80 }),
      fc.integer({ min: 600, max: 3000 }),
      (steps, bytesMax) => {
        let skipped = 0;
        const cache = new TailCache(bytesMax, () => {
          skipped += 1;
        });
        const tails = [0, 1, 2].map(() => cache.partition());
        const append = (which: number, size: number, i: number) =>
          tails[which]?.push(storedOf(i, size, i + 1));
        const held: { entry: ReturnType<typeof append>; is: Buffer }[] = [];
        for (const [i, [which, { kind, size }]] of steps.entries()) {
          const one = held[size % Math.max(1, held.length)];
          if (kind === "push") {
            const before = skipped;
            const entry = append(which, size, i);
            if (entry === undefined) assert.ok(held.length > 0 && skipped === before + 1);
            else if (i % 2 === 0) {
              entry.hold();
              held.push({ entry, is: Buffer.alloc(10 + size, i + 1) });
            }
          } else if (kind === "clear") tails[which]?.clear();
          else if (one !== undefined && kind === "hold") {
            one.entry?.hold();
            held.push(one);
          } else if (one !== undefined) {
            one.entry?.release();
            held.splice(held.indexOf(one), 1);
          }
          for (const { entry, is } of held) assert.deepEqual(Buffer.from(entry?.chunk ?? []), is);
        }
        for (const { entry } of held) entry?.release();
        assert.ok(append(0, 400, 0) !== undefined, "what was let go makes room");
      },
    ),
    { numRuns: 1000 },
  );
});

test("a batch is not let go more often than it was held", () => {
  const entry = new TailCache(1000).partition().push(storedOf(0, 100, 1));
  entry?.hold();
  entry?.release();
  assert.throws(() => entry?.release(), /what is released was held/);
});

const value = (i: number): string => `v${i}`.padEnd(300, ".");

/** A ring that holds six of them. */
const ring = 6 * 500;

/** Appends in bursts, so that the ring goes round while older batches are being written. */
const appendInBursts = async (
  { log }: SimulatedLog,
  sleep: (ms: number) => Promise<void>,
): Promise<number> => {
  const [one, other] = [await log(0), await log(1)];
  await one.becomeLeader(1);
  await other.becomeLeader(1);
  const count = 300;
  const acked: Promise<unknown>[] = [];
  for (let i = 0; i < count; i += 1) {
    for (const at of [one, other]) acked.push(appendAll(at, [batchOf([{ value: value(i) }])]));
    if (i % 3 === 2) await sleep(0.4);
  }
  await Promise.all(acked);
  return count;
};

/** A log begins with these many of them. */
const assertHas = async (log: PartitionLog, count: number): Promise<void> => {
  log.updateHighWatermark(log.logEndOffset);
  const values = (await readAll(log, 0)).map((record) => record.value).slice(0, count);
  assert.deepEqual(
    values,
    Array.from({ length: count }, (_, i) => value(i)),
  );
};

for (const flushPolicy of ["commit", "none"] as const) {
  for (const how of ["clean stop", "kill"]) {
    test(`what goes to the journal and to segments is what was appended (${flushPolicy}, ${how})`, async () => {
      const manager = { tailCacheBytesMax: ring, unwrittenBytesMax: 8000, writeLingerMs: 2 };
      await simulate({ log: { flushPolicy }, manager }, async ({ sleep, start }) => {
        const life = await start();
        const count = await appendInBursts(life, sleep);
        const one = await life.log();
        await one.flush();
        await appendAll(one, [batchOf([{ value: "last" }])]);
        assert.ok(life.manager.gauges().tailCacheBytes > 0, "the ring is free again");
        if (how === "clean stop") await life.manager.close(true);
        life.die(how === "kill" && flushPolicy === "commit" ? "power" : "process");
        const next = await start();
        for (const index of [0, 1]) {
          const log = await next.log(index);
          await assertHas(log, count);
        }
      });
    });
  }
}

test("what is acknowledged survives a power cut before its segment has it", async () => {
  const manager = { tailCacheBytesMax: ring, writeLingerMs: 1e6 };
  await simulate({ manager }, async ({ sleep, start }) => {
    const life = await start();
    const count = await appendInBursts(life, sleep);
    life.die("power");
    const log = await (await start()).log();
    await assertHas(log, count);
  });
});

test("a round that the journal writes late is what was appended, though segments were faster", async () => {
  const manager = { tailCacheBytesMax: ring, writeLingerMs: 0 };
  await simulate({ manager }, async ({ disk, kernel, sleep, start }) => {
    const life = await start();
    await life.log(0);
    await life.log(1);
    const slow = (): boolean => Math.floor(kernel.nowMs / 20) % 2 === 0;
    disk.fault = (operation, path) =>
      operation === "write" && path.startsWith("journal") && slow() ? "EAGAIN" : undefined;
    const count = await appendInBursts(life, sleep);
    life.die("power");
    disk.fault = () => undefined;
    const log = await (await start()).log();
    await assertHas(log, count);
  });
});

for (const how of ["truncated", "deleted"]) {
  test(`what is queued for a segment that is ${how} is let go`, async () => {
    const manager = { tailCacheBytesMax: ring, writeLingerMs: 1e6 };
    await simulate({ manager }, async ({ sleep, start }) => {
      const life = await start();
      const [log, other] = [await life.log(0), await life.log(1)];
      await log.becomeLeader(1);
      await other.becomeLeader(1);
      const batches = (from: number) =>
        Array.from({ length: 20 }, (_, i) => batchOf([{ value: value(from + i) }]));
      await appendAll(log, batches(0));
      assert.equal(life.manager.gauges().tailCacheBytes, 0, "the ring is full of what is held");
      if (how === "deleted") await life.manager.delete(log.topicId, log.partition);
      else await log.truncateTo(0);
      await sleep(10);
      await appendAll(other, batches(0).slice(0, 3));
      assert.ok(life.manager.gauges().tailCacheBytes > 900, "all three are in it");
    });
  });
}
