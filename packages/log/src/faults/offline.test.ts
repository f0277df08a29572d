/** What the next start must know of a partition that is offline, when the disk hardly answers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode } from "@millrace/errors";
import { Incarnation } from "@millrace/sim";
import { offsetName } from "../files/paths.ts";
import { appendAll, batchOf, readAll, topicA } from "../testing.ts";
import { simulate } from "../testing-sim.ts";

test("a start that can neither read a partition nor note that leaves its journal alone", async () => {
  await simulate({}, async ({ disk, start }) => {
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    await appendAll(log, [batchOf([{ value: "x" }])]);
    first.die("power");
    disk.fault = (operation, path) =>
      operation === "open" && /-00000\/(meta|offline\.tmp)$/.test(path) ? "EIO" : undefined;
    await assert.rejects(start(), (thrown) => hasCode(thrown, ErrorCode.STORAGE_ERROR));
    disk.fault = () => undefined;
    const again = await (await start()).log();
    assert.deepEqual([again.state.kind, again.leaderEpoch], ["online", 1]);
    assert.equal((await readAll(again, 0, 1e6, "log_end")).length, 1);
  });
});

for (const [round, expected] of [
  [2, ["offline", "online"]],
  [4, ["offline", "online"]],
  // The first of the second partition's life.
  [5, ["offline", "offline"]],
] as const) {
  test(`damage in round ${round} of the journal concerns no partition made after it`, async () => {
    await simulate({}, async ({ disk, start }) => {
      const first = await start();
      const old = await first.log(0);
      await old.becomeLeader(1);
      for (let i = 0; i < 3; i += 1) await appendAll(old, [batchOf([{ value: `${i}` }])]);
      const made = await first.log(1);
      await made.becomeLeader(1);
      await appendAll(made, [batchOf([{ value: "x" }])]);
      first.die("power");
      assert.ok(disk.flipBit("journal/00000000.journal", (round - 1) * 4096 + 20, 1));
      const second = await start();
      const logs = [await second.log(0), await second.log(1)] as const;
      assert.deepEqual(
        logs.map(({ state }) => state.kind),
        expected,
      );
      if (logs[1].state.kind === "offline") return;
      assert.equal((await readAll(logs[1], 0, 1e6, "log_end")).length, 1);
    });
  });
}

test("the deletion of an earlier life does not end a partition whose meta file is damaged", async () => {
  await simulate({}, async ({ disk, sleep, start }) => {
    const first = await start();
    const other = await first.log(1);
    await first.log(0);
    // The recovery points know the deletion, and nothing of the next life.
    let checkpoint = Promise.resolve();
    disk.onStep = (_, what) => {
      if (!what.startsWith("rename partitions/")) return;
      disk.onStep = () => {};
      checkpoint = other.flush();
    };
    await first.manager.delete(topicA, 0);
    await checkpoint;
    const log = await first.log(0);
    await log.becomeLeader(1);
    await appendAll(log, [batchOf([{ value: "x" }])]);
    await sleep(20);
    first.die("power");
    assert.ok(disk.flipBit(`partitions/${topicA}-00000/meta`, 20, 1));
    for (let life = 0; life < 3; life += 1) {
      const next = await start();
      assert.equal((await next.log(0)).state.kind, "offline", `life ${life}`);
      await next.manager.close(true);
      next.die("process");
    }
  });
});

test("a deletion that neither the journal nor the directory keeps is no success", async () => {
  await simulate({}, async ({ disk, start }) => {
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    await appendAll(log, [batchOf([{ value: "x" }])]);
    disk.fault = (operation) => (/write|rename/.test(operation) ? "EIO" : undefined);
    for (let time = 0; time < 2; time += 1) {
      const thrown = await first.manager.delete(topicA, 0).catch((error: unknown) => error);
      assert.ok(hasCode(thrown, ErrorCode.STORAGE_ERROR), `time ${time}`);
    }
  });
});

test("damage of a life that was deleted is not noted in the directory of the next", async () => {
  await simulate({ log: { fileDeleteDelayMs: 0 } }, async ({ disk, kernel, sleep, start }) => {
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    await appendAll(log, [batchOf([{ value: "x".padEnd(1000, ".") }])]);
    await log.flush();
    assert.ok(disk.flipBit(`partitions/${topicA}-00000/${"0".repeat(20)}.log`, 500, 1));
    // The note waits for a descriptor.
    disk.fault = (operation, path) =>
      operation === "open" && path.endsWith("/offline.tmp") ? "EMFILE" : undefined;
    kernel.schedule(2000, () => {
      disk.fault = () => undefined;
    });
    await assert.rejects(readAll(log, 0, 1e6, "log_end"));
    await first.manager.delete(topicA, 0);
    await (await first.log()).becomeLeader(1);
    await sleep(5000);
    first.die("process");
    assert.equal((await (await start()).log()).state.kind, "online");
  });
});

test("a reason that only the recovery points keep outlives a meta file that cannot be read", async () => {
  await simulate({ manager: { writeLingerMs: 1000 } }, async ({ disk, start }) => {
    const first = await start();
    const log = await first.log();
    await appendAll(log, [batchOf([{ value: "x" }])]);
    await log.flush();
    // The journal has it, and nothing else.
    await appendAll(log, [batchOf([{ value: "y" }])]);
    first.die("process");
    for (const readable of [/-00000\/meta$/, /^$/, /-00000/]) {
      disk.fault = (operation, path) =>
        operation === "open" && path.includes("-00000/") && !readable.test(path)
          ? "EIO"
          : undefined;
      const life = await start();
      assert.equal(life.manager.get(topicA, 0)?.state.kind, "offline", String(readable));
      await life.manager.close(true);
      life.die("process");
    }
  });
});

for (const checkpointed of [false, true]) {
  const what = checkpointed ? "recovery points and journal" : "the journal";
  test(`a lost directory whose records ${what} had is remembered over later starts`, async () => {
    const settings = { manager: { writeLingerMs: 1000 } };
    await simulate(settings, async ({ disk, kernel, start }) => {
      const first = await start();
      const log = await first.log();
      if (checkpointed) await log.flush();
      await appendAll(log, [batchOf([{ value: "only in the journal" }])]);
      first.die("process");
      const names = disk.mount(new Incarnation(kernel));
      await names.rename(`partitions/${topicA}-00000`, "elsewhere");
      for (let life = 0; life < 3; life += 1) {
        const next = await start();
        assert.equal(next.manager.get(topicA, 0)?.state.kind, "offline", `life ${life}`);
        for (let i = 0; i < 4; i += 1)
          await appendAll(await next.log(1), [batchOf([{ value: "z" }])]);
        await next.manager.close(true);
        next.die("power");
      }
      const salvaged = disk.paths().filter((path) => path.includes("salvaged-"));
      assert.equal(salvaged.length, 1);
      assert.ok(disk.content(salvaged[0] ?? "")?.includes("only in the journal"));
      const last = await start();
      await last.manager.delete(topicA, 0);
      assert.equal((await last.log()).state.kind, "online");
      last.die("power");
      assert.equal((await (await start()).log()).state.kind, "online");
    });
  });
}

test("a reason that is kept without a recovery point is no recovery point", async () => {
  const settings = { log: { segmentBytes: 800, fileDeleteDelayMs: 0 } };
  await simulate(settings, async ({ disk, kernel, sleep, start }) => {
    const first = await start();
    const log = await first.log();
    const records = Array.from({ length: 8 }, (_, i) => ({ value: `${i}`.padEnd(300, ".") }));
    for (const record of records) await appendAll(log, [batchOf([record])]);
    await log.advanceLogStart(4);
    await sleep(50);
    const segment = `partitions/${topicA}-00000/${offsetName(4)}.log`;
    assert.ok(disk.flipBit(segment, 200, 1));
    disk.fault = (operation, path) =>
      operation === "open" && path.endsWith("/offline.tmp") ? "EIO" : undefined;
    await assert.rejects(log.read(4, 1000, "log_end"));
    await (await first.log(1)).flush();
    first.die("process");
    disk.fault = () => undefined;
    const second = await start();
    assert.equal((await second.log()).state.kind, "offline");
    await second.manager.close(true);
    second.die("process");
    // Somebody repairs it.
    assert.ok(disk.flipBit(segment, 200, 1));
    await disk.mount(new Incarnation(kernel)).unlink(`partitions/${topicA}-00000/offline`);
    const repaired = await (await start()).log();
    assert.deepEqual([repaired.state.kind, repaired.logEndOffset], ["online", 8]);
    assert.equal((await readAll(repaired, 4, 1e6, "log_end")).length, 4);
  });
});

for (const met of ["by a reader", "by the next start"]) {
  test(`a repaired partition keeps its log start when trouble was met ${met}`, async () => {
    const settings = { log: { segmentBytes: 800, fileDeleteDelayMs: 0 } };
    await simulate(settings, async ({ disk, kernel, sleep, start }) => {
      const first = await start();
      const log = await first.log();
      const batches = (count: number) =>
        Array.from({ length: count }, () => batchOf([{ value: "x".padEnd(300, ".") }]));
      await appendAll(log, batches(3));
      await log.flush();
      await appendAll(log, batches(5));
      await log.advanceLogStart(5);
      await sleep(50);
      const segment = `partitions/${topicA}-00000/${offsetName(6)}.log`;
      disk.fault = (operation, path) =>
        operation === "read" && path === segment ? "EIO" : undefined;
      if (met === "by a reader") {
        assert.ok(disk.flipBit(segment, 200, 1));
        disk.fault = () => undefined;
        await assert.rejects(log.read(6, 1000, "log_end"));
        assert.ok(disk.flipBit(segment, 200, 1));
        await (await first.log(1)).flush();
        await first.manager.close(true);
        first.die("power");
      } else {
        first.die("process");
        const second = await start();
        assert.equal((await second.log()).state.kind, "offline");
        await second.manager.close(true);
        second.die("process");
        disk.fault = () => undefined;
      }
      await disk.mount(new Incarnation(kernel)).unlink(`partitions/${topicA}-00000/offline`);
      const repaired = await (await start()).log();
      assert.deepEqual(
        [repaired.state, repaired.logStartOffset, repaired.logEndOffset],
        [{ kind: "online" }, 5, 8],
      );
    });
  });
}

for (const order of ["before", "during"]) {
  test(`a repaired partition ends where a truncation ${order} a checkpoint left it`, async () => {
    await simulate({ log: { segmentBytes: 1200 } }, async ({ disk, kernel, start }) => {
      const first = await start();
      const log = await first.log();
      const batches = (count: number, mark: string) =>
        Array.from({ length: count }, () => batchOf([{ value: mark.padEnd(300, ".") }]));
      await appendAll(log, batches(8, "old"));
      await log.flush();
      let truncating = order === "before" ? log.truncateTo(4) : undefined;
      disk.onStep = (_, what) => {
        if (what.startsWith("open recovery-points.tmp")) truncating ??= log.truncateTo(4);
      };
      if (truncating === undefined) await log.flush();
      await truncating;
      await appendAll(log, batches(2, "new"), 2);
      const segment = `partitions/${topicA}-00000/${offsetName(0)}.log`;
      assert.ok(disk.flipBit(segment, 200, 1));
      await assert.rejects(log.read(0, 1000, "log_end"));
      await (await first.log(1)).flush();
      await first.manager.close(true);
      first.die("power");
      // Somebody repairs it.
      assert.ok(disk.flipBit(segment, 200, 1));
      await disk.mount(new Incarnation(kernel)).unlink(`partitions/${topicA}-00000/offline`);
      const repaired = await (await start()).log();
      assert.deepEqual([repaired.state, repaired.logEndOffset], [{ kind: "online" }, 6]);
      const records = await readAll(repaired, 0, 1e6, "log_end");
      const marks = records.map(({ value }) => value.slice(0, 3)).join(" ");
      assert.equal(marks, "old old old old new new");
    });
  });
}

for (const [files, expected] of [
  [/^recovery-points$/, 2],
  [/^recovery-points(\.copy)?$/, undefined],
] as const) {
  const then = expected === undefined ? "ends a start" : "is made up for by its copy";
  test(`recovery points that cannot be read: ${files.source} ${then}, and nothing is forgotten`, async () => {
    await simulate({}, async ({ die, disk, start }) => {
      const first = await start();
      const log = await first.log();
      await log.becomeLeader(1);
      await appendAll(log, [batchOf([{ value: "x" }]), batchOf([{ value: "y" }, { value: "z" }])]);
      log.updateHighWatermark(3);
      await log.advanceLogStart(2);
      await first.manager.close(true);
      first.die("process");
      disk.fault = (operation, path) =>
        operation === "open" && files.test(path) ? "EIO" : undefined;
      const begun = await start().catch((thrown: unknown) => thrown);
      if (expected === undefined) assert.ok(hasCode(begun, ErrorCode.STORAGE_ERROR));
      disk.fault = () => undefined;
      die("power");
      assert.equal((await (await start()).log()).logStartOffset, 2);
    });
  });
}
