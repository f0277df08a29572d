/** Changes of one partition have one order, and reads do not straddle a truncation. */
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { silentLogger } from "@millrace/env";
import { nodeDisk } from "@millrace/env/node";
import { ErrorCode, hasCode } from "@millrace/errors";
import { FileCache } from "../files/file-cache.ts";
import { appendAll, batchOf, readAll, recordsOf } from "../testing.ts";
import { simulate } from "../testing-sim.ts";

const batches = (count: number, bytes = 300, mark = "v") =>
  Array.from({ length: count }, (_, i) => batchOf([{ value: `${mark}${i}`.padEnd(bytes, ".") }]));

test("open files belong to a segment, not to a name", async () => {
  const root = mkdtempSync(join(tmpdir(), "millrace-files-"));
  try {
    const disk = nodeDisk(root);
    const files = new FileCache(disk, silentLogger, 10);
    const first = { path: "a.log", dropped: false };
    const reading = files.with(first, async () => {}).catch((e: { code: string }) => e.code);
    const writing = files.withMade(first, (file) => file.write([Buffer.from("old")], 0));
    assert.equal(await reading, "ENOENT");
    await writing;
    first.dropped = true;
    files.forget(first);
    await assert.rejects(
      files.with(first, async () => {}),
      /was dropped/,
    );
    await disk.unlink("a.log");
    const second = { path: "a.log", dropped: false };
    await files.withMade(second, (file) => file.write([Buffer.from("acknowledged")], 0));
    assert.equal(await disk.fileSize("a.log"), 12);
    await files.closeAll();
  } finally {
    rmSync(root, { recursive: true });
  }
});

test("readers up to the log end, while the log is truncated and goes on, meet no damage", async () => {
  const settings = { log: { segmentBytes: 1100 }, manager: { openFilesMax: 2 } };
  for (let seed = 1; seed <= 60; seed += 1) {
    await simulate({ seed, ...settings }, async ({ sleep, start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      await appendAll(log, batches(12));
      await sleep(20);
      let stop = false;
      const reader = async (from: number): Promise<void> => {
        while (!stop) {
          const read = log.read(from, 300, "log_end");
          await read.catch((thrown) => {
            const out = hasCode(thrown, ErrorCode.OFFSET_OUT_OF_RANGE);
            const busy = hasCode(thrown, ErrorCode.LEADER_NOT_AVAILABLE);
            const dropped = hasCode(thrown, ErrorCode.STORAGE_ERROR);
            assert.ok(out || busy || dropped, String(thrown));
          });
          await sleep(0.05);
        }
      };
      const readers = [7, 8, 9, 10, 11].map(reader);
      await sleep(1 + (seed % 10) / 10);
      await log.truncateTo(4);
      await log.becomeLeader(2);
      await appendAll(log, batches(8, 300, "n"), 2);
      await log.flush();
      stop = true;
      await Promise.all(readers);
      assert.equal(log.state.kind, "online", `seed ${seed}`);
      const values = (await readAll(log, 0)).map(({ value }) => value.slice(0, 1)).join("");
      assert.equal(values, "vvvvnnnnnnnn");
      first.die("process");
      const again = await (await start()).log();
      assert.deepEqual([again.state.kind, again.logEndOffset], ["online", 12]);
    });
  }
});

test("a read that waits for its disk while the log is truncated and goes on is begun anew", async () => {
  for (let seed = 1; seed <= 10; seed += 1) {
    await simulate({ seed }, async ({ disk, sleep, start }) => {
      const log = await (await start()).log();
      await log.becomeLeader(1);
      await appendAll(log, batches(12));
      await log.flush();
      const usualMs = disk.latencyMs;
      disk.latencyMs = 10_000;
      let over = false;
      const reading = log.read(8, 300, "log_end").finally(() => {
        over = true;
      });
      await sleep(0);
      disk.latencyMs = usualMs;
      await log.truncateTo(4);
      await log.becomeLeader(2);
      await appendAll(log, batches(8, 1000, "n"), 2);
      await log.flush();
      assert.ok(!over, `seed ${seed}: the read was over too soon to tell`);
      const [record] = recordsOf(await reading, 8);
      assert.deepEqual([record?.offset, record?.value.slice(0, 2)], [8, "n4"], `seed ${seed}`);
      assert.equal(log.state.kind, "online", `seed ${seed}`);
    });
  }
});

test("retention does not roll a segment under a truncation to the log end", async () => {
  for (let afterMs = 0; afterMs < 2; afterMs += 0.1) {
    await simulate({ log: { segmentMs: 50 } }, async ({ sleep, start }) => {
      const first = await start();
      let log = await first.log();
      await log.becomeLeader(1);
      await appendAll(log, batches(3));
      await log.flush();
      // An epoch that begins at the log end gives a truncation to there something to do.
      await log.becomeLeader(5);
      await sleep(100);
      const truncating = log.truncateTo(3);
      await sleep(afterMs);
      await Promise.all([truncating, log.runRetention()]);
      await log.becomeLeader(6);
      await appendAll(log, batches(2, 300, "n"), 6);
      await log.flush();
      const values = async (): Promise<string> =>
        (await readAll(log, 0)).map(({ value }) => value.slice(0, 2)).join(" ");
      assert.equal(await values(), "v0 v1 v2 n0 n1", `retention after ${afterMs} ms`);
      first.die("power");
      log = await (await start()).log();
      log.updateHighWatermark(log.logEndOffset);
      assert.equal(await values(), "v0 v1 v2 n0 n1", `retention after ${afterMs} ms`);
    });
  }
});

test("retention that rolls and a truncation under way do not meet", async () => {
  for (let seed = 1; seed <= 60; seed += 1) {
    const log = { segmentMs: 50, segmentBytes: 1 << 20 };
    await simulate({ seed, log }, async ({ sleep, start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      await appendAll(log, batches(20, 100));
      await sleep(100);
      const truncating = log.truncateTo(15);
      await sleep((seed % 30) / 5);
      const retaining = log.runRetention();
      await Promise.all([truncating, retaining]);
      await log.becomeLeader(2);
      await appendAll(log, batches(5, 6000, "n"), 2);
      await log.flush();
      assert.equal((await readAll(log, 0, 1e6)).length, 20, `seed ${seed}`);
      first.die("power");
      const again = await (await start()).log();
      assert.deepEqual([again.state.kind, again.logEndOffset], ["online", 20]);
    });
  }
});

test("a truncation waits for retention that is under way", async () => {
  await simulate({ log: { segmentBytes: 1100 } }, async ({ disk, sleep, start }) => {
    const first = await start();
    await appendAll(await first.log(), batches(20));
    await first.manager.close(true);
    first.die("process");
    const second = await start();
    const log = await second.log();
    log.updateConfig({ ...log.config, retentionMs: 1000 });
    // Retention reads how old the segment before the active one is. The journal is slower still
    // with what it gets meanwhile.
    const usualMs = disk.latencyMs;
    const asked = Promise.withResolvers<void>();
    const read = Promise.withResolvers<void>();
    let isRead = false;
    disk.onStep = (_, what) => {
      if (what.endsWith("/00000000000000000015.timeindex")) {
        if (what.startsWith("open ")) {
          disk.latencyMs = 1000;
          asked.resolve();
        } else if (what.startsWith("read ")) {
          isRead = true;
          read.resolve();
        }
      } else if (what.startsWith("write journal/") && !isRead) disk.latencyMs = 100_000;
    };
    const retaining = log.runRetention();
    await asked.promise;
    await sleep(0);
    disk.latencyMs = usualMs;
    const truncating = log.truncateTo(13);
    await read.promise;
    disk.latencyMs = usualMs;
    await Promise.all([retaining, truncating]);
    assert.deepEqual([log.logStartOffset, log.logEndOffset], [20, 20]);
    await appendAll(log, batches(2, 300, "n"));
    second.die("power");
    const again = await (await start()).log();
    assert.deepEqual(
      [again.state.kind, again.logStartOffset, again.logEndOffset],
      ["online", 20, 22],
    );
  });
});

test("a truncation holds up no other partition", async () => {
  await simulate({ log: { segmentBytes: 1 << 20 } }, async ({ disk, kernel, start }) => {
    const first = await start();
    const log = await first.log(0);
    const other = await first.log(1);
    await log.becomeLeader(1);
    await other.becomeLeader(1);
    const producer = { producerId: 1, producerEpoch: 0 };
    for (let i = 0; i < 50; i += 1) {
      await appendAll(log, [batchOf([{ value: "x" }], { ...producer, baseSequence: i })]);
    }
    await log.flush();
    disk.fault = () => undefined;
    // Every step of the truncation's work on files takes a second.
    const slow = disk.latencyMs;
    const truncating = log.truncateTo(49);
    disk.onStep = (_, what) => {
      disk.latencyMs = what.includes("-00000/") ? 1000 : slow;
    };
    let done = false;
    truncating.then(() => {
      done = true;
    });
    const startedMs = kernel.nowMs;
    await appendAll(other, [batchOf([{ value: "y" }])]);
    await appendAll(other, [batchOf([{ value: "y" }])]);
    assert.ok(!done, "the truncation was over too soon to tell");
    assert.ok(kernel.nowMs - startedMs < 3000, `waited ${kernel.nowMs - startedMs} ms`);
    disk.onStep = () => {};
    disk.latencyMs = slow;
    await truncating;
  });
});

test("a truncation to the log end forgets an epoch that was led there and never replicated", async () => {
  await simulate({}, async ({ start }) => {
    let life = await start();
    let log = await life.log();
    await log.becomeLeader(1);
    await appendAll(log, batches(3));
    await log.flush();
    await log.becomeLeader(5);
    await log.truncateTo(3);
    assert.equal(log.leaderEpoch, 1);
    for (const how of ["process", "power"] as const) {
      life.die(how);
      life = await start();
      log = await life.log();
      assert.deepEqual([log.state.kind, log.leaderEpoch, log.logEndOffset], ["online", 1, 3]);
    }
    await appendAll(log, batches(1), 4);
    assert.deepEqual(log.endOffsetForEpoch(1), { leaderEpoch: 1, endOffset: 3 });
  });
});

test("a truncation into a batch below the log start begins the log again at its start", async () => {
  await simulate({}, async ({ start }) => {
    let life = await start();
    let log = await life.log();
    await log.becomeLeader(1);
    const ten = Array.from({ length: 10 }, (_, i) => ({ value: `${i}` }));
    await appendAll(log, [batchOf(ten)]);
    await log.advanceLogStart(5);
    await log.truncateTo(7);
    assert.deepEqual([log.logStartOffset, log.logEndOffset, log.highWatermark], [5, 5, 5]);
    await appendAll(log, batches(2));
    for (const how of ["process", "power"] as const) {
      life.die(how);
      life = await start();
      log = await life.log();
      assert.deepEqual([log.state.kind, log.logStartOffset, log.logEndOffset], ["online", 5, 7]);
    }
  });
});

test("the high watermark of before a truncation does not come back", async () => {
  await simulate({}, async ({ start }) => {
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    await appendAll(log, batches(6));
    await log.flush();
    await log.truncateTo(2);
    const append = new Promise<void>((resolve) => {
      for (const batch of batches(5)) log.append(batch, 1, () => resolve());
    });
    await append;
    first.die("power");
    assert.equal((await (await start()).log()).highWatermark, 2);
  });
});

test("what is appended while the log closes is refused, and what was acknowledged is there", async () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    await simulate({ seed }, async ({ sleep, start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      let acked = 0;
      let over = false;
      const writer = async (): Promise<void> => {
        while (!over) {
          await appendAll(log, batches(1)).then(
            () => {
              acked += 1;
            },
            (thrown) => assert.ok(hasCode(thrown, ErrorCode.SHUTTING_DOWN), String(thrown)),
          );
          await sleep(0.1);
        }
      };
      const writing = writer();
      await sleep(5);
      await first.manager.close(true);
      over = true;
      await writing;
      first.die("power");
      const again = await (await start()).log();
      assert.equal(again.logEndOffset, acked, `seed ${seed}`);
    });
  }
});

test("nothing is appended once a stop has begun", async () => {
  await simulate({}, async ({ start }) => {
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    const closing = first.manager.close(true);
    assert.throws(
      () => log.append(batchOf([{ value: "x" }]), 1, () => {}),
      (thrown) => hasCode(thrown, ErrorCode.SHUTTING_DOWN),
    );
    await closing;
  });
});

test("retention that drops what an append waits for stops nothing", async () => {
  for (let seed = 1; seed <= 25; seed += 1) {
    const settings = { seed, log: { segmentBytes: 800 }, manager: { writeLingerMs: 1e6 } };
    await simulate(settings, async ({ disk, sleep, start }) => {
      const first = await start();
      const log = await first.log();
      await appendAll(log, batches(1));
      // Journalled behind the checkpoint that ends that: it stands before what is not journalled.
      const late = Promise.withResolvers<unknown>();
      disk.onStep = (_, what) => {
        if (!what.startsWith("open recovery-points.tmp")) return;
        disk.onStep = () => {};
        late.resolve(appendAll(log, batches(1)));
      };
      log.updateConfig({ ...log.config, flushPolicy: "none" });
      await late.promise;
      await sleep(100);
      await log.advanceLogStart(2);
      const appending = appendAll(log, batches(1));
      await sleep((seed % 5) / 20);
      await Promise.all([log.runRetention(), appending]);
      assert.equal(log.segmentCount, 1, `seed ${seed}`);
      await appendAll(await first.log(1), batches(1));
    });
  }
});

test("retention that drops what an append fsyncs stops nothing", async () => {
  const log = { segmentBytes: 800, flushPolicy: "none" as const };
  for (let seed = 1; seed <= 25; seed += 1) {
    // No other file stays open: the segment is opened for its fsync.
    await simulate({ seed, log, manager: { openFilesMax: 1 } }, async ({ sleep, start }) => {
      const first = await start();
      const log = await first.log();
      const other = await first.log(1);
      await appendAll(log, batches(2));
      await appendAll(other, batches(1));
      await log.advanceLogStart(2);
      await sleep(10);
      log.updateConfig({ ...log.config, flushPolicy: "commit" });
      const appending = appendAll(log, batches(1));
      await sleep((seed % 5) / 20);
      await Promise.all([log.runRetention(), appending]);
      await appendAll(other, batches(1));
    });
  }
});

test("a read that a truncation overtakes does not wait for bytes that were cut", async () => {
  const settings = { manager: { openFilesMax: 1 } };
  for (let seed = 1; seed <= 40; seed += 1) {
    await simulate({ seed, ...settings }, async ({ sleep, start }) => {
      const { log: logOf } = await start();
      const logs = [await logOf(0), await logOf(1)] as const;
      for (const log of logs) {
        await log.becomeLeader(1);
        await appendAll(log, batches(40));
        await log.flush();
      }
      const [log, other] = logs;
      const truncated = log.truncateTo(4);
      let reading = 0;
      for (let i = 0; i < 20; i += 1) {
        // Closes the file of the first: the read has to wait before it knows what it needs.
        await other.read(0, 1000, "log_end");
        reading += 1;
        void log.read(2, 20_000, "log_end").finally(() => {
          reading -= 1;
        });
        await sleep(0.1);
      }
      await truncated;
      await sleep(1000);
      assert.equal(reading, 0, `seed ${seed}`);
    });
  }
});
