/** Starts on disks that are full, lack a file, or have a sector that cannot be read. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode } from "@millrace/errors";
import { Incarnation } from "@millrace/sim";
import { offsetName, partitionDirectory } from "../files/paths.ts";
import { appendAll, batchOf, readAll, topicA } from "../testing.ts";
import { type SimulatedLog, type Simulation, simulate } from "../testing-sim.ts";

const directory = partitionDirectory(topicA, 0);
const segment = (base: number): string => `${directory}/${offsetName(base)}.log`;
const batches = (count: number) =>
  Array.from({ length: count }, (_, i) =>
    batchOf([{ value: `v${i}`.padEnd(300, "."), timestampMs: 1000 + i }]),
  );

test("a start on a full disk takes the room of the reserve file", async () => {
  const settings = { manager: { diskReserveBytes: 200_000 } };
  await simulate(settings, async ({ disk, sleep, start }) => {
    const first = await start();
    const log = await first.log();
    await appendAll(log, batches(20));
    await sleep(2000);
    await appendAll(log, batches(20));
    first.die("process");
    // Somebody else fills the disk.
    disk.quotaBytes = disk.usedBytes;
    const second = await start().catch(() => start());
    assert.equal((await second.log()).logEndOffset, 40);
  });
});

for (const when of ["after a clean stop", "while only the journal has its batches"]) {
  test(`a partition whose directory cannot be listed ${when} is served again later`, async () => {
    await simulate({ manager: { writeLingerMs: 1000 } }, async ({ disk, start }) => {
      const first = await start();
      await appendAll(await first.log(0), batches(3));
      await appendAll(await first.log(1), batches(4));
      if (when.includes("clean")) await first.manager.close(true);
      first.die("process");
      disk.fault = (operation, path) =>
        operation === "list" && path === directory ? "EIO" : undefined;
      const second = await start();
      assert.equal(second.manager.get(topicA, 0)?.state.kind, "offline");
      assert.equal((await readAll(await second.log(1), 0, 1e6, "log_end")).length, 4);
      await second.manager.close(true);
      second.die("process");
      disk.fault = () => undefined;
      const third = (await start()).manager.get(topicA, 0);
      // What only the journal has is kept aside, and people decide.
      if (!when.includes("clean")) {
        assert.equal(third?.state.kind, "offline");
        assert.ok(disk.paths().some((path) => path.includes(`${directory}/salvaged-`)));
        return;
      }
      assert.ok(third !== undefined);
      assert.equal((await readAll(third, 0, 1e6, "log_end")).length, 3);
    });
  });
}

test("a start that fails leaves no file open", async () => {
  await simulate({}, async ({ disk, sleep, start }) => {
    const first = await start();
    await appendAll(await first.log(), batches(20));
    await sleep(50);
    first.die("process");
    const open = new Map<string, number>();
    disk.fault = (operation, path) => {
      const there = disk.content(path) !== undefined;
      if (operation === "open" && there) open.set(path, (open.get(path) ?? 0) + 1);
      if (operation === "close") open.set(path, (open.get(path) ?? 0) - 1);
      return operation === "write" && path.startsWith("recovery-points") ? "ENOSPC" : undefined;
    };
    await assert.rejects(start());
    const left = [...open].filter(([path, count]) => count > 0 && !path.endsWith(".tmp"));
    assert.deepEqual(left, []);
  });
});

for (const how of ["process", "power"] as const) {
  test(`a journal that is gone after a crash is missed: ${how}`, async () => {
    await simulate({ manager: { writeLingerMs: 5000 } }, async ({ disk, kernel, start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      await appendAll(log, batches(3));
      await log.flush();
      await appendAll(log, batches(4));
      first.die(how);
      await disk.mount(new Incarnation(kernel)).unlink("journal/00000000.journal");
      const again = await (await start()).log();
      // Seven were acknowledged under flush.policy commit.
      assert.ok(
        again.state.kind === "offline" || again.logEndOffset === 7,
        `${again.logEndOffset}`,
      );
    });
  });
}

for (const flushPolicy of ["commit", "interval", "none"] as const) {
  test(`lost recovery points and an old truncation take nothing with them: ${flushPolicy}`, async () => {
    await simulate({ log: { flushPolicy } }, async ({ disk, start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      await appendAll(log, batches(10));
      await log.truncateTo(5);
      await log.flush();
      await appendAll(log, batches(10));
      await log.flush();
      await first.manager.close(true);
      for (const path of ["recovery-points", "recovery-points.copy"])
        assert.ok(disk.flipBit(path, 12, 1));
      const again = await (await start()).log();
      assert.ok(
        again.state.kind === "offline" || again.logEndOffset === 15,
        `${again.logEndOffset}`,
      );
    });
  });
}

for (const base of [0, 2]) {
  test(`segment ${base}, which is gone, is missed: it is not passed over`, async () => {
    await simulate({ log: { segmentBytes: 800 } }, async ({ disk, kernel, start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      await appendAll(log, batches(8));
      await first.manager.close(true);
      await disk.mount(new Incarnation(kernel)).unlink(segment(base));
      const again = await (await start()).log();
      again.updateHighWatermark(8);
      const found = await again.offsetForTimestamp(1000 + base).catch(() => undefined);
      assert.ok(again.state.kind === "offline" || found?.offset === base, JSON.stringify(found));
    });
  });
}

test("a clean marker that cannot be read does not keep the directory closed", async () => {
  await simulate({}, async ({ disk, start }) => {
    const first = await start();
    await appendAll(await first.log(), batches(4));
    await first.manager.close(true);
    first.die("process");
    disk.fault = (operation, path) =>
      operation === "read" && path === "clean" ? "EIO" : undefined;
    const again = await start();
    assert.equal(again.manager.recovery.clean, false);
    assert.equal((await readAll(await again.log(), 0, 1000, "log_end")).length, 4);
  });
});

test("the newest file of the journal that is gone after a crash is missed", async () => {
  const settings = { manager: { writeLingerMs: 5000, journalFileBytes: 64 * 1024 } };
  await simulate(settings, async ({ disk, kernel, sleep, start }) => {
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    await log.flush();
    const newest = "journal/00000001.journal";
    let count = 0;
    // Until a round is in the second file.
    for (; !disk.content(newest)?.includes("MJR1"); count += 1) {
      await appendAll(log, batches(1));
      await sleep(1);
    }
    first.die("power");
    await disk.mount(new Incarnation(kernel)).unlink(newest);
    const again = await (await start()).log();
    const found = again.logEndOffset;
    assert.ok(again.state.kind === "offline" || found === count, `${found} of ${count}`);
  });
});

/** Seven batches are acknowledged; only the journal has the last four. */
const withJournal = async ({ start }: Simulation): Promise<SimulatedLog> => {
  const first = await start();
  const log = await first.log();
  await log.becomeLeader(1);
  await appendAll(log, batches(3));
  await log.flush();
  await appendAll(log, batches(4));
  return first;
};

test("a journal file that is shorter than it was is missed", async () => {
  await simulate({ manager: { writeLingerMs: 5000 } }, async (simulation) => {
    const { disk, kernel, start } = simulation;
    (await withJournal(simulation)).die("power");
    const file = await disk
      .mount(new Incarnation(kernel))
      .open("journal/00000000.journal", "write");
    await file.truncate(4096);
    const again = await (await start()).log();
    assert.equal(again.state.kind, "offline");
  });
});

test("a journal without a list of its files is as whole as it looks", async () => {
  await simulate({ manager: { writeLingerMs: 5000 } }, async (simulation) => {
    const { disk, kernel, start } = simulation;
    (await withJournal(simulation)).die("power");
    await disk.mount(new Incarnation(kernel)).unlink("journal-files");
    const second = await start();
    assert.equal((await second.log()).logEndOffset, 7);
    // This version has made one.
    second.die("process");
    await disk.mount(new Incarnation(kernel)).unlink("journal/00000000.journal");
    assert.equal((await (await start()).log()).state.kind, "offline");
  });
});

test("journal files of another size are replaced, and nothing is missed", async () => {
  const first = { journalFileBytes: 64 * 1024, writeLingerMs: 5000 };
  for (let seed = 1; seed <= 10; seed += 1) {
    await simulate({ seed, manager: first }, async (simulation) => {
      const { configure, disk, start } = simulation;
      (await withJournal(simulation)).die("power");
      configure({ journalFileBytes: 128 * 1024, writeLingerMs: 5000 });
      // The process dies as the files are replaced.
      let left = seed;
      disk.fault = (operation, path) => {
        const hits = /^journal/.test(path) && /unlink|rename|write|sync/.test(operation);
        if (hits && left > 0) left -= 1;
        return left === 0 ? "EIO" : undefined;
      };
      await start().catch(() => {});
      simulation.die("power");
      disk.fault = () => undefined;
      const again = await (await start()).log();
      assert.deepEqual([again.state.kind, again.logEndOffset], ["online", 7], `seed ${seed}`);
    });
  }
});

test("a journal that cannot be read while a partition is recovered takes no partition offline", async () => {
  await simulate({ manager: { writeLingerMs: 1000 } }, async ({ disk, start }) => {
    const first = await start();
    await appendAll(await first.log(0), batches(3));
    first.die("power");
    let opened = 0;
    disk.fault = (operation, path) => {
      if (operation !== "open" || !path.startsWith("journal/")) return undefined;
      opened += 1;
      // The first one looks for rounds, the second writes the last one again.
      return opened > 2 ? "EIO" : undefined;
    };
    await assert.rejects(start(), (thrown) => {
      assert.ok(hasCode(thrown, ErrorCode.STORAGE_ERROR));
      return /the commit journal cannot be read: EIO/.test(thrown.message);
    });
    assert.ok(opened > 2);
    disk.fault = () => undefined;
    const again = await (await start()).log(0);
    assert.equal((await readAll(again, 0, 1e6, "log_end")).length, 3);
  });
});
