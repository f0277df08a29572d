/** What a directory must remember over restarts: damage, rounds, lives of partitions, promises. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode } from "@millrace/errors";
import type { TopicId } from "@millrace/record";
import { defaultLogConfig } from "../defaults.ts";
import { partitionDirectory } from "../files/paths.ts";
import { appendAll, batchOf, readAll, topicA } from "../testing.ts";
import { simulate } from "../testing-sim.ts";

const batches = (count: number, bytes = 300) =>
  Array.from({ length: count }, (_, i) => batchOf([{ value: `v${i}`.padEnd(bytes, ".") }]));

const segment = (base: number, index = 0): string =>
  `${partitionDirectory(topicA, index)}/${String(base).padStart(20, "0")}.log`;

for (const end of ["clean stop", "checkpoint and kill"]) {
  test(`damage that was met is known after a ${end}: nothing behind it is cut`, async () => {
    await simulate({}, async ({ disk, start }) => {
      const first = await start();
      const log = await first.log(0);
      const other = await first.log(1);
      await log.becomeLeader(1);
      await other.becomeLeader(1);
      await log.flush();
      await appendAll(log, batches(100, 100));
      await log.read(99, 1000, "log_end");
      const before = disk.content(segment(0))?.length;
      disk.flipBit(segment(0), 50 * 170, 1);
      await assert.rejects(readAll(log, 0), (e) => hasCode(e, ErrorCode.PARTITION_OFFLINE));
      await appendAll(other, batches(1));
      if (end === "clean stop") await first.manager.close(true);
      else await other.flush();
      first.die("process");
      for (let life = 0; life < 2; life += 1) {
        const next = await start();
        assert.equal((await next.log(0)).state.kind, "offline");
        assert.equal((await next.log(1)).state.kind, "online");
        next.die("power");
      }
      assert.equal(disk.content(segment(0))?.length, before);
    });
  });
}

test("damage is known to the next start even if the partition's directory cannot keep it", async () => {
  await simulate({}, async ({ disk, start }) => {
    const first = await start();
    const log = await first.log(0);
    const other = await first.log(1);
    await log.becomeLeader(1);
    await other.becomeLeader(1);
    await appendAll(log, batches(10));
    await log.flush();
    disk.flipBit(segment(0), 1000, 1);
    disk.fault = (operation, path) =>
      operation === "open" && path.endsWith("offline.tmp") ? "EROFS" : undefined;
    await assert.rejects(readAll(log, 0), (e) => hasCode(e, ErrorCode.PARTITION_OFFLINE));
    await other.flush();
    first.die("power");
    disk.fault = () => undefined;
    assert.equal((await (await start()).log(0)).state.kind, "offline");
  });
});

test("the journal's round is remembered while there is no partition", async () => {
  const topicB = "ff".repeat(16) as TopicId;
  for (const stop of [true, false]) {
    await simulate({ manager: { checkpointIntervalMs: 50 } }, async ({ sleep, start }) => {
      let life = await start();
      const gone = await life.log();
      // The journal's first rounds are overwritten.
      for (let i = 0; i < 20; i += 1) await appendAll(gone, batches(10, 10_000));
      await life.manager.delete(topicA, 0);
      if (stop) {
        await life.manager.close(true);
        life.die("process");
        life = await start();
      } else await sleep(200);
      const log = await life.manager.create(topicB, "u", 0, defaultLogConfig);
      await appendAll(log, batches(1));
      life.die("process");
      const again = (await start()).manager.get(topicB, 0);
      assert.deepEqual([again?.state.kind, again?.logEndOffset], ["online", 1]);
    });
  }
});

test("the journal's round is remembered beside a partition without a recovery point", async () => {
  await simulate({ manager: { checkpointIntervalMs: 50 } }, async ({ disk, sleep, start }) => {
    const first = await start();
    await first.log(0);
    first.die("power");
    const meta = `${partitionDirectory(topicA, 0)}/meta`;
    disk.fault = (operation, path) => (operation === "open" && path === meta ? "EIO" : undefined);
    const second = await start();
    const other = await second.log(1);
    // The journal's first rounds are overwritten.
    for (let i = 0; i < 20; i += 1) await appendAll(other, batches(10, 10_000));
    await second.manager.delete(topicA, 1);
    await sleep(200);
    second.die("process");
    disk.fault = () => undefined;
    assert.equal((await (await start()).log(0)).state.kind, "online");
  });
});

test("a second life of a partition keeps what was acknowledged in it, and nothing of the first", async () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    await simulate({ seed }, async ({ start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(3);
      await appendAll(log, batches(20), 3);
      if (seed % 2 === 0) await log.flush();
      await first.manager.delete(topicA, 0);
      const second = await first.log();
      assert.equal(second.logEndOffset, 0);
      await second.becomeLeader(1);
      await appendAll(second, batches(5, 50));
      first.die(seed % 4 < 2 ? "power" : "process");
      const again = await (await start()).log();
      assert.deepEqual([again.state.kind, again.logEndOffset], ["online", 5], `seed ${seed}`);
      assert.equal(again.leaderEpoch, 1);
    });
  }
});

test("a deletion that the disk refuses is tried again, and does not come back", async () => {
  await simulate({}, async ({ disk, sleep, start }) => {
    const first = await start();
    const log = await first.log();
    await appendAll(log, batches(3));
    disk.fault = (operation, path) =>
      operation === "rename" && path === partitionDirectory(topicA, 0) ? "EIO" : undefined;
    await first.manager.delete(topicA, 0);
    assert.equal(first.manager.get(topicA, 0), undefined);
    const other = await first.log(1);
    await other.flush();
    first.die("process");
    const second = await start();
    assert.equal(second.manager.get(topicA, 0), undefined);
    disk.fault = () => undefined;
    await sleep(3000);
    second.die("power");
    assert.equal((await start()).manager.get(topicA, 0), undefined);
  });
});

test("a lost partition directory is told, not made anew, empty", async () => {
  await simulate({}, async ({ disk, start }) => {
    const first = await start();
    const log = await first.log();
    await appendAll(log, batches(3));
    await first.manager.close(true);
    first.die("process");
    const mount = disk.mount({
      alive: true,
      schedule: (_: number, run: () => void) => run(),
    } as never);
    const directory = partitionDirectory(topicA, 0);
    for (const name of await mount.list(directory)) await mount.unlink(`${directory}/${name}`);
    await mount.removeDirectory(directory);
    const second = await start();
    const lost = await second.log();
    assert.equal(lost.state.kind, "offline");
    assert.match(JSON.stringify(lost.state), /is missing, and held records/);
    await second.manager.delete(topicA, 0);
    await (await second.log(1)).flush();
    second.die("power");
    assert.equal((await start()).manager.get(topicA, 0), undefined);
  });
});

test("a partition that comes back from a backup, without a recovery point, is kept", async () => {
  const log = { segmentBytes: 1024, fileDeleteDelayMs: 1 };
  await simulate({ log }, async ({ disk, start }) => {
    const first = await start();
    const made = await first.log();
    await made.becomeLeader(1);
    await appendAll(made, batches(50, 100));
    // Only its last rounds are in the journal.
    for (let i = 0; i < 20; i += 1) await appendAll(made, batches(10, 10_000));
    await made.advanceLogStart(20);
    await first.manager.close(true);
    first.die("process");
    const names = ["recovery-points", "recovery-points.copy"];
    const mount = disk.mount({
      alive: true,
      schedule: (_: number, run: () => void) => run(),
    } as never);
    for (const name of names) await mount.unlink(name);
    const again = await (await start()).log();
    assert.deepEqual([again.state.kind, again.logEndOffset], ["online", 250]);
    again.updateHighWatermark(250);
    assert.equal((await readAll(again, 20)).length, 230);
  });
});

test("after a change to flush.policy commit, every acknowledged batch has all before it on the disk", async () => {
  for (let seed = 1; seed <= 40; seed += 1) {
    const log = { segmentBytes: 1000, flushPolicy: "none" as const };
    await simulate({ seed, log }, async ({ disk, start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      await appendAll(log, batches(10));
      // The checkpoint that would cover the old batches finds no room.
      disk.fault = (operation, path) =>
        operation === "write" && path.endsWith("recovery-points.tmp") ? "ENOSPC" : undefined;
      log.updateConfig({ ...log.config, flushPolicy: "commit" });
      await appendAll(log, batches(5));
      first.die("power");
      disk.fault = () => undefined;
      const again = await (await start()).log();
      assert.deepEqual([again.state.kind, again.logEndOffset], ["online", 15], `seed ${seed}`);
    });
  }
});

test("after a truncation and a change to flush.policy none, a kill loses nothing", async () => {
  await simulate({}, async ({ disk, sleep, start }) => {
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    await appendAll(log, batches(5));
    await log.truncateTo(3);
    disk.fault = (operation, path) =>
      operation === "write" && path.endsWith("recovery-points.tmp") ? "ENOSPC" : undefined;
    log.updateConfig({ ...log.config, flushPolicy: "none" });
    await appendAll(log, batches(5));
    await sleep(20);
    first.die("process");
    disk.fault = () => undefined;
    assert.equal((await (await start()).log()).logEndOffset, 8);
  });
});

test("deleted records under flush.policy none, and a kill: what is left stays", async () => {
  const log = { segmentBytes: 1000, flushPolicy: "none" as const, fileDeleteDelayMs: 1 };
  await simulate({ log }, async ({ sleep, start }) => {
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    await appendAll(log, batches(20));
    await log.advanceLogStart(11);
    await sleep(50);
    first.die("process");
    const again = await (await start()).log();
    assert.deepEqual([again.logStartOffset, again.logEndOffset], [11, 20]);
    again.updateHighWatermark(20);
    assert.equal((await readAll(again, 11)).length, 9);
  });
});

test("a checkpoint together with a log start that moves to the end names a segment that stays", async () => {
  for (let seed = 1; seed <= 30; seed += 1) {
    const log = { segmentBytes: 1000, fileDeleteDelayMs: 1, segmentMs: 10 };
    await simulate({ seed, log }, async ({ sleep, start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      await appendAll(log, batches(9));
      await sleep(20);
      await log.runRetention();
      const moving = log.advanceLogStart(9);
      const flushing = log.flush();
      await Promise.all([moving, flushing]);
      first.die(seed % 2 === 0 ? "power" : "process");
      const again = await (await start()).log();
      assert.deepEqual(
        [again.state.kind, again.logStartOffset, again.logEndOffset],
        ["online", 9, 9],
      );
    });
  }
});

for (const logStart of [0, 2]) {
  test(`what the journal does not hold counts once the files have all before it, log start ${logStart}`, async () => {
    const config = { ...defaultLogConfig, segmentBytes: 500 };
    await simulate({ log: config, manager: { writeLingerMs: 1e6 } }, async (simulation) => {
      const { disk, sleep, start } = simulation;
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      await appendAll(log, batches(1));
      // What comes while the checkpoint of the change is written is journalled, and waits.
      let journalled: Promise<unknown> = Promise.resolve();
      disk.onStep = (_, what) => {
        if (!what.startsWith("rename recovery-points")) return;
        disk.onStep = () => {};
        journalled = appendAll(log, batches(2));
      };
      log.updateConfig({ ...config, flushPolicy: "none" });
      await sleep(1000);
      await journalled;
      // Recovery puts batches of the journal between those of the files, but not below the start.
      await log.advanceLogStart(logStart);
      await appendAll(log, batches(1));
      first.die("process");
      const again = await (await start()).log();
      assert.deepEqual(
        [again.state.kind, again.logStartOffset, again.logEndOffset],
        ["online", logStart, 4],
      );
    });
  });
}
