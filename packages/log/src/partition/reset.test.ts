/** A follower's log begins anew, empty. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode } from "@millrace/errors";
import type { PartitionLog } from "../api.ts";
import { partitionDirectory } from "../files/paths.ts";
import { appendAll, batchOf, readAll, recordsOf, topicA } from "../testing.ts";
import { offsetsOf, oldLog, sent, tenBatches } from "../testing-reset.ts";
import { simulate } from "../testing-sim.ts";
import { producersPath } from "./producer-snapshots.ts";

const directory = partitionDirectory(topicA, 0);

/** What a leader whose log begins at `start` sends. */
const leaderBytes = async (leader: PartitionLog, start: number): Promise<Buffer> => {
  await leader.resetTo(start);
  await leader.becomeLeader(7);
  await appendAll(leader, [sent("new0", 0), sent("new1", 1)], 7);
  return Buffer.concat((await leader.read(start, 1e6, "log_end")).chunks);
};

const takeOver = (log: PartitionLog, bytes: Uint8Array): Promise<void> =>
  new Promise((resolve, reject) => {
    log.appendReplicated(bytes, 7, (error) => (error === undefined ? resolve() : reject(error)));
  });

const starts = {
  "below its start": 1,
  "where a segment begins": 8,
  "inside of a batch": 9,
  "at its end": 20,
  "behind its end": 1000,
  "at 0": 0,
};

for (const [where, start] of Object.entries(starts)) {
  test(`a log that begins anew ${where} is empty there, and follows a leader`, async () => {
    for (const end of ["clean", "process", "power"] as const) {
      await simulate({ log: { segmentBytes: 1000 } }, async ({ disk, start: begin }) => {
        const first = await begin();
        const log = await first.log();
        await oldLog(log);
        await log.resetTo(start);
        assert.deepEqual(offsetsOf(log), [start, start, start, start]);
        assert.deepEqual([log.leaderEpoch, log.segmentCount, log.sizeBytes], [0, 1, 0]);
        assert.equal(log.endOffsetForEpoch(3), undefined);
        const files = disk.paths().filter((path) => path.startsWith(directory));
        assert.deepEqual(files, [`${directory}/meta`]);
        const outOfRange = (thrown: unknown) => hasCode(thrown, ErrorCode.OFFSET_OUT_OF_RANGE);
        for (const offset of [start - 1, start + 1]) {
          await assert.rejects(log.read(offset, 1000, "log_end"), outOfRange);
        }
        assert.equal((await log.read(start, 1000, "log_end")).bytes, 0);
        const bytes = await leaderBytes(await first.log(1), start);
        await takeOver(log, bytes);
        if (end === "clean") await first.manager.close(true);
        first.die(end === "process" ? "process" : "power");
        const again = await (await begin()).log();
        assert.deepEqual([again.state.kind, ...offsetsOf(again)].slice(0, 2), ["online", start]);
        assert.deepEqual([again.logEndOffset, again.leaderEpoch], [start + 2, 7]);
        const values = (await readAll(again, start, 1e6, "log_end")).map(({ value }) => value);
        assert.deepEqual(
          values.map((value) => value.slice(0, 4)),
          ["new0", "new1"],
        );
        // The producer's old window is forgotten: its next sequence is that of the new log.
        const retry = again.append(sent("new1", 1), 7, () => {});
        assert.deepEqual([retry.duplicate, retry.baseOffset], [true, start + 1]);
      });
    }
  });
}

test("a log that began anew and stays empty is loaded without a scan after a clean stop", async () => {
  for (const crash of [false, true]) {
    await simulate({ log: { segmentBytes: 1000 } }, async ({ disk, start }) => {
      let life = await start();
      const log = await life.log();
      await oldLog(log);
      await log.resetTo(500);
      if (crash) {
        life.die("power");
        life = await start();
      }
      await life.manager.close(true);
      life.die("power");
      assert.ok(disk.paths().includes(`${directory}/leader-epochs`));
      const again = await start();
      assert.ok(again.manager.recovery.clean);
      assert.equal(again.manager.recovery.segmentBytesScanned, 0);
      const partition = await again.log();
      assert.deepEqual(offsetsOf(partition), [500, 500, 500, 500]);
      assert.deepEqual([partition.state.kind, partition.leaderEpoch], ["online", 0]);
    });
  }
});

test("what is no offset is refused, and nothing is done", async () => {
  await simulate({}, async ({ disk, start }) => {
    const log = await (await start()).log();
    await oldLog(log);
    const { steps } = disk;
    for (const offset of [-1, 0.5, Number.NaN, Number.MAX_SAFE_INTEGER + 1]) {
      const refused = (thrown: unknown) => hasCode(thrown, ErrorCode.INVALID_REQUEST);
      await assert.rejects(log.resetTo(offset), refused, String(offset));
    }
    assert.equal(disk.steps, steps);
    assert.deepEqual(offsetsOf(log), [2, 20, 20, 20]);
  });
});

test("appends before a reset count, and those beside it are refused", async () => {
  await simulate({}, async ({ start }) => {
    const log = await (await start()).log();
    await oldLog(log);
    const before = appendAll(log, [batchOf([{ value: "before" }])], 3);
    const resetting = log.resetTo(4);
    const busy = (thrown: unknown) => hasCode(thrown, ErrorCode.LEADER_NOT_AVAILABLE);
    assert.throws(() => log.append(batchOf([{ value: "beside" }]), 3, () => {}), busy);
    assert.throws(() => log.appendReplicated(new Uint8Array(0), 3, () => {}), busy);
    for (const change of [
      log.becomeLeader(9),
      log.advanceLogStart(5),
      log.truncateTo(5),
      log.resetTo(5),
    ]) {
      await assert.rejects(change, busy);
    }
    assert.equal(await log.runRetention(), 0);
    await before;
    await resetting;
    assert.deepEqual(offsetsOf(log), [4, 4, 4, 4]);
  });
});

test("changes that were asked for before a reset come before it, and those after it behind it", async () => {
  for (let seed = 1; seed <= 20; seed += 1) {
    await simulate({ seed, log: { segmentBytes: 1000 } }, async ({ start }) => {
      const first = await start();
      let log = await first.log();
      await oldLog(log);
      log.updateConfig({ ...log.config, retentionBytes: 1200 });
      await log.advanceLogStart(9);
      const changes = [log.advanceLogStart(11), log.runRetention(), log.becomeLeader(5)];
      const resetting = log.resetTo(4);
      await Promise.allSettled(changes);
      await resetting;
      assert.deepEqual([...offsetsOf(log), log.leaderEpoch], [4, 4, 4, 4, 0]);
      await appendAll(log, tenBatches("new"), 3);
      await log.advanceLogStart(6);
      assert.equal(log.logStartOffset, 6);
      first.die("power");
      log = await (await start()).log();
      assert.deepEqual([log.logStartOffset, log.logEndOffset], [6, 24], `seed ${seed}`);
    });
  }
});

for (const [start, seen] of [
  [0, "new"],
  [100, ErrorCode.OFFSET_OUT_OF_RANGE],
] as const) {
  test(`a read that waits for its disk while the log begins anew at ${start} ends with ${seen}`, async () => {
    await simulate({ log: { segmentBytes: 1000 } }, async ({ disk, sleep, start: begin }) => {
      const log = await (await begin()).log();
      await oldLog(log);
      await log.flush();
      const usualMs = disk.latencyMs;
      disk.latencyMs = 10_000;
      const reading = log.read(8, 300, "log_end").then(
        (result) => recordsOf(result, 8)[0]?.value.slice(0, 3),
        (thrown: { readonly code: ErrorCode }) => thrown.code,
      );
      const looking = log.offsetForTimestamp(1000).catch(() => undefined);
      await sleep(0);
      disk.latencyMs = usualMs;
      await log.resetTo(start);
      await appendAll(log, tenBatches("new"));
      await log.flush();
      assert.equal(await reading, seen);
      const found = await looking;
      assert.ok(found === undefined || found.offset >= start);
      assert.equal(log.state.kind, "online");
    });
  });
}

test("producers of the old log are unknown, and no snapshot of them is written", async () => {
  await simulate({ log: { segmentBytes: 500 } }, async ({ disk, start }) => {
    const log = await (await start()).log();
    // Each roll takes a snapshot that the next checkpoint writes.
    for (let i = 0; i < 8; i += 1) await appendAll(log, [sent("old", i)]);
    await log.resetTo(100);
    const [appended] = await appendAll(log, [sent("new", 5)]);
    assert.deepEqual([appended?.duplicate, appended?.baseOffset], [false, 100]);
    await log.flush();
    const snapshots = disk.paths().filter((path) => path.startsWith(`${directory}/producers.`));
    assert.deepEqual(snapshots, [producersPath(directory, 101)]);
  });
});

test("what retention announced of the old log lets nothing of the new one go", async () => {
  await simulate({ log: { retentionMs: 1000, segmentBytes: 400 } }, async ({ start }) => {
    const log = await (await start()).log();
    await appendAll(log, tenBatches("old"));
    assert.equal(await log.runRetention(), 0);
    await log.resetTo(4);
    await appendAll(log, tenBatches("new"));
    assert.equal(await log.runRetention(), 0);
    assert.equal(log.logStartOffset, 4);
    await log.runRetention();
    assert.equal(log.logStartOffset, 24);
  });
});

test("a deletion beside a reset works, and the next life begins at 0", async () => {
  for (let afterMs = 0; afterMs < 3; afterMs += 0.25) {
    await simulate({}, async ({ sleep, start }) => {
      const first = await start();
      await oldLog(await first.log());
      const resetting = (await first.log()).resetTo(50);
      await sleep(afterMs);
      await Promise.all([resetting, first.manager.delete(topicA, 0)]);
      assert.equal(first.manager.get(topicA, 0), undefined);
      assert.deepEqual(offsetsOf(await first.log()), [0, 0, 0, 0]);
      first.die("power");
      assert.deepEqual(offsetsOf(await (await start()).log()), [0, 0, 0, 0]);
    });
  }
});
