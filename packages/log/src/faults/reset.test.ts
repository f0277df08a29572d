/** A log that begins anew is the old one or the new one, whatever crashes, disks and damage do. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode } from "@millrace/errors";
import { crcOf } from "@millrace/record";
import { syncCompressor } from "@millrace/record/node";
import { Incarnation, type SimDisk } from "@millrace/sim";
import type { PartitionLog } from "../api.ts";
import { offsetName, partitionDirectory } from "../files/paths.ts";
import { ENTRY_BYTES, ROUND_ALIGN_BYTES, ROUND_HEADER_BYTES } from "../journal/format.ts";
import { appendAll, batchOf, readAll, topicA } from "../testing.ts";
import { offsetsOf, oldLog, tenBatches } from "../testing-reset.ts";
import { noPoints, type Simulation, simulate } from "../testing-sim.ts";
import { verifyDirectory } from "../tools/verify.ts";

const directory = partitionDirectory(topicA, 0);
const segment = (base: number): string => `${directory}/${offsetName(base)}.log`;

const isStorageError = (thrown: unknown): boolean => hasCode(thrown, ErrorCode.STORAGE_ERROR);

const marks = async (log: PartitionLog): Promise<string> => {
  const records = await readAll(log, log.logStartOffset, 1e6, "log_end");
  return [...new Set(records.map(({ value }) => value.slice(0, 3)))].join();
};

/** What may be found: the whole old log, or the new one as far as it had come. */
const checkFound = async (log: PartitionLog, start: number, what: string): Promise<boolean> => {
  assert.equal(log.state.kind, "online", what);
  const { logStartOffset, logEndOffset } = log;
  const found = await marks(log);
  if (found === "old") {
    assert.deepEqual([logStartOffset, logEndOffset, log.leaderEpoch], [2, 20, 3], what);
    return false;
  }
  assert.ok(found === "" || found === "new", `${what}: ${found}`);
  assert.equal(logStartOffset, start, what);
  assert.equal(log.leaderEpoch, logEndOffset === start ? 0 : 4, what);
  return true;
};

/**
 * Crashes at a step of the disk behind the call of a reset, and again at one of the recovery.
 * Returns whether the crash came before all was over.
 */
const crashAt = async (
  { die, disk, start }: Simulation,
  to: number,
  step: number,
): Promise<boolean> => {
  const log = await (await start()).log();
  await oldLog(log);
  const dead = Promise.withResolvers<"dead">();
  const crashIn = (steps: number): void => {
    const crashStep = disk.steps + steps;
    disk.onStep = (now) => {
      if (now !== crashStep) return;
      disk.onStep = () => {};
      die(step % 3 === 0 ? "process" : "power");
      dead.resolve("dead");
    };
  };
  crashIn(step);
  let isReset = false;
  let acknowledged = 0;
  const working = async (): Promise<"over"> => {
    await log.resetTo(to);
    isReset = true;
    for (const batch of tenBatches("new").slice(0, 4)) {
      await appendAll(log, [batch], 4);
      acknowledged += 2;
    }
    await log.flush();
    return "over";
  };
  const outcome = await Promise.race([working(), dead.promise]);
  const what = `to ${to}, step ${step}`;
  if (outcome === "over") die("power");
  // Once more, somewhere in the recovery.
  const again = Promise.withResolvers<"dead">();
  const secondStep = disk.steps + 1 + (step % 23);
  disk.onStep = (now) => {
    if (now !== secondStep) return;
    disk.onStep = () => {};
    die("power");
    again.resolve("dead");
  };
  await Promise.race([start(), again.promise]);
  disk.onStep = () => {};
  die("power");
  const found = await (await start()).log();
  const isNew = await checkFound(found, to, what);
  assert.ok(isNew || !isReset, `${what}: the old log is back`);
  assert.ok(!isNew || found.logEndOffset >= to + acknowledged, `${what}: ${found.logEndOffset}`);
  return outcome === "dead";
};

for (const [flushPolicy, starts] of [
  ["commit", [0, 8, 9, 20, 300]],
  ["none", [8]],
] as const) {
  for (const to of starts) {
    test(`a crash at any step leaves the old log or the new one, from ${to} on, with ${flushPolicy}`, async () => {
      const settings = { log: { flushPolicy, segmentBytes: 1000 } };
      for (let step = 1, more = true; more; step += 2) {
        await simulate({ seed: step, ...settings }, async (simulation) => {
          more = await crashAt(simulation, to, step);
        });
      }
    });
  }
}

test("files of the old log do not come back behind a recovery point", async () => {
  for (let seed = 1; seed <= 40; seed += 1) {
    await simulate({ seed, log: { segmentBytes: 1000 } }, async ({ start }) => {
      const first = await start();
      const log = await first.log();
      await oldLog(log);
      await log.resetTo(4);
      // The new log ends where segments of the old one began, and makes none of its own there.
      log.updateConfig({ ...log.config, segmentBytes: 1e6 });
      const batches = tenBatches("new").slice(0, seed % 2);
      await appendAll(log, batches, 1);
      await log.flush();
      first.die("power");
      const again = await (await start()).log();
      const end = 4 + 2 * batches.length;
      const found = [again.state.kind, again.logStartOffset, again.logEndOffset];
      assert.deepEqual(found, ["online", 4, end], `seed ${seed}`);
      assert.deepEqual([again.leaderEpoch, await marks(again)], seed % 2 ? [1, "new"] : [0, ""]);
    });
  }
});

test("a checkpoint that saw the old log leaves nothing of it behind a reset", async () => {
  for (let afterMs = 0; afterMs < 4; afterMs += 0.2) {
    await simulate({ log: { segmentBytes: 1000 } }, async ({ sleep, start }) => {
      const first = await start();
      const log = await first.log();
      await oldLog(log);
      await log.becomeLeader(5);
      // A checkpoint comes to them first.
      for (let other = 1; other < 10; other += 1) {
        await appendAll(await first.log(other), tenBatches("other").slice(0, 3));
      }
      const flushing = log.flush();
      await sleep(afterMs);
      await log.resetTo(30);
      await flushing;
      await log.flush();
      first.die("power");
      const again = await (await start()).log();
      const found = [again.state.kind, again.leaderEpoch, ...offsetsOf(again)];
      assert.deepEqual(found, ["online", 0, 30, 30, 30, 30], `after ${afterMs} ms`);
    });
  }
});

test("the last of several resets counts", async () => {
  await simulate({}, async ({ disk, start }) => {
    const first = await start();
    const log = await first.log();
    await oldLog(log);
    disk.fault = noPoints;
    for (const to of [8, 300, 5]) {
      await log.resetTo(to);
      await appendAll(log, tenBatches("new"), 4);
    }
    first.die("power");
    disk.fault = () => undefined;
    const again = await (await start()).log();
    assert.deepEqual([again.logStartOffset, again.logEndOffset], [5, 25]);
  });
});

test("a batch of the old log that is still to be written comes to no file of the new one", async () => {
  for (let seed = 1; seed <= 10; seed += 1) {
    const settings = { log: { segmentBytes: 1000 }, manager: { writeLingerMs: 20 } };
    await simulate({ seed, ...settings }, async ({ disk, sleep, start }) => {
      const log = await (await start()).log();
      await oldLog(log);
      await appendAll(log, tenBatches("old"), 3);
      await log.resetTo(22);
      await sleep(100);
      const files = disk.paths().filter((path) => path.startsWith(`${directory}/0`));
      assert.deepEqual(files, [], `seed ${seed}`);
    });
  }
});

test("a reset waits for a disk that has a shortage, and holds up no other partition", async () => {
  await simulate({}, async ({ disk, sleep, start }) => {
    const first = await start();
    const [log, other] = [await first.log(0), await first.log(1)];
    await oldLog(log);
    disk.fault = (operation, path) =>
      operation === "unlink" && path.startsWith(directory) ? "ENOSPC" : undefined;
    let isOver = false;
    const resetting = log.resetTo(9).then(() => {
      isOver = true;
    });
    await sleep(5000);
    assert.ok(!isOver);
    const [appended] = await appendAll(other, [batchOf([{ value: "other" }])]);
    assert.equal(appended?.baseOffset, 0);
    assert.throws(
      () => log.append(batchOf([{ value: "x" }]), 3, () => {}),
      (thrown) => hasCode(thrown, ErrorCode.LEADER_NOT_AVAILABLE),
    );
    disk.fault = () => undefined;
    await resetting;
    assert.deepEqual(offsetsOf(log), [9, 9, 9, 9]);
  });
});

test("a stop ends while a reset waits for its disk; the next start finishes it", async () => {
  await simulate({}, async ({ disk, start }) => {
    const first = await start();
    const log = await first.log();
    await oldLog(log);
    disk.fault = (operation, path) =>
      operation === "unlink" && path.startsWith(directory) ? "ENOSPC" : undefined;
    const resetting = assert.rejects(log.resetTo(9));
    await first.manager.close(true);
    await resetting;
    disk.fault = () => undefined;
    first.die("process");
    assert.deepEqual(offsetsOf(await (await start()).log()), [9, 9, 9, 9]);
  });
});

test("a disk that refuses for good stops the directory, and the next start finishes the reset", async () => {
  for (const isWell of [true, false]) {
    await simulate({}, async ({ disk, start }) => {
      const first = await start();
      const log = await first.log();
      await oldLog(log);
      disk.fault = (operation, path) =>
        operation === "unlink" && path.startsWith(directory) ? "EIO" : undefined;
      await assert.rejects(log.resetTo(9), isStorageError);
      assert.equal(log.state.kind, "stopped");
      first.die("power");
      if (isWell) disk.fault = () => undefined;
      const again = await (await start()).log();
      // What cannot be finished may not be served.
      assert.equal(again.state.kind, isWell ? "online" : "offline");
      if (isWell) assert.deepEqual(offsetsOf(again), [9, 9, 9, 9]);
    });
  }
});

test("a log that is damaged does not begin anew, also where that is met while a reset waits", async () => {
  let late = 0;
  for (let afterMs = 0; afterMs < 3; afterMs += 0.05) {
    await simulate({ log: { segmentBytes: 1000 } }, async ({ disk, sleep, start }) => {
      const log = await (await start()).log();
      await oldLog(log);
      assert.ok(disk.flipBit(segment(8), 100, 1));
      const reading = log.read(8, 100, "log_end").catch(() => {});
      await sleep(afterMs);
      const before = log.state.kind;
      // The reset waits for it.
      if (before === "online") void appendAll(log, tenBatches("old"), 3).catch(() => {});
      const outcome = await log.resetTo(9).then(
        () => "reset",
        (thrown: unknown) => hasCode(thrown, ErrorCode.PARTITION_OFFLINE),
      );
      await reading;
      if (outcome === "reset") return;
      assert.equal(outcome, true);
      assert.ok(disk.paths().includes(segment(8)));
      if (before === "online") late += 1;
    });
  }
  assert.ok(late > 0, "no reset was waiting");
});

/** A new log of ten batches whose recovery point is that of the old one. */
const uncovered = async ({ disk, sleep, start }: Simulation, to: number): Promise<void> => {
  const first = await start();
  const log = await first.log();
  await oldLog(log);
  disk.fault = noPoints;
  await log.resetTo(to);
  await appendAll(log, tenBatches("new"), 4);
  // Rounds behind it: it was not torn.
  for (const batch of tenBatches("newer")) await appendAll(log, [batch], 4);
  await sleep(100);
  disk.fault = () => undefined;
  first.die("process");
};

const textIn = (disk: SimDisk, path: string, text: string): number =>
  disk.content(path)?.indexOf(text) ?? -1;

test("recovery drops no file that may hold a batch which the journal has lost", async () => {
  await simulate({}, async (simulation) => {
    const { disk, start } = simulation;
    await uncovered(simulation, 4);
    const journal = "journal/00000000.journal";
    assert.ok(disk.flipBit(journal, textIn(disk, journal, "new3a"), 1));
    const log = await (await start()).log();
    assert.equal(log.state.kind, "offline");
    assert.ok(textIn(disk, segment(4), "new3a") > 0);
  });
});

test("a reset in a journal whose recovery points are lost is not taken for newer than the files", async () => {
  for (const hasFiles of [true, false]) {
    await simulate({}, async (simulation) => {
      const { disk, kernel, start } = simulation;
      await uncovered(simulation, 4);
      const files = disk.mount(new Incarnation(kernel));
      for (const path of ["recovery-points", "recovery-points.copy"]) await files.unlink(path);
      if (!hasFiles) await files.unlink(segment(4));
      const log = await (await start()).log();
      assert.equal(log.state.kind, hasFiles ? "offline" : "online");
      if (!hasFiles) assert.deepEqual([log.logStartOffset, log.logEndOffset], [4, 44]);
    });
  }
});

test("a partition that goes offline behind its reset begins there once it is repaired", async () => {
  await simulate({}, async ({ disk, kernel, sleep, start }) => {
    const first = await start();
    const log = await first.log();
    await oldLog(log);
    disk.fault = noPoints;
    await log.resetTo(6);
    await appendAll(log, tenBatches("new"), 4);
    await sleep(100);
    const whole = Buffer.from(disk.content(segment(6)) ?? []);
    assert.ok(disk.flipBit(segment(6), 100, 1));
    await assert.rejects(log.read(6, 100, "log_end"));
    disk.fault = () => undefined;
    // The recovery points move on with what is known of the partition.
    await (await first.log(1)).flush();
    first.die("power");
    const second = await start();
    assert.equal((await second.log()).state.kind, "offline");
    const files = disk.mount(new Incarnation(kernel));
    const file = await files.open(segment(6), "write");
    await file.write([whole], 0);
    await file.close();
    await files.unlink(`${directory}/offline`);
    second.die("process");
    const again = await (await start()).log();
    assert.deepEqual([again.state.kind, again.logStartOffset], ["online", 6]);
    assert.deepEqual([again.logEndOffset, await marks(again)], [26, "new"]);
  });
});

test("a lost directory whose log began anew is told, not made anew", async () => {
  await simulate({}, async ({ disk, kernel, start }) => {
    const first = await start();
    const log = await first.log();
    await log.resetTo(6);
    first.die("power");
    const files = disk.mount(new Incarnation(kernel));
    for (const name of await files.list(directory)) await files.unlink(`${directory}/${name}`);
    await files.removeDirectory(directory);
    await files.syncDirectory("partitions");
    assert.equal((await (await start()).log()).state.kind, "offline");
  });
});

test("the check of a directory takes the files of an old log for no damage", async () => {
  for (const to of [0, 8, 9, 20, 300]) {
    await simulate({ log: { segmentBytes: 1000 } }, async ({ disk, kernel, start }) => {
      const first = await start();
      const log = await first.log();
      await oldLog(log);
      const dead = Promise.withResolvers<void>();
      disk.onStep = (_, what) => {
        if (!what.startsWith("unlink")) return;
        disk.onStep = () => {};
        first.die("process");
        dead.resolve();
      };
      void log.resetTo(to);
      await dead.promise;
      const files = disk.mount(new Incarnation(kernel));
      const { damages, tornBytes, batches } = await verifyDirectory(files, syncCompressor);
      assert.deepEqual({ damages, tornBytes, batches }, { damages: [], tornBytes: 0, batches: 0 });
      assert.ok(disk.paths().includes(segment(8)), "the check changed the directory");
    });
  }
});

test("the check of a directory compares no file of an old log with one of the new", async () => {
  let old = 0;
  for (let seed = 1; seed <= 20; seed += 1) {
    await simulate(
      { seed, log: { segmentBytes: 1000 } },
      async ({ disk, kernel, sleep, start }) => {
        const first = await start();
        const log = await first.log();
        await oldLog(log);
        disk.fault = noPoints;
        await log.resetTo(8);
        // Its segment has the name of one of the old log, and ends inside of a batch of that one.
        await appendAll(log, [batchOf([{ value: "new" }])], 4);
        await sleep(100);
        first.die("power");
        disk.fault = () => undefined;
        // One of the new log may be torn.
        if (textIn(disk, segment(8), "old") < 0) return;
        old += 1;
        const files = disk.mount(new Incarnation(kernel));
        const { damages, tornBytes, batches } = await verifyDirectory(files, syncCompressor);
        assert.deepEqual(
          { damages, tornBytes, batches },
          { damages: [], tornBytes: 0, batches: 1 },
        );
      },
    );
  }
  assert.ok(old > 0, "no file of the old log came back");
});

/** Makes the resets of a journal changes of a kind that this version does not know. */
const makeUnknown = async (simulation: Simulation): Promise<void> => {
  const { disk, kernel } = simulation;
  const path = "journal/00000000.journal";
  const bytes = Buffer.from(disk.content(path) ?? []);
  for (let at = 0; at < bytes.length; at += ROUND_ALIGN_BYTES) {
    if (bytes.toString("latin1", at, at + 4) !== "MJR1") continue;
    const end = at + ROUND_HEADER_BYTES + bytes.readUInt32LE(at + 40) * ENTRY_BYTES;
    const table = bytes.subarray(at + ROUND_HEADER_BYTES, end);
    for (let entry = 0; entry < table.length; entry += ENTRY_BYTES) {
      if (table[entry] === 6) table[entry] = 200;
    }
    bytes.writeUInt32LE(crcOf(Buffer.concat([bytes.subarray(at, at + 48), table])), at + 48);
  }
  const file = await disk.mount(new Incarnation(kernel)).open(path, "write");
  await file.write([bytes], 0);
  await file.close();
};

test("a version that does not know a change takes its partition offline, and no other", async () => {
  await simulate({}, async (simulation) => {
    const { disk, sleep, start } = simulation;
    const first = await start();
    await oldLog(await first.log(0));
    await oldLog(await first.log(1));
    disk.fault = (operation) => (operation === "unlink" ? "ENOSPC" : undefined);
    void (await first.log()).resetTo(9);
    await sleep(100);
    first.die("process");
    disk.fault = () => undefined;
    await makeUnknown(simulation);
    const second = await start();
    const { state } = await second.log();
    assert.ok(state.kind === "offline" && /kind 200: use a newer version/.test(state.reason));
    assert.deepEqual(offsetsOf(await second.log(1)), [2, 20, 20, 20]);
    assert.ok(disk.paths().includes(segment(0)));
  });
});

for (const to of [8, 9, 20]) {
  test(`a reset to ${to} that is not finished outlives a directory that cannot be listed`, async () => {
    await simulate({ log: { segmentBytes: 1000 } }, async ({ die, disk, start }) => {
      const log = await (await start()).log();
      await oldLog(log);
      disk.fault = (operation) => (operation === "unlink" ? "EIO" : undefined);
      await assert.rejects(log.resetTo(to), isStorageError);
      die("process");
      disk.fault = (operation, path) =>
        operation === "list" && path === directory ? "EIO" : undefined;
      const second = await start();
      await second.manager.close(true);
      die("process");
      disk.fault = () => undefined;
      const { state } = await (await start()).log();
      assert.ok(state.kind === "offline" && /it cannot begin anew/.test(state.reason));
    });
  });
}

test("names of an old log that was dropped do not come back, though recovery failed", async () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    await simulate({ seed, log: { segmentBytes: 1000 } }, async ({ die, disk, start }) => {
      const log = await (await start()).log();
      await oldLog(log);
      disk.fault = (operation) => (operation === "unlink" ? "EIO" : undefined);
      await assert.rejects(log.resetTo(8), isStorageError);
      die("process");
      let lists = 0;
      disk.fault = (operation, path) => {
        if (operation !== "list" || path !== directory) return undefined;
        lists += 1;
        // The first one drops the old log.
        return lists === 2 ? "EIO" : undefined;
      };
      const second = await start();
      assert.equal((await second.log()).state.kind, "offline");
      disk.fault = () => undefined;
      await second.manager.close(true);
      die("power");
      const again = await (await start()).log();
      assert.deepEqual([again.state.kind, ...offsetsOf(again)], ["online", 8, 8, 8, 8], `${seed}`);
    });
  }
});
