/** A disk that failed: nothing that it may have lost is acknowledged, or said to be durable. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode } from "@millrace/errors";
import { Incarnation } from "@millrace/sim";
import { appendAll, batchOf, readAll, topicA } from "../testing.ts";
import { simulate } from "../testing-sim.ts";

const batches = (count: number) =>
  Array.from({ length: count }, (_, i) => batchOf([{ value: `v${i}`.padEnd(300, ".") }]));

const failure = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );

test("a checkpoint claims nothing after another fsync of the same bytes has failed", async () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    // What a checkpoint writes is fsynced twice, by the checkpoint and in the background.
    const manager = { syncStepBytes: 1, writeLingerMs: 1e6 };
    await simulate({ seed, manager }, async ({ disk, start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      await log.flush();
      await appendAll(log, batches(20));
      let failed = false;
      disk.fault = (operation, path) => {
        if (failed || operation !== "sync" || !path.endsWith(".log")) return undefined;
        failed = true;
        return "EIO";
      };
      const thrown = await failure(log.flush());
      assert.ok(hasCode(thrown, ErrorCode.STORAGE_ERROR), `seed ${seed}: ${String(thrown)}`);
      disk.fault = () => undefined;
      first.die("power");
      const again = await (await start()).log();
      assert.deepEqual([again.state.kind, again.logEndOffset], ["online", 20], `seed ${seed}`);
    });
  }
});

test("a failed fsync stops the directory at once, while its checkpoint is still at work", async () => {
  const settings = { log: { flushPolicy: "none", segmentBytes: 1000 } } as const;
  await simulate(settings, async ({ disk, sleep, start }) => {
    const first = await start();
    const log = await first.log(0);
    const other = await first.log(1);
    for (const each of [log, other]) await each.becomeLeader(1);
    await log.flush();
    await appendAll(log, batches(2));
    // Fsyncing all of these segments takes the checkpoint a while.
    await appendAll(other, batches(200));
    await sleep(20);
    const failing = Promise.withResolvers<void>();
    let failed = false;
    disk.fault = (operation, path) => {
      if (failed || operation !== "sync" || !/-00000\/.*\.log$/.test(path)) return undefined;
      failed = true;
      failing.resolve();
      return "EIO";
    };
    // From here on an acknowledgement promises that everything before it is durable.
    log.updateConfig({ ...log.config, flushPolicy: "commit" });
    let over = false;
    const flushing = failure(log.flush()).then(() => {
      over = true;
    });
    await failing.promise;
    const thrown = await failure(appendAll(log, batches(1)));
    assert.ok(!over, "the checkpoint was over too soon to tell");
    assert.ok(hasCode(thrown, ErrorCode.STORAGE_ERROR), String(thrown));
    assert.equal(log.state.kind, "stopped");
    await flushing;
  });
});

test("a partition that is made while the disk fails does not look as if it took appends", async () => {
  let refused = 0;
  for (let seed = 1; seed <= 20; seed += 1) {
    await simulate({ seed }, async ({ disk, start }) => {
      const first = await start();
      const log = await first.log(0);
      await log.becomeLeader(1);
      await appendAll(log, batches(2));
      disk.fault = (operation, path) =>
        operation === "sync" && /-00000\/.*\.log$/.test(path) ? "EIO" : undefined;
      const flushing = failure(log.flush());
      const thrown = await failure(first.log(1));
      assert.ok(hasCode(await flushing, ErrorCode.STORAGE_ERROR), `seed ${seed}`);
      if (hasCode(thrown, ErrorCode.STORAGE_ERROR)) refused += 1;
      else assert.equal((await first.log(1)).state.kind, "stopped", `seed ${seed}`);
      disk.fault = () => undefined;
      first.die("process");
      const again = await start();
      for (const partition of [0, 1]) {
        assert.equal((await again.log(partition)).state.kind, "online", `seed ${seed}`);
      }
    });
  }
  assert.ok(refused > 0);
});

test("an fsync that got no descriptor has not happened", async () => {
  for (let seed = 1; seed <= 10; seed += 1) {
    const settings = { seed, log: { segmentBytes: 2000 }, manager: { openFilesMax: 1 } };
    await simulate(settings, async ({ disk, sleep, start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      await appendAll(log, batches(20));
      await sleep(20);
      disk.fault = (operation, path) =>
        operation === "open" && path.endsWith(".log") ? "EMFILE" : undefined;
      const thrown = await failure(log.flush());
      assert.ok(hasCode(thrown, ErrorCode.ADMISSION_REJECTED), String(thrown));
      disk.fault = () => undefined;
      await log.flush();
      first.die("power");
      const again = await (await start()).log();
      assert.deepEqual([again.state.kind, again.logEndOffset], ["online", 20], `seed ${seed}`);
      assert.equal((await readAll(again, 0)).length, 20, `seed ${seed}`);
    });
  }
});

test("a batch that waits for room when the disk fails is not acknowledged", async () => {
  await simulate({ log: { flushPolicy: "none" } }, async ({ disk, sleep, start }) => {
    const log = await (await start()).log();
    await log.becomeLeader(1);
    await appendAll(log, batches(1));
    await log.flush();
    disk.quotaBytes = disk.usedBytes;
    const appending = failure(appendAll(log, batches(1)));
    await sleep(50);
    disk.fault = (operation, path) =>
      operation === "write" && path.endsWith(".log") ? "EIO" : undefined;
    const thrown = await appending;
    assert.ok(hasCode(thrown, ErrorCode.STORAGE_ERROR), String(thrown));
    assert.deepEqual([log.state.kind, log.ackedEndOffset], ["stopped", 1]);
  });
});

test("a restart after a failed fsync cuts again what a truncation had cut", async () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    await simulate({ seed }, async ({ disk, start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      await appendAll(log, batches(20));
      await log.flush();
      await log.truncateTo(4);
      disk.fault = (operation, path) =>
        operation === "sync" && path.endsWith(".log") ? "EIO" : undefined;
      await assert.rejects(log.flush());
      disk.fault = () => undefined;
      // The page cache shows the cut, and no fsync brings it to the disk any more.
      first.die("process");
      const second = await start();
      second.die("power");
      const again = await (await start()).log();
      assert.deepEqual([again.state.kind, again.logEndOffset], ["online", 4], `seed ${seed}`);
    });
  }
});

test("an append fails that relies on an older segment which cannot be opened for its fsync", async () => {
  const log = { segmentBytes: 800, flushPolicy: "none" as const };
  await simulate({ log, manager: { openFilesMax: 1 } }, async ({ disk, sleep, start }) => {
    const first = await start();
    const log = await first.log();
    const older = batchOf([{ value: "x".padEnd(700, ".") }]);
    await appendAll(log, [older]);
    await appendAll(await first.log(1), [older]);
    await sleep(10);
    disk.fault = (operation, path) =>
      operation === "open" && path.endsWith(`-00000/${"0".repeat(20)}.log`) ? "EIO" : undefined;
    log.updateConfig({ ...log.config, flushPolicy: "commit" });
    await assert.rejects(appendAll(log, [older]));
  });
});

test("no batch counts whose write failed while older segments were fsynced", async () => {
  let failed = 0;
  for (let seed = 1; seed <= 40; seed += 1) {
    const log = { segmentBytes: 800, flushPolicy: "none" as const };
    await simulate({ seed, log }, async ({ disk, start }) => {
      const first = await start();
      const log = await first.log();
      await appendAll(log, batches(4));
      disk.fault = (operation, path) =>
        operation === "write" && /[4-9]\.log$/.test(path) ? "EIO" : undefined;
      const appending = appendAll(log, batches(2));
      // From here on rounds fsync all segments.
      log.updateConfig({ ...log.config, flushPolicy: "commit" });
      if ((await failure(appending)) !== undefined) failed += 1;
      const promised = log.ackedEndOffset;
      first.die("process");
      disk.fault = () => undefined;
      const again = await (await start()).log();
      assert.ok(again.logEndOffset >= promised, `seed ${seed}: ${promised} were acknowledged`);
    });
  }
  assert.equal(failed, 40);
});

test("what a failed fsync may have dropped does not count once another partition has room", async () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    const log = { flushPolicy: "interval", flushIntervalMs: 50 } as const;
    await simulate({ seed, log }, async ({ disk, sleep, start }) => {
      const first = await start();
      const log = await first.log(0);
      const other = await first.log(1);
      disk.fault = (operation, path) => {
        if (operation === "write" && /-00001\/.*\.log$/.test(path)) return "ENOSPC";
        return operation === "sync" && /-00000\/.*\.log$/.test(path) ? "EIO" : undefined;
      };
      // One round: it waits for the other partition's write.
      const appending = failure(
        Promise.all([log, other].map((each) => appendAll(each, batches(1)))),
      );
      await sleep(300);
      assert.equal(log.state.kind, "stopped", `seed ${seed}`);
      disk.fault = () => undefined;
      await appending;
      const promised = log.ackedEndOffset;
      first.die("process");
      const again = await (await start()).log(0);
      assert.ok(again.logEndOffset >= promised, `seed ${seed}: ${promised} were acknowledged`);
    });
  }
});

test("a start that a failed fsync ends leaves no partition offline", async () => {
  await simulate({}, async ({ die, disk, start }) => {
    const first = await start();
    await appendAll(await first.log(), batches(2));
    first.die("power");
    disk.fault = (operation, path) =>
      operation === "sync" && path.endsWith(".log") ? "EIO" : undefined;
    await assert.rejects(start(), (e) => hasCode(e, ErrorCode.STORAGE_ERROR));
    die("process");
    disk.fault = () => undefined;
    const again = await (await start()).log();
    assert.deepEqual([again.state.kind, again.logEndOffset], ["online", 2]);
  });
});

test("a directory whose fsync fails while it opens after a clean stop does not open", async () => {
  await simulate({}, async ({ disk, kernel, start }) => {
    const first = await start();
    await appendAll(await first.log(), [batchOf([{ value: "x" }])]);
    await first.log(1);
    await first.manager.close(true);
    first.die("process");
    const directory = `partitions/${topicA}-00001`;
    const files = disk.mount(new Incarnation(kernel));
    await (await files.open(`${directory}/meta`, "write")).truncate(0);
    // The partition with the damaged meta file goes offline, which cannot be made durable.
    disk.fault = (operation, path) =>
      operation === "syncDirectory" && path === directory ? "EIO" : undefined;
    const thrown = await failure(start());
    assert.ok(hasCode(thrown, ErrorCode.STORAGE_ERROR), String(thrown));
    disk.fault = () => undefined;
    const again = await start();
    assert.deepEqual([...again.manager.partitions()].map(({ state }) => state.kind).sort(), [
      "offline",
      "online",
    ]);
  });
});
