/** What was deleted below the log start may be gone in any order, and takes nothing with it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "@millrace/env";
import { ErrorCode, hasCode, must } from "@millrace/errors";
import { Incarnation } from "@millrace/sim";
import type { PartitionLog } from "../api.ts";
import { noPauses } from "../files/breathe.ts";
import { offsetName, partitionDirectory } from "../files/paths.ts";
import { writeSnapshot } from "../partition/producer-snapshots.ts";
import { packBatches } from "../partition/producer-table.ts";
import { appendAll, batchOf, readAll, topicA } from "../testing.ts";
import { noPoints, simulate } from "../testing-sim.ts";

const directory = partitionDirectory(topicA, 0);

const small = { log: { segmentBytes: 600, fileDeleteDelayMs: 1e6 } };

const batches = (count: number) =>
  Array.from({ length: count }, (_, i) => batchOf([{ value: `v${i}`.padEnd(300, ".") }]));

for (const flushPolicy of ["none", "commit"] as const) {
  test(`a deleted segment leaves what comes behind it, policy ${flushPolicy}`, async () => {
    const settings = { log: { flushPolicy, segmentBytes: 800, fileDeleteDelayMs: 1e6 } };
    await simulate(settings, async ({ disk, kernel, sleep, start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      await appendAll(log, batches(2));
      await log.flush();
      await appendAll(log, batches(18));
      log.updateHighWatermark(20);
      await log.advanceLogStart(11);
      await sleep(100);
      first.die("process");
      // The names of the older ones come back, that of the newest deleted one does not.
      const names = disk.mount(new Incarnation(kernel));
      let returned = 0;
      for (const name of await names.list(directory)) {
        if (!name.endsWith(".log.deleted") || name.includes("08.")) continue;
        await names.rename(`${directory}/${name}`, `${directory}/${name.slice(0, -8)}`);
        returned += 1;
      }
      assert.ok(returned > 1);
      const again = await (await start()).log();
      assert.deepEqual(
        [again.state.kind, again.logStartOffset, again.logEndOffset],
        ["online", 11, 20],
      );
      assert.equal((await readAll(again, 11, 1e6, "log_end")).length, 9);
    });
  });
}

test("the epochs of deleted batches that only the journal has are not forgotten", async () => {
  const settings = { log: { segmentBytes: 800, fileDeleteDelayMs: 0 } };
  await simulate(settings, async ({ sleep, start }) => {
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    await appendAll(log, batches(2), 1);
    await appendAll(log, batches(2), 2);
    await appendAll(log, batches(6), 3);
    log.updateHighWatermark(10);
    await log.advanceLogStart(4);
    await sleep(100);
    first.die("process");
    const again = await (await start()).log();
    assert.equal(again.logStartOffset, 4);
    assert.deepEqual(again.endOffsetForEpoch(2), { leaderEpoch: 2, endOffset: 4 });
  });
});

test("epoch 0 of deleted batches that only the journal has is not forgotten", async () => {
  await simulate(small, async ({ sleep, start }) => {
    const first = await start();
    const log = await first.log();
    await appendAll(log, batches(2), 0);
    await log.truncateTo(1);
    log.updateHighWatermark(1);
    await log.advanceLogStart(1);
    await sleep(100);
    first.die("process");
    const again = await (await start()).log();
    assert.deepEqual([again.logStartOffset, again.logEndOffset], [1, 1]);
    assert.deepEqual(again.endOffsetForEpoch(0), { leaderEpoch: 0, endOffset: 1 });
  });
});

test("epochs that are known already are not begun again by deleted batches", async () => {
  await simulate(small, async ({ disk, sleep, start }) => {
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    await appendAll(log, batches(2), 1);
    await log.becomeLeader(2);
    await appendAll(log, batches(2), 2);
    // The file of epochs is newer than the recovery points.
    disk.fault = noPoints;
    await assert.rejects(log.flush());
    log.updateHighWatermark(4);
    await log.advanceLogStart(2);
    await sleep(100);
    first.die("process");
    disk.fault = () => undefined;
    const again = await (await start()).log();
    assert.deepEqual([again.state, again.logStartOffset], [{ kind: "online" }, 2]);
    assert.deepEqual(again.endOffsetForEpoch(2), { leaderEpoch: 2, endOffset: 4 });
  });
});

test("the epoch of a deleted batch whose records rotted in the journal is not forgotten", async () => {
  const settings = { log: { segmentBytes: 800, fileDeleteDelayMs: 0 } };
  await simulate(settings, async ({ disk, sleep, start }) => {
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    await appendAll(log, batches(2), 1);
    await appendAll(log, [batchOf([{ value: "of epoch 2".padEnd(600, ".") }])], 2);
    log.append(must(batches(1)[0], "batch"), 3, () => {});
    await log.advanceLogStart(3);
    await log.truncateTo(3);
    await sleep(100);
    first.die("process");
    const journal = "journal/00000000.journal";
    const at = must(disk.content(journal), "journal").indexOf("of epoch 2");
    assert.ok(at > 0 && disk.flipBit(journal, at, 1));
    const again = await (await start()).log();
    assert.deepEqual([again.state.kind, again.logStartOffset], ["online", 3]);
    assert.equal(again.leaderEpoch, 2);
    const batch = must(batches(1)[0], "batch");
    const deposed = () => again.append(batch, 1, () => {});
    assert.throws(deposed, (thrown) => hasCode(thrown, ErrorCode.FENCED_LEADER_EPOCH));
  });
});

/** A batch of about 340 bytes: two of them are too many for a segment of 600. */
const sent = (producerId: number, baseSequence: number, producerEpoch = 1) =>
  batchOf([{ value: "x".padEnd(300, ".") }], { producerId, producerEpoch, baseSequence });

test("the producers of deleted segments outlive a snapshot that was never written", async () => {
  await simulate(small, async ({ disk, kernel, sleep, start }) => {
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    const all = Array.from({ length: 8 }, (_, i) => sent(7, i));
    await appendAll(log, all);
    await log.flush();
    first.die("power");
    const names = disk.mount(new Incarnation(kernel));
    for (const name of await names.list(directory)) {
      const kept = name.endsWith(`producers.${offsetName(2)}`);
      if (name.startsWith("producers.") && !kept) await names.unlink(`${directory}/${name}`);
    }
    const again = await (await start()).log();
    again.updateHighWatermark(8);
    await again.advanceLogStart(6);
    await sleep(100);
    await again.truncateTo(6);
    const retry = again.append(must(all[5], "batch"), 1, () => {});
    assert.deepEqual([retry.duplicate, retry.baseOffset], [true, 5]);
  });
});

/** What is left of a producer of whose last batches nothing is: its epoch, and no sequence. */
const assertOnlyFenced = (log: PartitionLog, producerId: number, nextSequence: number): void => {
  assert.throws(
    () => log.append(sent(producerId, 0, 0), 1, () => {}),
    (thrown) => hasCode(thrown, ErrorCode.INVALID_PRODUCER_EPOCH),
  );
  assert.equal(log.append(sent(producerId, nextSequence), 1, () => {}).duplicate, false);
};

test("a producer goes on when the snapshot at a truncation cannot be read, and that is told", async () => {
  const told: string[] = [];
  const logger = { ...silentLogger, warn: (_: unknown, text: string) => told.push(text) };
  await simulate({ ...small, logger }, async ({ disk, sleep, start }) => {
    const log = await (await start()).log();
    await log.becomeLeader(1);
    await appendAll(
      log,
      [0, 1, 2, 3, 4, 5, 6, 7].map((i) => sent(7, i)),
    );
    await log.flush();
    log.updateHighWatermark(8);
    await log.advanceLogStart(6);
    await sleep(100);
    const path = `${directory}/producers.${offsetName(6)}`;
    disk.fault = (operation, of) => (operation === "open" && of === path ? "EIO" : undefined);
    await log.truncateTo(6);
    assertOnlyFenced(log, 7, 6);
    assert.match(told.join(), /a snapshot of producers cannot be read/);
  });
});

test("a producer goes on when a deleted segment that no snapshot knows is damaged", async () => {
  await simulate(small, async ({ disk, kernel, sleep, start }) => {
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    await appendAll(
      log,
      Array.from({ length: 8 }, (_, i) => sent(7, i)),
    );
    await log.flush();
    first.die("power");
    const names = disk.mount(new Incarnation(kernel));
    for (const name of await names.list(directory)) {
      const kept = name.endsWith(`producers.${offsetName(2)}`) || name.endsWith(offsetName(8));
      if (name.startsWith("producers.") && !kept) await names.unlink(`${directory}/${name}`);
    }
    assert.ok(disk.flipBit(`${directory}/${offsetName(4)}.log`, 100, 1));
    const again = await (await start()).log();
    again.updateHighWatermark(8);
    await again.advanceLogStart(6);
    await sleep(100);
    await again.truncateTo(6);
    assertOnlyFenced(again, 7, 6);
  });
});

test("a producer goes on when recovery cannot read the snapshot of deleted segments", async () => {
  const settings = { log: { ...small.log, flushPolicy: "none" as const } };
  await simulate(settings, async ({ disk, kernel, sleep, start }) => {
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    await appendAll(log, [sent(7, 0), sent(8, 0)]);
    await log.flush();
    await appendAll(log, [sent(7, 1), sent(7, 2), sent(8, 1), sent(7, 3), sent(7, 4)]);
    log.updateHighWatermark(7);
    await log.advanceLogStart(6);
    await sleep(100);
    first.die("process");
    assert.ok(disk.flipBit(`${directory}/producers.${offsetName(6)}`, 20, 1));
    const names = disk.mount(new Incarnation(kernel));
    for (const base of [2, 3]) {
      const path = `${directory}/${offsetName(base)}.log`;
      await names.rename(`${path}.deleted`, path);
    }
    const again = await (await start()).log();
    assert.deepEqual([again.logStartOffset, again.logEndOffset], [6, 7]);
    assertOnlyFenced(again, 8, 2);
  });
});

/** As a snapshot has it: one batch of one record, sequence 0. */
const producerAt = (baseOffset: number) => ({
  id: 8,
  epoch: 1,
  lastAppendTimeMs: 1000,
  batches: packBatches([{ baseSequence: 0, lastSequence: 0, baseOffset, appendTimeMs: 1000 }]),
});

for (const kept of [2, 3]) {
  test(`a producer goes on behind a hole among segments that came back, snapshot ${kept}`, async () => {
    await simulate(small, async ({ disk, kernel, sleep, start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      const all = [sent(8, 0), sent(7, 0), sent(7, 1), sent(7, 2), sent(8, 1), sent(7, 3)];
      await appendAll(log, [...all, sent(7, 4), sent(7, 5)]);
      await log.flush();
      log.updateHighWatermark(8);
      await log.advanceLogStart(6);
      await sleep(100);
      await log.flush();
      first.die("process");
      const names = disk.mount(new Incarnation(kernel));
      for (const base of [0, 1, 2]) {
        const path = `${directory}/${offsetName(base)}.log`;
        await names.rename(`${path}.deleted`, path);
      }
      // The newest snapshot that can be believed is from before the hole.
      for (const name of await names.list(directory)) {
        if (name.startsWith("producers.")) await names.unlink(`${directory}/${name}`);
      }
      const snapshot = { offset: kept, entries: [producerAt(0)] };
      await writeSnapshot(noPauses, names, directory, snapshot);
      await names.syncDirectory(directory);
      const again = await (await start()).log();
      assert.deepEqual([again.logStartOffset, again.logEndOffset], [6, 8]);
      assertOnlyFenced(again, 8, 2);
    });
  });
}

test("a producer goes on behind a deleted batch whose records rotted in the journal", async () => {
  const settings = { log: { ...small.log, fileDeleteDelayMs: 0 } };
  await simulate(settings, async ({ disk, kernel, sleep, start }) => {
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    const second = { producerId: 8, producerEpoch: 1, baseSequence: 1 };
    const rotten = batchOf([{ value: "second".padEnd(300, ".") }], second);
    await appendAll(log, [sent(8, 0), rotten, sent(7, 0)]);
    await log.advanceLogStart(2);
    await sleep(100);
    first.die("process");
    const journal = "journal/00000000.journal";
    const at = must(disk.content(journal), "journal").indexOf("second");
    assert.ok(at > 0 && disk.flipBit(journal, at, 1));
    const names = disk.mount(new Incarnation(kernel));
    await names.unlink(`${directory}/producers.${offsetName(2)}`);
    const again = await (await start()).log();
    assert.deepEqual([again.logStartOffset, again.logEndOffset], [2, 3]);
    assertOnlyFenced(again, 8, 2);
  });
});

test("recovery from a cut below the log start knows the producers of deleted segments", async () => {
  const settings = { log: { segmentBytes: 800, fileDeleteDelayMs: 0 } };
  await simulate(settings, async ({ sleep, start }) => {
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    const all = [0, 1, 2, 3, 4, 5, 6, 7].map((i) => sent(7, i));
    await appendAll(log, all);
    await log.flush();
    // Inside a segment: no snapshot is as of the cut.
    await log.truncateTo(5);
    await appendAll(log, [sent(8, 0), sent(8, 1), sent(8, 2)]);
    log.updateHighWatermark(8);
    await log.advanceLogStart(6);
    await sleep(100);
    first.die("process");
    const again = await (await start()).log();
    assert.deepEqual([again.logStartOffset, again.logEndOffset], [6, 8]);
    const retries = [...all.slice(0, 5), sent(8, 0), sent(8, 1), sent(8, 2)];
    for (const [offset, batch] of retries.entries()) {
      const retry = again.append(batch, 1, () => {});
      assert.deepEqual([retry.duplicate, retry.baseOffset], [true, offset]);
    }
  });
});

test("producers that a truncation cut off do not come back with the name of a snapshot", async () => {
  for (let seed = 1; seed <= 30; seed += 1) {
    const settings = { seed, log: { segmentBytes: 800, fileDeleteDelayMs: 0 } };
    await simulate(settings, async ({ sleep, start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      await appendAll(log, [...batches(1), ...[0, 1, 2, 3, 4].map((i) => sent(7, i))]);
      await log.flush();
      await log.truncateTo(1);
      await appendAll(log, batches(5));
      log.updateHighWatermark(6);
      await log.advanceLogStart(4);
      await sleep(100);
      first.die("power");
      const again = await (await start()).log();
      assert.deepEqual([again.logStartOffset, again.logEndOffset], [4, 6]);
      assert.equal(again.append(sent(7, 0), 1, () => {}).duplicate, false, `seed ${seed}`);
    });
  }
});

/** Opening a snapshot of producers finds no room. */
const noRoomForSnapshots = (operation: string, path: string): string | undefined =>
  operation === "open" && /producers\.[0-9]+\.tmp$/.test(path) ? "ENOSPC" : undefined;

/** The second segment cannot be renamed, the first one was. */
const noRoomForNames = (operation: string, path: string): string | undefined =>
  operation === "rename" && path.endsWith("01.log") ? "ENOSPC" : undefined;

for (const fault of [noRoomForSnapshots, noRoomForNames]) {
  test(`segments that could not go for want of room go later: ${fault.name}`, async () => {
    const settings = { log: { segmentBytes: 600, fileDeleteDelayMs: 0 } };
    await simulate(settings, async ({ disk, sleep, start }) => {
      const log = await (await start()).log();
      await appendAll(
        log,
        Array.from({ length: 8 }, (_, i) => sent(7, i)),
      );
      await sleep(50);
      disk.fault = fault;
      await log.advanceLogStart(4);
      assert.equal(log.logStartOffset, 4);
      disk.fault = () => undefined;
      await log.runRetention();
      await sleep(50);
      assert.deepEqual(
        disk.paths().filter((path) => path.includes(".log")),
        [4, 5, 6, 7].map((base) => `${directory}/${offsetName(base)}.log`),
      );
    });
  });
}

test("what a deleted partition still had to write does not reach the next of its id", async () => {
  const settings = { log: { segmentBytes: 600, fileDeleteDelayMs: 0 } };
  await simulate(settings, async ({ disk, sleep, start }) => {
    const first = await start();
    const log = await first.log();
    disk.fault = (operation, path) =>
      (operation === "open" && path.endsWith(".log")) || noRoomForSnapshots(operation, path)
        ? "ENOSPC"
        : undefined;
    await appendAll(
      log,
      Array.from({ length: 8 }, (_, i) => sent(7, i)),
    );
    await log.advanceLogStart(4).catch(() => {});
    await first.manager.delete(topicA, 0);
    const next = await first.log();
    disk.fault = () => undefined;
    await sleep(1000);
    assert.deepEqual(
      disk.paths().filter((path) => path.startsWith(directory)),
      [`${directory}/meta`],
    );
    await appendAll(next, batches(1));
    await next.flush();
    first.die("power");
    const again = await (await start()).log();
    assert.deepEqual([again.state.kind, again.logEndOffset], ["online", 1]);
  });
});

for (const logStart of [3, 5]) {
  test(`recovery that goes on behind a deleted segment does not overtake the journal, ${logStart}`, async () => {
    const weak = { ...small.log, flushPolicy: "none" as const };
    await simulate({ log: weak }, async ({ disk, kernel, sleep, start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      await appendAll(log, [sent(7, 0), sent(7, 1)]);
      await log.flush();
      await appendAll(log, [sent(7, 2)]);
      // No later recovery point.
      disk.fault = noPoints;
      log.updateConfig({ ...log.config, flushPolicy: "commit" });
      await appendAll(log, [sent(8, 0), sent(8, 1), sent(8, 2)]);
      log.updateHighWatermark(6);
      await log.advanceLogStart(logStart);
      await sleep(100);
      first.die("process");
      disk.fault = () => undefined;
      const names = disk.mount(new Incarnation(kernel));
      for (const base of logStart === 5 ? [0, 1, 3] : [0, 1]) {
        const path = `${directory}/${offsetName(base)}.log`;
        await names.rename(`${path}.deleted`, path);
      }
      if (logStart === 5) await names.unlink(`${directory}/producers.${offsetName(3)}`);
      const again = await (await start()).log();
      assert.deepEqual(
        [again.state.kind, again.logStartOffset, again.logEndOffset],
        ["online", logStart, 6],
      );
      // The snapshot of the log start knows what stood in the hole.
      const retry = again.append(sent(7, 2), 1, () => {});
      assert.deepEqual([retry.duplicate, retry.baseOffset], [true, 2]);
    });
  });
}

/**
 * Appends two batches, and the flush policy becomes `none`. The recovery point of that change is at
 * offset 2: the journal has the third batch, there, and none of those that follow.
 */
const appendWithPoint = async (
  log: PartitionLog,
  third: ReturnType<typeof sent>,
  sleep: (ms: number) => Promise<void>,
): Promise<void> => {
  await log.becomeLeader(1);
  await appendAll(log, [sent(7, 0)]);
  log.updateConfig({ ...log.config, flushPolicy: "none" });
  await appendAll(log, [sent(7, 1)]);
  await appendAll(log, [third]);
  await sleep(50);
};

test("a deleted batch that the journal still has takes nothing with it", async () => {
  await simulate(small, async ({ disk, kernel, sleep, start }) => {
    const first = await start();
    const log = await first.log();
    await appendWithPoint(log, sent(8, 0), sleep);
    disk.fault = noPoints;
    await appendAll(log, [sent(9, 0), sent(9, 1), sent(9, 2)]);
    log.updateConfig({ ...log.config, flushPolicy: "commit" });
    await appendAll(log, [sent(10, 0)]);
    log.updateHighWatermark(7);
    await log.advanceLogStart(4);
    await sleep(100);
    first.die("process");
    disk.fault = () => undefined;
    const names = disk.mount(new Incarnation(kernel));
    const path = `${directory}/${offsetName(1)}.log`;
    await names.rename(`${path}.deleted`, path);
    const again = await (await start()).log();
    assert.deepEqual(
      [again.state, again.logStartOffset, again.logEndOffset],
      [{ kind: "online" }, 4, 7],
    );
    for (const last of [sent(8, 0), sent(9, 2), sent(10, 0)]) {
      assert.equal(again.append(last, 1, () => {}).duplicate, true);
    }
  });
});

for (const truncated of [false, true]) {
  test(`the journal knows the producers of a hole, truncated behind it: ${truncated}`, async () => {
    await simulate(small, async ({ disk, kernel, sleep, start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      const all = Array.from({ length: 5 }, (_, i) => sent(7, i));
      await appendAll(log, all.slice(0, 2));
      await log.flush();
      // The segment of the log start takes two small batches more.
      const small = [batchOf([{ value: "x" }]), batchOf([{ value: "y" }])];
      await appendAll(log, [...all.slice(2), ...batches(1), ...small]);
      log.updateHighWatermark(5);
      await log.advanceLogStart(5);
      await sleep(100);
      first.die("process");
      // The snapshot at the log start lost its name.
      const names = disk.mount(new Incarnation(kernel));
      await names.unlink(`${directory}/producers.${offsetName(5)}`);
      const again = await (await start()).log();
      assert.deepEqual([again.logStartOffset, again.logEndOffset], [5, 8]);
      if (truncated) await again.truncateTo(6);
      for (const batch of all) assert.equal(again.append(batch, 1, () => {}).duplicate, true);
    });
  });
}

test("a producer goes on behind a hole that the journal fills only in part", async () => {
  await simulate(small, async ({ disk, kernel, sleep, start }) => {
    const first = await start();
    const log = await first.log();
    await appendWithPoint(log, sent(8, 0), sleep);
    disk.fault = noPoints;
    await appendAll(log, [sent(8, 1), sent(7, 2), ...batches(1)]);
    log.updateHighWatermark(5);
    await log.advanceLogStart(5);
    await sleep(100);
    first.die("process");
    disk.fault = () => undefined;
    const names = disk.mount(new Incarnation(kernel));
    await names.unlink(`${directory}/producers.${offsetName(5)}`);
    const again = await (await start()).log();
    assert.equal(again.logStartOffset, 5);
    assertOnlyFenced(again, 8, 2);
  });
});

test("the end of a hole in the segments is where they go on", async () => {
  await simulate(small, async ({ disk, kernel, sleep, start }) => {
    const first = await start();
    const log = await first.log();
    await appendWithPoint(log, sent(7, 2), sleep);
    disk.fault = noPoints;
    await appendAll(log, [sent(7, 3)]);
    log.updateConfig({ ...log.config, flushPolicy: "commit" });
    await appendAll(log, [sent(7, 4)]);
    log.updateHighWatermark(5);
    await log.advanceLogStart(3);
    await sleep(100);
    first.die("process");
    disk.fault = () => undefined;
    const names = disk.mount(new Incarnation(kernel));
    await names.unlink(`${directory}/producers.${offsetName(3)}`);
    const again = await (await start()).log();
    assert.deepEqual([again.logStartOffset, again.logEndOffset], [3, 5]);
    assert.equal(again.append(sent(7, 2), 1, () => {}).duplicate, true);
  });
});

for (const bytes of [0, 100]) {
  test(`a deleted segment of the recovery point comes back with ${bytes} bytes`, async () => {
    await simulate(small, async ({ disk, kernel, sleep, start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      await appendAll(log, [sent(7, 0), sent(7, 1)]);
      await log.flush();
      await appendAll(log, [sent(7, 2), sent(7, 3)]);
      log.updateHighWatermark(4);
      await log.advanceLogStart(2);
      await sleep(100);
      first.die("process");
      const files = disk.mount(new Incarnation(kernel));
      const path = `${directory}/${offsetName(1)}.log`;
      await files.rename(`${path}.deleted`, path);
      const file = await files.open(path, "write");
      await file.truncate(bytes);
      await file.close();
      const again = await (await start()).log();
      assert.deepEqual(
        [again.state, again.logStartOffset, again.logEndOffset],
        [{ kind: "online" }, 2, 4],
      );
      assert.equal(again.append(sent(7, 3), 1, () => {}).duplicate, true);
      assert.ok(!disk.paths().includes(path));
    });
  });
}
