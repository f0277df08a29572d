/** What the index files say, when cuts, crashes and lookups come together. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { syncCompressor } from "@millrace/record/node";
import { Incarnation } from "@millrace/sim";
import { offsetName, partitionDirectory } from "../files/paths.ts";
import { SegmentIndex } from "../segment/segment-index.ts";
import { appendAll, batchOf, topicA } from "../testing.ts";
import { type Simulation, simulate } from "../testing-sim.ts";
import { verifyDirectory } from "../tools/verify.ts";

const batches = (count: number, timestampMs: number, bytes = 300) =>
  Array.from({ length: count }, (_, i) =>
    batchOf([{ value: `v${i}`.padEnd(bytes, "."), timestampMs }]),
  );

const indexPath = `${partitionDirectory(topicA, 0)}/${offsetName(0)}.index`;

/** After a clean stop the files must be beyond reproach. */
const assertSound = async ({ disk, kernel }: Simulation, what: string): Promise<void> => {
  const { clean, damages } = await verifyDirectory(
    disk.mount(new Incarnation(kernel)),
    syncCompressor,
  );
  assert.deepEqual({ clean, damages }, { clean: true, damages: [] }, what);
};

test("a lookup believes no entry of an index that a truncation is about to cut", async () => {
  const settings = { log: { indexIntervalBytes: 1000 }, manager: { indexCacheBytesMax: 0 } };
  for (let seed = 1; seed <= 80; seed += 1) {
    await simulate({ seed, ...settings }, async (simulation) => {
      const { manager, log: logOf } = await simulation.start();
      // The rows of the second push those of the first out of memory.
      const logs = [await logOf(0), await logOf(1)];
      for (const log of logs) {
        await log.becomeLeader(1);
        await appendAll(log, batches(20, 1000));
        await log.flush();
      }
      const [log] = logs;
      assert.ok(log !== undefined);
      await log.becomeLeader(2);
      // Some of the lookups come between the cut in memory and the cut of the files.
      const truncated = log.truncateTo(20);
      await simulation.sleep(seed / 20);
      await Promise.all([truncated, log.maxTimestamp()]);
      await manager.close(true);
      await assertSound(simulation, `seed ${seed}`);
    });
  }
});

test("index rows are written once the timestamps before them are known", async () => {
  // No checkpoint comes between: rows are written once there are many.
  const settings = {
    log: { indexIntervalBytes: 700 },
    manager: { journalBytesMax: 16 * 1024 * 1024 },
  };
  for (const unread of ["crash", "truncation"] as const) {
    await simulate({ seed: 1, ...settings }, async (simulation) => {
      const first = await simulation.start();
      const before = await first.log();
      await before.becomeLeader(1);
      await appendAll(before, [...batches(4, 1000), ...batches(1, 9000)]);
      if (unread === "truncation") await appendAll(before, batches(1, 1000));
      await before.flush();
      if (unread === "crash") first.die("process");
      else await before.truncateTo(5);
      const second = unread === "crash" ? await simulation.start() : first;
      const log = await second.log();
      await log.becomeLeader(2);
      for (let i = 0; i < 12; i += 1) await appendAll(log, batches(100, 1000), 2);
      await simulation.sleep(100);
      const rows = simulation.disk.image().files.get(indexPath)?.length ?? 0;
      assert.ok(rows >= 500 * 16, `${rows} bytes of rows, ${unread}`);
      assert.equal((await log.maxTimestamp())?.offset, 4, unread);
      assert.equal((await log.offsetForTimestamp(5000))?.offset, 4, unread);
      await second.manager.close(true);
      await assertSound(simulation, unread);
    });
  }
});

test("rows wait for the timestamps before them", () => {
  const index = new SegmentIndex("0.log");
  index.found(1, 1, true);
  index.lastRowAt(100);
  index.append({ offset: 5, position: 200 }, 1000, 50);
  assert.equal(index.nextWrite(300, true, 6), undefined);
  index.completeMax(9000);
  const row = { offset: 5, position: 200, maxBeforeMs: 9000 };
  assert.deepEqual(index.nextWrite(300, false, 6)?.rows, [row]);
});

test("a row of the batch that a cut takes is void", () => {
  const index = new SegmentIndex("0.log");
  index.append({ offset: 0, position: 0 }, 1000, 50);
  index.append({ offset: 3, position: 100 }, 1000, 50);
  index.append({ offset: 5, position: 200 }, 1000, 50);
  index.writing();
  index.wrote(index.nextWrite(300, false, 6), 6);
  assert.equal(index.rowsOnDisk, 2);
  index.cutTo({ offset: 5, position: 200 });
  assert.deepEqual([index.rowsOnDisk, index.timesOnDisk], [1, 1]);
});

for (const written of [0, 1]) {
  test(`a lookup knows the times of batches that a cut left, ${written} of them in the file`, async () => {
    await simulate({ manager: { writeLingerMs: 50 } }, async ({ sleep, start }) => {
      const log = await (await start()).log();
      const append = (timestampMs: number) => appendAll(log, batches(1, timestampMs));
      if (written > 0) await append(1000);
      await sleep(100);
      await append(5000);
      // Takes the epoch alone, and needs no look at the file.
      await log.becomeLeader(2);
      await log.truncateTo(written + 1);
      log.updateHighWatermark(written + 1);
      assert.equal((await log.maxTimestamp())?.timestampMs, 5000);
      assert.equal((await log.offsetForTimestamp(2000))?.offset, written);
    });
  });
}

const timePath = indexPath.replace(/index$/, "timeindex");

/** Power is cut at a step of the checkpoint that writes a lost index again. True: it was over. */
const cutPowerAt = async (step: number, lost: string, simulation: Simulation): Promise<boolean> => {
  const { die, disk, kernel, start } = simulation;
  const first = await start();
  const log = await first.log();
  await appendAll(log, batches(40, 1000));
  await first.manager.close(true);
  first.die("process");
  const files = disk.mount(new Incarnation(kernel));
  for (const path of lost === "both" ? [indexPath, timePath] : [lost]) {
    const file = await files.open(path, "write");
    await file.truncate(0);
    await file.sync();
    await file.close();
  }
  const again = await (await start()).log();
  again.updateHighWatermark(40);
  assert.equal((await again.offsetForTimestamp(1000))?.offset, 0);
  await appendAll(again, batches(1, 2000));
  const cut = Promise.withResolvers<boolean>();
  const before = disk.steps;
  disk.onStep = (at) => {
    if (at !== before + step) return;
    die("power");
    cut.resolve(false);
  };
  const over = await Promise.race([again.flush().then(() => true), cut.promise]);
  disk.onStep = () => {};
  if (over) die("power");
  await start();
  const { damages } = await verifyDirectory(disk.mount(new Incarnation(kernel)), syncCompressor);
  assert.deepEqual(damages, [], `step ${step}`);
  return over;
};

for (const lost of ["both", indexPath]) {
  test(`a power cut leaves no damage of an index that was lost: ${lost}`, async () => {
    const settings = { log: { segmentBytes: 8000, indexIntervalBytes: 1000 } };
    for (let seed = 1; seed <= 8; seed += 1) {
      let over = false;
      for (let step = 1; !over; step += 1) {
        await simulate({ seed, ...settings }, async (simulation) => {
          over = await cutPowerAt(step, lost, simulation);
        });
      }
    }
  });
}

for (const file of ["index", "timeindex"]) {
  for (const bytes of [5, 400]) {
    test(`${bytes} bytes in a segment's ${file} alone are cut off by the next start`, async () => {
      const path = indexPath.replace(/index$/, file);
      await simulate({ log: { indexIntervalBytes: 1000 } }, async (simulation) => {
        const { disk, kernel, start } = simulation;
        const first = await start();
        await appendAll(await first.log(), batches(2, 1000));
        await simulation.sleep(100);
        first.die("process");
        const left = await disk.mount(new Incarnation(kernel)).open(path, "create");
        await left.write([Buffer.alloc(bytes, 1)], 0);
        await left.sync();
        await left.close();
        const second = await start();
        assert.equal(disk.image().files.get(path)?.length, 0);
        assert.equal(disk.durableBytes(path), 0);
        const log = await second.log();
        await appendAll(log, batches(40, 2000));
        await log.flush();
        await second.manager.close(true);
        await assertSound(simulation, `${bytes} bytes`);
      });
    });
  }
}

test("rows that this life wrote are cut with their segment, durably before a point", async () => {
  await simulate({ log: { indexIntervalBytes: 1000 } }, async (simulation) => {
    const { disk, start } = simulation;
    const log = await (await start()).log();
    await log.becomeLeader(1);
    await appendAll(log, batches(40, 1000));
    await log.flush();
    const bytes = (): number => disk.image().files.get(indexPath)?.length ?? 0;
    assert.ok(bytes() > 5 * 16);
    await log.becomeLeader(2);
    await log.truncateTo(2);
    assert.equal(bytes(), 0);
    await log.flush();
    assert.equal(disk.durableBytes(indexPath), 0);
  });
});

test("the index of a segment that has none costs a start no look at it", async () => {
  await simulate({}, async ({ disk, sleep, start }) => {
    const first = await start();
    await appendAll(await first.log(), batches(2, 1000));
    await sleep(100);
    first.die("process");
    const looks: string[] = [];
    disk.fault = (operation, path) => {
      if (/index$/.test(path)) looks.push(`${operation} ${path}`);
      return undefined;
    };
    await start();
    assert.deepEqual(looks, []);
  });
});
