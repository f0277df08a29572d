/** Compaction of real logs on a simulated disk. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { LogConfig, PartitionLog } from "../api.ts";
import { appendAll } from "../testing.ts";
import { allRecords, type KeyedRecord, keyedBatch, latestOf } from "../testing-keys.ts";
import { simulate } from "../testing-sim.ts";

const compacted: Partial<LogConfig> = {
  compactionEnabled: true,
  retentionEnabled: false,
  segmentBytes: 1024,
  indexIntervalBytes: 200,
};

/** Records `from` to `to`, over `keys` keys, a batch each. */
const fill = async (log: PartitionLog, from: number, to: number, keys = 5): Promise<void> => {
  const batches = [];
  for (let i = from; i < to; i += 1) {
    const record: KeyedRecord = { key: `k${i % keys}`, value: `v${i}`.padEnd(100, ".") };
    batches.push(await keyedBatch([record]));
  }
  await appendAll(log, batches);
};

test("a sealed segment is cleaned, swapped and read", () =>
  simulate({ log: compacted }, async ({ start }) => {
    const { manager, log: make } = await start();
    const log = await make();
    await fill(log, 0, 40);
    await log.flush();
    const before = await allRecords(log);
    const { logEndOffset, sizeBytes } = log;
    assert.equal(await log.runCompaction(), true);
    assert.equal(log.logEndOffset, logEndOffset);
    assert.ok(log.sizeBytes < sizeBytes / 2, `${log.sizeBytes} of ${sizeBytes}`);
    const after = await allRecords(log);
    assert.deepEqual(latestOf(after), latestOf(before));
    assert.ok(after.length < before.length / 2, `${after.length} records`);
    assert.equal(await log.runCompaction(), false);
    await manager.close(true);
    const again = await start();
    const reopened = await again.log();
    assert.deepEqual(await allRecords(reopened), after);
    assert.equal(again.manager.recovery.segmentBytesScanned, 0);
    await again.manager.close(true);
  }));
