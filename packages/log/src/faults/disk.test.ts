/**
 * What a disk does to the log: fsyncs that fail, no room, too few descriptors, files that cannot be
 * read.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode } from "@millrace/errors";
import type { PartitionLog } from "../api.ts";
import { appendAll, batchOf, readAll } from "../testing.ts";
import { simulate } from "../testing-sim.ts";

const batches = (count: number, bytes = 300) =>
  Array.from({ length: count }, (_, i) => batchOf([{ value: `v${i}`.padEnd(bytes, ".") }]));

const failure = (work: Promise<unknown>): Promise<unknown> =>
  work.then(
    () => undefined,
    (thrown: unknown) => thrown,
  );

for (const code of ["ENOSPC", "EIO", "EDQUOT", "EINTR"]) {
  test(`an fsync that failed with ${code} has not happened: nothing is claimed after it`, async () => {
    for (let seed = 1; seed <= 10; seed += 1) {
      await simulate({ seed }, async ({ disk, start }) => {
        const first = await start();
        const log = await first.log();
        await log.becomeLeader(1);
        await log.flush();
        await appendAll(log, batches(20));
        let failed = 0;
        disk.fault = (operation, path) => {
          if (operation !== "sync" || !path.endsWith(".log") || failed > 0) return undefined;
          failed += 1;
          return code;
        };
        assert.ok(hasCode(await failure(log.flush()), ErrorCode.STORAGE_ERROR));
        disk.fault = () => undefined;
        assert.equal(log.state.kind, "stopped");
        assert.ok(hasCode(await failure(log.flush()), ErrorCode.STORAGE_ERROR), "tried again");
        first.die("power");
        const again = await (await start()).log();
        assert.deepEqual([again.state.kind, again.logEndOffset], ["online", 20]);
      });
    }
  });
}

test("a restart after a failed fsync writes the bytes again, before it says that they are safe", async () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    await simulate({ seed, log: { segmentBytes: 2000 } }, async ({ disk, start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      await log.flush();
      await appendAll(log, batches(20));
      disk.fault = (operation, path) =>
        operation === "sync" && path.endsWith(".log") ? "EIO" : undefined;
      await failure(log.flush());
      disk.fault = () => undefined;
      first.die("process");
      const second = await start();
      second.die("power");
      const again = await (await start()).log();
      assert.deepEqual([again.state.kind, again.logEndOffset], ["online", 20], `seed ${seed}`);
      const read = await readAll(again, 0, 1000, "log_end");
      assert.equal(read.length, 20, `seed ${seed}`);
    });
  }
});

test("a checkpoint without room forgets nothing that it had captured", async () => {
  await simulate({ seed: 3 }, async ({ disk, start }) => {
    const first = await start();
    const logs: PartitionLog[] = [];
    for (let i = 0; i < 12; i += 1) logs.push(await first.log(i));
    for (const log of logs) await log.becomeLeader(1);
    await logs[0]?.flush();
    for (const log of logs) {
      await log.becomeLeader(7);
      await appendAll(log, [batchOf([{ value: "x" }])], 7);
    }
    let left = 3;
    disk.fault = (operation, path) => {
      if (operation !== "write" || !path.endsWith("leader-epochs.tmp") || left === 0) return;
      left -= 1;
      return "ENOSPC";
    };
    while (left > 0) {
      const thrown = await failure(logs[0]?.flush() ?? Promise.resolve());
      assert.ok(thrown === undefined || hasCode(thrown, ErrorCode.DISK_FULL), String(thrown));
    }
    await logs[0]?.flush();
    first.die("power");
    const second = await start();
    for (const [i] of logs.entries()) {
      const log = await second.log(i);
      assert.deepEqual([log.leaderEpoch, log.epochOfOffset(0)], [7, 7], `partition ${i}`);
      await assert.rejects(log.becomeLeader(2), (e) => hasCode(e, ErrorCode.FENCED_LEADER_EPOCH));
    }
  });
});

test("a checkpoint that failed has no worker left when the next one runs", async () => {
  for (let seed = 1; seed <= 60; seed += 1) {
    await simulate({ seed }, async ({ disk, sleep, start }) => {
      const first = await start();
      const logs: PartitionLog[] = [];
      for (let i = 0; i < 8; i += 1) logs.push(await first.log(i));
      for (const [producerId, log] of logs.entries()) {
        await log.becomeLeader(1);
        const producer = { producerId, producerEpoch: 0, baseSequence: 0 };
        await appendAll(log, [batchOf([{ value: "x" }], producer)]);
      }
      let failed = false;
      disk.fault = (operation, path) => {
        if (failed || operation !== "write" || !/partitions.*\.tmp$/.test(path)) return undefined;
        failed = true;
        return "ENOSPC";
      };
      await failure(logs[0]?.flush() ?? Promise.resolve());
      assert.ok(failed, "nothing failed");
      const late: string[] = [];
      disk.fault = (operation, path) => {
        late.push(`${operation} ${path}`);
        return undefined;
      };
      await sleep(100);
      assert.deepEqual(late, [], `seed ${seed}: work goes on`);
      await logs[0]?.flush();
      for (const log of logs) assert.equal(log.state.kind, "online", `seed ${seed}`);
    });
  }
});

test("a shortage of descriptors or memory is waited out, and says nothing about the disk", async () => {
  for (const code of ["EMFILE", "ENFILE", "EINTR", "EAGAIN", "ENOMEM"]) {
    for (const operation of ["open", "write", "read"]) {
      await simulate({ seed: 4, log: { segmentBytes: 1000 } }, async ({ disk, start }) => {
        const first = await start();
        const log = await first.log();
        await log.becomeLeader(1);
        let left = 4;
        disk.fault = (what) => {
          if (what !== operation || left === 0) return undefined;
          left -= 1;
          return code;
        };
        await appendAll(log, batches(20));
        await log.flush();
        assert.equal((await readAll(log, 0)).length, 20);
        assert.equal(log.state.kind, "online", `${code} from ${operation}`);
        await first.manager.close(true);
      });
    }
  }
});

test("a read of what waits for room on the disk ends, and may be repeated", async () => {
  await simulate({ seed: 5 }, async ({ disk, sleep, start }) => {
    const log = await (await start()).log();
    await log.becomeLeader(1);
    await appendAll(log, batches(1));
    await log.flush();
    disk.quotaBytes = disk.usedBytes;
    await appendAll(log, batches(1));
    await sleep(50);
    const thrown = await failure(log.read(1, 1000, "high_watermark"));
    assert.ok(hasCode(thrown, ErrorCode.DISK_FULL), String(thrown));
    disk.quotaBytes = Number.POSITIVE_INFINITY;
    await sleep(1000);
    assert.equal((await readAll(log, 1)).length, 1);
  });
});

test("a clean stop on a full disk ends, and the next start has everything", async () => {
  await simulate({ seed: 5 }, async ({ disk, start }) => {
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    await appendAll(log, batches(1));
    disk.quotaBytes = disk.usedBytes;
    await appendAll(log, batches(5));
    await first.manager.close(true);
    first.die("power");
    disk.quotaBytes = Number.POSITIVE_INFINITY;
    const again = await (await start()).log();
    assert.deepEqual([again.state.kind, again.logEndOffset], ["online", 6]);
  });
});

test("one partition's unreadable file is its own trouble: the others open, and go on", async () => {
  for (const name of ["meta", "leader-epochs", ".index", ".timeindex", ".log"]) {
    for (const clean of [true, false]) {
      await simulate({ seed: 5, log: { segmentBytes: 4096 } }, async ({ disk, start }) => {
        const first = await start();
        for (let i = 0; i < 3; i += 1) {
          const log = await first.log(i);
          await log.becomeLeader(1);
          await appendAll(log, batches(30));
          await log.flush();
          await appendAll(log, batches(3));
        }
        if (clean) await first.manager.close(true);
        first.die("process");
        disk.fault = (operation, path) =>
          operation === "read" && path.includes("-00001/") && path.endsWith(name)
            ? "EIO"
            : undefined;
        const second = await start();
        for (const i of [0, 2]) {
          const log = await second.log(i);
          assert.equal(log.state.kind, "online", `${name}, partition ${i}`);
          await appendAll(log, batches(1));
          await log.flush();
          assert.equal(log.logEndOffset, 34);
        }
        second.die("process");
      });
    }
  }
});

test("one segment that recovery cannot read takes one partition offline, not the directory", async () => {
  for (const flushPolicy of ["commit", "none"] as const) {
    await simulate({ log: { flushPolicy } }, async ({ disk, sleep, start }) => {
      const first = await start();
      const before = [await first.log(0), await first.log(1), await first.log(2)];
      for (const log of before) await log.becomeLeader(1);
      await before[0]?.flush();
      for (const log of before) await appendAll(log, batches(3));
      // Behind the recovery point, and in the page cache: recovery looks for it there.
      await sleep(20);
      first.die("process");
      disk.fault = (operation, path) =>
        operation === "read" && /-00001\/.*\.log$/.test(path) ? "EIO" : undefined;
      const second = await start();
      const after = [await second.log(0), await second.log(1), await second.log(2)];
      const states = after.map(({ state }) => state.kind);
      assert.deepEqual(states, ["online", "offline", "online"], flushPolicy);
      for (const log of [after[0], after[2]]) assert.equal(log?.logEndOffset, 3, flushPolicy);
    });
  }
});

// A start gives partitions no order: each of them is the one that retention looks after first.
for (const troubled of [0, 1, 2]) {
  test(`retention goes on behind a partition that it cannot look after: ${troubled}`, async () => {
    const settings = {
      log: { segmentBytes: 1024, fileDeleteDelayMs: 1 },
      manager: { retentionCheckIntervalMs: 100 },
    };
    await simulate(settings, async ({ disk, sleep, start }) => {
      const first = await start();
      for (let i = 0; i < 3; i += 1) {
        const log = await first.log(i);
        await log.becomeLeader(1);
        await appendAll(log, batches(30));
      }
      await first.manager.close(true);
      first.die("process");
      const second = await start();
      const logs = [await second.log(0), await second.log(1), await second.log(2)];
      disk.fault = (operation, path) =>
        operation === "read" && path.includes(`-0000${troubled}/`) ? "EIO" : undefined;
      for (const log of logs) log.updateConfig({ ...log.config, retentionMs: 1000 });
      await sleep(1000);
      const left = logs.map(({ segmentCount }) => segmentCount);
      assert.deepEqual(left, [1, 1, 1].with(troubled, 15));
      second.die("process");
    });
  });
}

test("a stop ends while a truncation waits for room; the next start has the cut", async () => {
  await simulate({}, async ({ disk, kernel, start }) => {
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    await appendAll(log, batches(20));
    await log.flush();
    disk.fault = (operation) => (operation === "truncate" ? "ENOSPC" : undefined);
    const cut = failure(log.truncateTo(4));
    const before = kernel.nowMs;
    await first.manager.close(true);
    assert.ok(kernel.nowMs - before < 10_000);
    assert.match(String(await cut), /being closed/);
    disk.fault = () => undefined;
    first.die("power");
    const again = await (await start()).log();
    assert.deepEqual([again.state.kind, again.logEndOffset], ["online", 4]);
  });
});

for (const code of ["ENOSPC", "EDQUOT", "EMFILE"]) {
  test(`a directory starts without its reserve file: ${code}`, async () => {
    await simulate({ manager: { diskReserveBytes: 1000 } }, async ({ disk, sleep, start }) => {
      disk.fault = (operation, path) =>
        path === "reserve" && (operation === "open" || operation === "write") ? code : undefined;
      const log = await (await start()).log();
      await appendAll(log, batches(1));
      disk.fault = () => undefined;
      await sleep(2000);
      assert.equal(disk.content("reserve")?.length, 1000);
    });
  });
}
