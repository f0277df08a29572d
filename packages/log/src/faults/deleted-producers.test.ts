/** What is known of producers when the segments go that knew them, and cannot be read. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode } from "@millrace/errors";
import { Incarnation } from "@millrace/sim";
import { offsetName, partitionDirectory } from "../files/paths.ts";
import { appendAll, batchOf, topicA } from "../testing.ts";
import { simulate } from "../testing-sim.ts";

const directory = partitionDirectory(topicA, 0);

const sent = (producerId: number, baseSequence: number) =>
  batchOf([{ value: "x".padEnd(300, ".") }], { producerId, producerEpoch: 1, baseSequence });

test("memory knows the producers of segments that go unread", async () => {
  const settings = { log: { segmentBytes: 800, fileDeleteDelayMs: 0 } };
  await simulate(settings, async ({ disk, start }) => {
    const log = await (await start()).log();
    await log.becomeLeader(1);
    const all = [0, 1, 2, 3, 4].map((i) => sent(7, i));
    await appendAll(log, all);
    await log.flush();
    log.updateHighWatermark(5);
    // Neither the segments nor the snapshots can be read.
    disk.fault = (operation, path) =>
      operation === "read" && path.startsWith(directory) ? "EIO" : undefined;
    await log.advanceLogStart(4);
    disk.fault = () => undefined;
    // It goes by what was written then.
    await log.truncateTo(4);
    for (const [offset, batch] of all.slice(0, 4).entries()) {
      const retry = log.append(batch, 1, () => {});
      assert.deepEqual([retry.duplicate, retry.baseOffset], [true, offset]);
    }
    assert.throws(
      () => log.append(sent(7, 5), 1, () => {}),
      (thrown) => hasCode(thrown, ErrorCode.OUT_OF_ORDER_SEQUENCE),
    );
    assert.equal(log.append(sent(7, 4), 1, () => {}).duplicate, false);
  });
});

test("a snapshot behind a cut says nothing of what is written there later", async () => {
  await simulate({}, async ({ start }) => {
    const first = await start();
    const before = await first.log();
    await before.becomeLeader(1);
    await appendAll(
      before,
      [0, 1, 2, 3, 4].map((i) => sent(7, i)),
    );
    // A clean stop writes a snapshot as of the end, 5.
    await first.manager.close(true);
    const second = await start();
    const log = await second.log();
    await log.truncateTo(0);
    await log.becomeLeader(2);
    // The log comes to 5 once more, by nobody who is remembered: no snapshot is written.
    await appendAll(
      log,
      [0, 1, 2, 3, 4].map(() => batchOf([{ value: "plain" }])),
      2,
    );
    await second.manager.close(true);
    const third = await (await start()).log();
    await third.becomeLeader(3);
    await appendAll(third, [sent(8, 0)], 3);
    await third.truncateTo(5);
    await third.becomeLeader(4);
    assert.equal(third.append(sent(7, 2), 4, () => {}).duplicate, false);
  });
});

test("segments that could not go outlive the journal that had them", async () => {
  let met = 0;
  for (let seed = 1; seed <= 20; seed += 1) {
    const settings = {
      ...{ seed, log: { segmentBytes: 800, fileDeleteDelayMs: 0 } },
      manager: { writeLingerMs: 200 },
    };
    await simulate(settings, async ({ die, disk, sleep, start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      const all = [0, 1, 2, 3, 4].map((i) => sent(7, i));
      await appendAll(log, all);
      log.updateHighWatermark(4);
      // What the segments that go say of producers finds no room for a moment.
      disk.fault = (operation, path) =>
        operation === "open" && /producers\.[0-9]+\.tmp$/.test(path) ? "ENOSPC" : undefined;
      await log.advanceLogStart(4);
      disk.fault = () => undefined;
      // A checkpoint while the table is being made anew, and the power goes right after it.
      const truncating = log.truncateTo(4).catch(() => {});
      const asking = sleep(seed / 20).then(() => log.flush().catch(() => {}));
      let isOver = false;
      disk.onStep = (_, what) => {
        if (isOver || what !== "rename recovery-points.copy.tmp") return;
        isOver = true;
        die("power");
      };
      await sleep(2000);
      disk.onStep = () => {};
      if (!isOver) die("power");
      else met += 1;
      void truncating;
      void asking;
      const again = await (await start()).log();
      for (const [offset, batch] of all.slice(0, 4).entries()) {
        const retry = again.append(batch, 1, () => {});
        assert.deepEqual([retry.duplicate, retry.baseOffset], [true, offset], `seed ${seed}`);
      }
    });
  }
  assert.ok(met > 0);
});

test("what a truncation left to the journal goes on where it cut, not at the recovery point", async () => {
  const settings = { log: { segmentBytes: 800, fileDeleteDelayMs: 0 } };
  await simulate(settings, async ({ die, disk, start }) => {
    const log = await (await start()).log();
    await log.becomeLeader(1);
    const plain = () => batchOf([{ value: "y".padEnd(300, ".") }]);
    const all = [0, 1, 2, 3].map((i) => sent(7, i));
    await appendAll(log, [...all, plain()]);
    await log.flush();
    // Two batches a segment; the recovery point is at 5.
    await log.truncateTo(4);
    await appendAll(
      log,
      [4, 5, 6, 7, 8, 9].map(() => plain()),
    );
    log.updateHighWatermark(10);
    // The process dies before the last of the segments below the log start has gone.
    const dead = Promise.withResolvers<void>();
    disk.onStep = (_, what) => {
      if (!/^(rename|unlink) .*0006\.log/.test(what)) return;
      disk.onStep = () => {};
      die("process");
      dead.resolve();
    };
    void log.advanceLogStart(8);
    await dead.promise;
    // The snapshot of the log start would tell the same.
    assert.ok(disk.flipBit(`${directory}/producers.${offsetName(8)}`, 20, 1));
    const again = await (await start()).log();
    await again.becomeLeader(2);
    for (const [offset, batch] of all.entries()) {
      const retry = again.append(batch, 2, () => {});
      assert.deepEqual([retry.duplicate, retry.baseOffset], [true, offset]);
    }
  });
});

test("producers from before a recovery point outlive its snapshot when their batches are deleted", async () => {
  await simulate({ log: { segmentBytes: 1200, fileDeleteDelayMs: 1e6 } }, async (site) => {
    const { disk, kernel, sleep, start } = site;
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    const only = sent(9, 0);
    await appendAll(log, [only, sent(7, 0)]);
    await log.flush();
    const rest = Array.from({ length: 6 }, (_, i) => sent(7, i + 1));
    await appendAll(log, rest);
    log.updateHighWatermark(8);
    await log.advanceLogStart(6);
    await sleep(100);
    first.die("process");
    const names = disk.mount(new Incarnation(kernel));
    // A truncation above the point, between its capture and its file, left it unwritten.
    await names.unlink(`${directory}/producers.${offsetName(2)}`);
    // The second of the deleted segments was still there.
    const second = `${directory}/${offsetName(3)}.log`;
    await names.rename(`${second}.deleted`, second);
    const again = await (await start()).log();
    assert.deepEqual([again.logStartOffset, again.logEndOffset], [6, 8]);
    for (const [offset, batch] of [only, sent(7, 0), ...rest].entries()) {
      const retry = again.append(batch, 1, () => {});
      assert.deepEqual([retry.duplicate, retry.baseOffset], [true, offset]);
    }
  });
});

test("what deleted segments say of producers is durable before they go", async () => {
  for (let seed = 1; seed <= 30; seed += 1) {
    const settings = { seed, log: { segmentBytes: 800, fileDeleteDelayMs: 0 } };
    await simulate(settings, async ({ disk, kernel, sleep, start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      const all = Array.from({ length: 8 }, (_, i) => sent(7, i));
      await appendAll(log, all);
      await log.flush();
      first.die("process");
      const names = disk.mount(new Incarnation(kernel));
      for (const name of await names.list(directory)) {
        if (name.startsWith("producers.")) await names.unlink(`${directory}/${name}`);
      }
      const second = await start();
      const again = await second.log();
      again.updateHighWatermark(8);
      await again.advanceLogStart(6);
      await sleep(100);
      await again.truncateTo(6);
      second.die("power");
      const third = await (await start()).log();
      assert.deepEqual([third.logStartOffset, third.logEndOffset], [6, 6], `seed ${seed}`);
      for (const [offset, batch] of all.slice(0, 6).entries()) {
        const retry = third.append(batch, 1, () => {});
        assert.deepEqual([retry.duplicate, retry.baseOffset], [true, offset], `seed ${seed}`);
      }
    });
  }
});
