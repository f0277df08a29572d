/** What is known of leader epochs when their file cannot be read. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Incarnation, type SimDisk } from "@millrace/sim";
import { appendAll, batchOf, topicA } from "../testing.ts";
import { noPoints, simulate } from "../testing-sim.ts";

const hideEpochs = (disk: SimDisk): void => {
  disk.fault = (operation, path) =>
    operation === "read" && path.endsWith("/leader-epochs") ? "EIO" : undefined;
};

test("epochs that a truncation cut off do not come back with their file", async () => {
  await simulate({}, async ({ disk, start }) => {
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    await appendAll(log, [batchOf([{ value: "x" }])], 1);
    await log.becomeLeader(2);
    await log.flush();
    await log.truncateTo(0);
    first.die("process");
    hideEpochs(disk);
    const second = await start();
    assert.equal((await second.log()).leaderEpoch, 0);
    second.die("process");
    disk.fault = () => undefined;
    const again = await (await start()).log();
    assert.deepEqual([again.logEndOffset, again.leaderEpoch], [0, 0]);
  });
});

for (const cut of [false, true]) {
  test(`a log that begins again at its start knows who led it${cut ? ", up to a cut" : ""}`, async () => {
    await simulate({ log: { flushPolicy: "none" } }, async ({ disk, kernel, start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      await log.flush();
      const values = (count: number) =>
        Array.from({ length: count }, (_, i) => batchOf([{ value: `${i}` }]));
      await appendAll(log, values(5), 1);
      await appendAll(log, values(3), 2);
      await appendAll(log, values(2), 3);
      log.updateHighWatermark(8);
      await log.advanceLogStart(8);
      // The file is newer than the recovery point, which says: offset 0, epoch 1.
      disk.fault = noPoints;
      await assert.rejects(log.flush());
      if (cut) await log.truncateTo(8);
      first.die("power");
      disk.fault = () => undefined;
      // As retention leaves it, where it took all of them.
      const files = disk.mount(new Incarnation(kernel));
      for (const path of disk.paths()) if (path.endsWith(".log")) await files.unlink(path);
      const { logEndOffset, leaderEpoch } = await (await start()).log();
      assert.deepEqual([logEndOffset, leaderEpoch], [8, cut ? 2 : 3]);
    });
  });
}

test("a log that goes on at an empty segment at its start knows who led it", async () => {
  const settings = { log: { flushPolicy: "none", segmentBytes: 1 } } as const;
  await simulate(settings, async ({ disk, kernel, sleep, start }) => {
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    await appendAll(log, [batchOf([{ value: "0" }])], 1);
    await log.flush();
    await appendAll(log, [batchOf([{ value: "1" }])], 1);
    await appendAll(log, [batchOf([{ value: "2" }])], 2);
    // The file is newer than the recovery point, which says: offset 1, epoch 1.
    disk.fault = noPoints;
    await assert.rejects(log.flush());
    await appendAll(log, [batchOf([{ value: "3" }])], 2);
    await sleep(100);
    disk.fault = (operation, path) =>
      operation === "rename" && path.endsWith(".log") ? "EAGAIN" : noPoints(operation, path);
    await log.advanceLogStart(3);
    first.die("process");
    disk.fault = () => undefined;
    // As a power cut leaves it: of the deleted segments the first one came back, and the last one
    // has its name alone.
    const files = disk.mount(new Incarnation(kernel));
    const [, ...later] = disk.paths().filter((path) => path.endsWith(".log"));
    for (const path of later) {
      if (path.endsWith("3.log")) await (await files.open(path, "write")).truncate(0);
      else await files.unlink(path);
    }
    const { logEndOffset, leaderEpoch } = await (await start()).log();
    assert.deepEqual([later.length, logEndOffset, leaderEpoch], [3, 3, 2]);
  });
});

for (const flushed of [false, true]) {
  for (const flushPolicy of ["commit", "none"] as const) {
    test(`the epoch of a batch that is cut below the log start stays known (${flushPolicy}${flushed ? ", flushed" : ""})`, async () => {
      for (const how of ["process", "power"] as const) {
        await simulate({ log: { flushPolicy } }, async ({ start }) => {
          const first = await start();
          const log = await first.log();
          await log.becomeLeader(1);
          await appendAll(log, [batchOf([{ value: "0" }])], 1);
          await appendAll(log, [batchOf(["1", "2", "3", "4"].map((value) => ({ value })))], 2);
          if (flushed) await log.flush();
          await log.advanceLogStart(4);
          await log.truncateTo(4);
          // It begins where the log does, and goes with a cut.
          await log.becomeLeader(3);
          await log.truncateTo(4);
          assert.equal(log.leaderEpoch, 2);
          first.die(how);
          const { leaderEpoch, logEndOffset, logStartOffset, state } = await (await start()).log();
          assert.equal(state.kind, "online");
          assert.deepEqual([logStartOffset, logEndOffset, leaderEpoch], [4, 4, 2]);
        });
      }
    });
  }
}

test("the epoch of an empty log outlives a clean stop without the file", async () => {
  await simulate({}, async ({ disk, start }) => {
    const first = await start();
    await (await first.log()).becomeLeader(3);
    await first.manager.close(true);
    first.die("process");
    hideEpochs(disk);
    const again = await (await start()).log();
    assert.deepEqual([again.state.kind, again.leaderEpoch], ["online", 3]);
  });
});

test("recovery writes nothing beside a meta file whose name may not be durable", async () => {
  for (let seed = 1; seed <= 30; seed += 1) {
    await simulate({ seed }, async ({ die, disk, sleep, start }) => {
      const first = await start();
      const dieBeforeNames = (how: "power" | "process"): void => {
        disk.onStep = (_, what) => {
          if (!what.startsWith("syncDirectory partitions/")) return;
          disk.onStep = () => {};
          die(how);
        };
      };
      dieBeforeNames("process");
      void first.log();
      await sleep(100);
      dieBeforeNames("power");
      void start();
      await sleep(1000);
      const again = await start();
      assert.notEqual(again.manager.get(topicA, 0)?.state.kind, "offline", `seed ${seed}`);
    });
  }
});
