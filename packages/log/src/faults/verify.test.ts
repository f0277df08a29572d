/** What the check of a directory must not take for damage. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { syncCompressor } from "@millrace/record/node";
import { Incarnation } from "@millrace/sim";
import { offsetName, partitionDirectory } from "../files/paths.ts";
import { appendAll, batchOf, topicA } from "../testing.ts";
import { simulate } from "../testing-sim.ts";
import { verifyDirectory } from "../tools/verify.ts";

test("a log that was cut behind its recovery point is not damaged, wherever the cut was ended", async () => {
  for (let seed = 1; seed <= 60; seed += 1) {
    await simulate({ seed, log: { indexIntervalBytes: 500 } }, async (simulation) => {
      const { disk, kernel, sleep, start } = simulation;
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      await appendAll(
        log,
        Array.from({ length: 10 }, () => batchOf([{ value: "x".repeat(300) }])),
      );
      await log.flush();
      void log.truncateTo(4).catch(() => {});
      await sleep(seed / 10);
      first.die("process");
      const names = disk.mount(new Incarnation(kernel));
      const { damages } = await verifyDirectory(names, syncCompressor);
      assert.deepEqual(damages, [], `seed ${seed}`);
    });
  }
});

test("a log that was cut at its start is not damaged after a clean stop", async () => {
  await simulate({}, async ({ disk, kernel, start }) => {
    const { log: logOf, manager } = await start();
    const log = await logOf();
    await log.becomeLeader(1);
    const pair = batchOf([{ value: "a" }, { value: "b" }]);
    await appendAll(log, [pair, pair]);
    await log.advanceLogStart(3);
    // The batch below the log start goes, too.
    await log.truncateTo(3);
    await manager.close(true);
    const names = disk.mount(new Incarnation(kernel));
    const { clean, damages } = await verifyDirectory(names, syncCompressor);
    assert.deepEqual({ clean, damages }, { clean: true, damages: [] });
  });
});

test("an index that a power cut tore in the segment of the recovery point is not damage", async () => {
  const settings = { log: { segmentBytes: 1500, indexIntervalBytes: 1 } };
  for (let seed = 1; seed <= 60; seed += 1) {
    await simulate({ seed, ...settings }, async ({ disk, kernel, sleep, start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      const batches = Array.from({ length: 4 }, () => batchOf([{ value: "x".repeat(300) }]));
      await appendAll(log, batches);
      await log.flush();
      await appendAll(log, batches);
      await sleep(50);
      first.die("power");
      const names = disk.mount(new Incarnation(kernel));
      const { damages } = await verifyDirectory(names, syncCompressor);
      assert.deepEqual(damages, [], `seed ${seed}`);
    });
  }
});

const directory = partitionDirectory(topicA, 0);
const isLog = (path: string): boolean => path.startsWith(directory) && path.endsWith(".log");

/** Damage of a directory that was stopped cleanly, and that the next start, or a read, tells. */
const losses: readonly { readonly what: string; readonly gone: (path: string) => boolean }[] = [
  { what: "its directory", gone: (path) => path.startsWith(directory) },
  { what: "all of its segments", gone: isLog },
  { what: "its first segment", gone: (path) => path.endsWith(`${offsetName(0)}.log`) },
];

for (const { what, gone } of losses) {
  test(`a partition that lacks ${what} is not sound`, async () => {
    await simulate({ log: { segmentBytes: 800 } }, async ({ disk, kernel, start }) => {
      const { log: logOf, manager } = await start();
      const log = await logOf();
      await log.becomeLeader(1);
      await appendAll(
        log,
        Array.from({ length: 8 }, () => batchOf([{ value: "x".repeat(300) }])),
      );
      await manager.close(true);
      const names = disk.mount(new Incarnation(kernel));
      const lost = disk.paths().filter(gone);
      for (const path of lost) await names.unlink(path);
      if (what === "its directory") await names.removeDirectory(directory);
      const { damages } = await verifyDirectory(names, syncCompressor);
      assert.notDeepEqual(damages, []);
    });
  });
}

test("an acknowledged batch that rotted in the journal, and is in no segment, is damage", async () => {
  await simulate({ manager: { writeLingerMs: 5000 } }, async ({ disk, kernel, start }) => {
    const first = await start();
    const log = await first.log();
    for (let i = 0; i < 6; i += 1) await appendAll(log, [batchOf([{ value: `value ${i}` }])]);
    first.die("process");
    const journal = "journal/00000000.journal";
    const at = disk.content(journal)?.indexOf("value 2") ?? -1;
    assert.ok(disk.flipBit(journal, at, 1));
    const names = disk.mount(new Incarnation(kernel));
    const { damages } = await verifyDirectory(names, syncCompressor);
    assert.equal((await (await start()).log()).state.kind, "offline");
    assert.notDeepEqual(damages, []);
  });
});

test("a snapshot of producers that rotted is told", async () => {
  await simulate({}, async ({ disk, kernel, start }) => {
    const { log: logOf, manager } = await start();
    const producer = { producerId: 7, producerEpoch: 0, baseSequence: 0 };
    await appendAll(await logOf(), [batchOf([{ value: "a" }], producer)]);
    await manager.close(true);
    const snapshot = disk.paths().find((path) => path.includes("/producers."));
    assert.ok(snapshot !== undefined && disk.flipBit(snapshot, 12, 1));
    const names = disk.mount(new Incarnation(kernel));
    const { damages } = await verifyDirectory(names, syncCompressor);
    assert.notDeepEqual(damages, []);
  });
});

test("deleted segments that a power cut brings back in part are not damage", async () => {
  for (let seed = 1; seed <= 60; seed += 1) {
    await simulate({ seed, log: { segmentBytes: 800 } }, async ({ disk, kernel, start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      await appendAll(
        log,
        Array.from({ length: 8 }, () => batchOf([{ value: "x".repeat(300) }])),
      );
      await log.flush();
      await log.advanceLogStart(5);
      first.die("power");
      const names = disk.mount(new Incarnation(kernel));
      const { damages } = await verifyDirectory(names, syncCompressor);
      const again = await (await start()).log();
      const found = [again.state.kind, again.logStartOffset, again.logEndOffset];
      assert.deepEqual(found, ["online", 5, 8]);
      assert.deepEqual(damages, [], `seed ${seed}`);
    });
  }
});

test("what was acknowledged is not told to be cut by the next start", async () => {
  await simulate({}, async ({ disk, kernel, sleep, start }) => {
    const first = await start();
    const log = await first.log();
    for (let i = 0; i < 6; i += 1) await appendAll(log, [batchOf([{ value: `value ${i}` }])]);
    await sleep(50);
    first.die("process");
    const path = `${directory}/${offsetName(0)}.log`;
    const at = disk.content(path)?.indexOf("value 2") ?? -1;
    assert.ok(disk.flipBit(path, at, 1));
    const names = disk.mount(new Incarnation(kernel));
    const { tornBytes } = await verifyDirectory(names, syncCompressor);
    // The journal has all of it: the start brings it back.
    assert.equal((await (await start()).log()).logEndOffset, 6);
    assert.equal(tornBytes, 0);
  });
});
