/** What was deleted below the log start may be gone in any order, and takes nothing with it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { must } from "@millrace/errors";
import { Incarnation } from "@millrace/sim";
import { appendAll, batchOf, readAll, topicA } from "../testing.ts";
import { simulate } from "../testing-sim.ts";

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
      const directory = `partitions/${topicA}-00000`;
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

test("the producers of deleted segments outlive a snapshot that was never written", async () => {
  const settings = { log: { segmentBytes: 800, fileDeleteDelayMs: 0 } };
  await simulate(settings, async ({ disk, kernel, sleep, start }) => {
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    const sent = Array.from({ length: 8 }, (_, i) =>
      batchOf([{ value: "x".padEnd(300, ".") }], {
        producerId: 7,
        producerEpoch: 0,
        baseSequence: i,
      }),
    );
    await appendAll(log, sent);
    await log.flush();
    first.die("power");
    const directory = `partitions/${topicA}-00000`;
    const names = disk.mount(new Incarnation(kernel));
    for (const name of await names.list(directory)) {
      const kept = name.endsWith(`producers.${"2".padStart(20, "0")}`);
      if (name.startsWith("producers.") && !kept) await names.unlink(`${directory}/${name}`);
    }
    const second = await start();
    const again = await second.log();
    again.updateHighWatermark(8);
    await again.advanceLogStart(6);
    await sleep(100);
    await again.truncateTo(6);
    const retry = again.append(must(sent[5], "batch"), 1, () => {});
    assert.deepEqual([retry.duplicate, retry.baseOffset], [true, 5]);
  });
});
