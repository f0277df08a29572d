/** What is acknowledged of a partition that is offline stays in some file, for people. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Incarnation, type SimDisk } from "@millrace/sim";
import type { PartitionLog } from "../api.ts";
import { offsetName, partitionDirectory } from "../files/paths.ts";
import { appendAll, batchOf, readAll, topicA } from "../testing.ts";
import { noPoints, simulate } from "../testing-sim.ts";

const directory = partitionDirectory(topicA, 0);
const segment = (base: number): string => `${directory}/${offsetName(base)}.log`;
const textOf = (i: number): string => `value-${i}-`.padEnd(300, ".");

const appendEach = async (log: PartitionLog, values: readonly number[]): Promise<void> => {
  for (const i of values) await appendAll(log, [batchOf([{ value: textOf(i) }])]);
};

/** Takes the space of every round that was released. */
const overwriteJournal = (log: PartitionLog): Promise<void> =>
  appendEach(
    log,
    Array.from({ length: 12 }, (_, i) => 100 + i),
  );

/** Values of these that no file holds. */
const lost = (disk: SimDisk, values: readonly number[]): number[] => {
  const contents = disk.paths().map((path) => disk.content(path));
  return values.filter((i) => !contents.some((content) => content?.includes(textOf(i))));
};

test("a segment that is made after its partition went offline keeps its name", async () => {
  for (let seed = 1; seed <= 12; seed += 1) {
    const settings = { seed, log: { segmentBytes: 800 }, manager: { writeLingerMs: 500 } };
    await simulate(settings, async ({ disk, sleep, start }) => {
      const first = await start();
      const log = await first.log();
      const other = await first.log(1);
      await appendEach(log, [0, 1]);
      await log.flush();
      await appendEach(log, [2, 3]);
      assert.ok(disk.flipBit(segment(0), 200, 1));
      await assert.rejects(log.read(0, 1000, "log_end"));
      await sleep(50);
      await other.flush();
      await overwriteJournal(other);
      first.die("power");
      assert.deepEqual(lost(disk, [1, 2, 3]), [], `seed ${seed}`);
    });
  }
});

test("a file that cannot be opened at the end of a start takes no batches with it", async () => {
  const settings = {
    log: { segmentBytes: 800 },
    manager: { openFilesMax: 1, writeLingerMs: 5000 },
  };
  let offline = 0;
  for (let seed = 1; seed <= 24; seed += 1) {
    await simulate({ seed, ...settings }, async ({ disk, start }) => {
      const first = await start();
      await appendEach(await first.log(), [0, 1, 2, 3, 4, 5]);
      await first.log(1);
      first.die("power");
      let opens = 0;
      disk.fault = (operation, path) => {
        if (operation !== "open" || path !== segment(2)) return undefined;
        opens += 1;
        return opens === 1 + Math.ceil(seed / 6) ? "EIO" : undefined;
      };
      const second = await start();
      disk.fault = () => undefined;
      if ((await second.log()).state.kind === "offline") offline += 1;
      await overwriteJournal(await second.log(1));
      second.die("power");
      assert.deepEqual(lost(disk, [0, 1, 2, 3, 4, 5]), [], `seed ${seed}`);
    });
  }
  assert.ok(offline > 0, "no start met the failure");
});

test("recovery cuts no segment that may hold a batch which the journal has lost", async () => {
  await simulate({}, async ({ disk, sleep, start }) => {
    const first = await start();
    const log = await first.log();
    await appendEach(log, [0]);
    await log.flush();
    await appendEach(log, [1, 2, 3, 4, 5]);
    await sleep(100);
    first.die("process");
    // As if power was cut, and only the first of the new batches did not reach the segment.
    const at = disk.content(segment(0))?.indexOf(textOf(1)) ?? -1;
    assert.ok(disk.flipBit(segment(0), at, 1));
    const journal = "journal/00000000.journal";
    const lostAt = disk.content(journal)?.indexOf(textOf(2)) ?? -1;
    assert.ok(disk.flipBit(journal, lostAt, 1));
    assert.equal((await (await start()).log()).state.kind, "offline");
    assert.deepEqual(lost(disk, [0, 1, 2, 3, 4, 5]), []);
  });
});

for (const rotten of [[1], [1, 2]]) {
  test(`recovery cuts no segment that alone has what was acknowledged, rotten: ${rotten}`, async () => {
    await simulate({}, async ({ disk, sleep, start }) => {
      const first = await start();
      const log = await first.log();
      // Behind the recovery point of this change the journal has the first batch, and not those
      // that follow.
      log.updateConfig({ ...log.config, flushPolicy: "none" });
      await appendEach(log, [0]);
      await appendEach(log, [1]);
      await sleep(50);
      disk.fault = noPoints;
      await appendEach(log, [2, 3]);
      log.updateConfig({ ...log.config, flushPolicy: "commit" });
      await appendEach(log, [4]);
      await sleep(100);
      first.die("power");
      disk.fault = () => undefined;
      for (const value of rotten) {
        const at = disk.content(segment(0))?.indexOf(textOf(value)) ?? -1;
        assert.ok(disk.flipBit(segment(0), at, 1));
      }
      const again = await (await start()).log();
      const { state } = again;
      if (rotten.includes(2)) {
        const reason = "reason" in state ? state.reason : "";
        assert.match(reason, /offsets 2 to 3 were acknowledged and are missing/);
        // An operator finds all but what rotted.
        assert.deepEqual(lost(disk, [0, 1, 3, 4]), []);
        return;
      }
      // The journal puts back what rotted, between what the segment still has.
      assert.deepEqual([state.kind, again.logEndOffset], ["online", 5]);
      assert.equal((await readAll(again, 0, 1e6, "log_end")).length, 5);
    });
  });
}

for (const then of ["nothing", "a cut", "a cut and more"]) {
  test(`what only later segments have outlives rot before it, then ${then}`, async () => {
    await simulate({ log: { segmentBytes: 800 } }, async ({ disk, sleep, start }) => {
      const first = await start();
      const log = await first.log();
      log.updateConfig({ ...log.config, flushPolicy: "none" });
      await appendEach(log, [0]);
      await appendEach(log, [1]);
      await sleep(50);
      disk.fault = noPoints;
      await appendEach(log, [2, 3, 4, 5, 6, 7]);
      log.updateConfig({ ...log.config, flushPolicy: "commit" });
      await appendEach(log, [8]);
      await sleep(100);
      if (then !== "nothing") await log.truncateTo(7);
      if (then === "a cut and more") await appendEach(log, [17]);
      await sleep(100);
      first.die("process");
      disk.fault = () => undefined;
      const at = disk.content(segment(0))?.indexOf(textOf(1)) ?? -1;
      assert.ok(disk.flipBit(segment(0), at, 1));
      const again = await (await start()).log();
      const values = (await readAll(again, 0, 1e6, "log_end")).map(({ value }) => value);
      const more = { nothing: [7, 8], "a cut": [], "a cut and more": [17] }[then] ?? [];
      const kept = [0, 1, 2, 3, 4, 5, 6, ...more];
      assert.deepEqual([again.state.kind, values], ["online", kept.map((i) => `${textOf(i)}`)]);
    });
  });
}

test("batches that were kept by a start which died outlive a power cut after the next one", async () => {
  for (let seed = 1; seed <= 12; seed += 1) {
    await simulate({ seed }, async ({ die, disk, kernel, sleep, start }) => {
      const first = await start();
      const log = await first.log();
      await first.log(1);
      await appendEach(log, [0]);
      await log.flush();
      await appendEach(log, [1]);
      first.die("power");
      await disk.mount(new Incarnation(kernel)).unlink(segment(0));
      // The file is there, and its name not yet durable.
      disk.onStep = (_, what) => {
        const kept = disk.paths().some((path) => /salvaged-.*segment$/.test(path));
        if (!kept || what !== `syncDirectory ${directory}`) return;
        disk.onStep = () => {};
        die("process");
      };
      start().catch(() => {});
      await sleep(500);
      disk.fault = (_, path) => (path.startsWith(`${directory}/offline`) ? "EIO" : undefined);
      const second = await start();
      disk.fault = () => undefined;
      assert.equal((await second.log()).state.kind, "offline");
      await overwriteJournal(await second.log(1));
      second.die("power");
      assert.deepEqual(lost(disk, [1]), [], `seed ${seed}`);
    });
  }
});
