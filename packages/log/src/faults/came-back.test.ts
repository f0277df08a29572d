/** Deleted segments whose names a power cut brings back, without what was in them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Incarnation, type Kernel, type SimDisk } from "@millrace/sim";
import { offsetName, partitionDirectory } from "../files/paths.ts";
import { appendAll, batchOf, readAll, topicA } from "../testing.ts";
import { simulate } from "../testing-sim.ts";

const directory = partitionDirectory(topicA, 0);

const batches = (count: number) =>
  Array.from({ length: count }, (_, i) => batchOf([{ value: `v${i}`.padEnd(300, ".") }]));

/** What a power cut leaves of a file that was not fsynced: its size. */
const zeroed = async (disk: SimDisk, kernel: Kernel, path: string): Promise<void> => {
  const file = await disk.mount(new Incarnation(kernel)).open(path, "write");
  await file.write([Buffer.alloc(await file.size())], 0);
};

const noRenames = (operation: string, path: string): string | undefined =>
  operation === "rename" && path.endsWith(".log") ? "EAGAIN" : undefined;

test("nothing is written behind a deleted segment that came back without its bytes", async () => {
  const settings = { log: { segmentBytes: 2500, retentionMs: 1000, fileDeleteDelayMs: 1e6 } };
  await simulate(settings, async ({ disk, kernel, sleep, start }) => {
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    await appendAll(log, batches(4));
    log.updateHighWatermark(4);
    await log.flush();
    await sleep(10_000);
    disk.fault = noRenames;
    // It says first what it will delete.
    await log.runRetention();
    await log.runRetention();
    assert.equal(log.logStartOffset, 4);
    first.die("process");
    disk.fault = () => undefined;
    await zeroed(disk, kernel, `${directory}/${offsetName(0)}.log`);
    const second = await start();
    const again = await second.log();
    assert.deepEqual([again.logStartOffset, again.logEndOffset], [4, 4]);
    await again.becomeLeader(2);
    await appendAll(again, batches(1), 2);
    again.updateHighWatermark(5);
    assert.equal((await again.maxTimestamp())?.offset, 4);
    await again.flush();
    assert.deepEqual([again.state.kind, again.logStartOffset], ["online", 4]);
    assert.equal((await readAll(again, 4)).length, 1);
  });
});

test("what comes behind rot below the log start is not cut off", async () => {
  const settings = { log: { flushPolicy: "none", fileDeleteDelayMs: 1e6 } } as const;
  await simulate(settings, async ({ disk, kernel, sleep, start }) => {
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    await appendAll(log, batches(1));
    log.updateHighWatermark(1);
    await log.flush();
    await log.advanceLogStart(1);
    await appendAll(log, batches(2));
    await sleep(100);
    first.die("process");
    const path = `${directory}/${offsetName(0)}.log`;
    assert.ok(disk.flipBit(path, 100, 1));
    const before = await disk.mount(new Incarnation(kernel)).fileSize(path);
    const again = await (await start()).log();
    assert.deepEqual([again.logStartOffset, again.logEndOffset], [1, 3]);
    assert.equal(await disk.mount(new Incarnation(kernel)).fileSize(path), before);
  });
});

test("a truncation in a deleted segment that came back without its bytes is damage of nothing", async () => {
  const settings = { log: { segmentBytes: 1000, fileDeleteDelayMs: 1e6 } };
  await simulate(settings, async ({ disk, kernel, sleep, start }) => {
    const first = await start();
    const log = await first.log();
    await log.becomeLeader(1);
    await appendAll(log, batches(2));
    await log.flush();
    await log.truncateTo(1);
    await appendAll(log, batches(5));
    log.updateHighWatermark(6);
    await sleep(100);
    disk.fault = noRenames;
    await log.advanceLogStart(4);
    first.die("process");
    disk.fault = () => undefined;
    await zeroed(disk, kernel, `${directory}/${offsetName(0)}.log`);
    const again = await (await start()).log();
    assert.deepEqual(
      [again.state.kind, again.logStartOffset, again.logEndOffset],
      ["online", 4, 6],
    );
    assert.equal((await readAll(again, 4, 1e6, "log_end")).length, 2);
  });
});
