import assert from "node:assert/strict";
import { test } from "node:test";
import type { Compressor } from "@millrace/env";
import { LikelyBatchBytes, RecordReader } from "./record-reader.ts";
import { indexContext, ReadableLog } from "./testing.ts";

const setUp = (...batches: readonly (readonly string[])[]) => {
  const log = new ReadableLog();
  log.fill(...batches);
  log.highWatermark = log.logEndOffset;
  const likely = new LikelyBatchBytes();
  const { clock } = indexContext().context;
  const reader = () => new RecordReader(clock, {} as Compressor, log.asLog(), likely);
  const keyAt = async (offset: number): Promise<string | undefined> => {
    const record = await reader().at(offset);
    return record?.key && Buffer.from(record.key).toString();
  };
  return { keyAt, likely, log, reader };
};

test("a log is asked for as much as the batch before had, and the batch is the right one", async () => {
  const { keyAt, likely, log } = setUp(["a", "b"], ["c", "d", "e", "f"], ["g"]);
  assert.deepEqual([await keyAt(3), log.askedBytes], ["d", 1]);
  const { bytes } = likely;
  assert.ok(bytes > 33 + 4 * 8, `${bytes} bytes of a batch with its header`);
  // What is asked for has room for more than one of these.
  assert.deepEqual([await keyAt(6), log.askedBytes], ["g", bytes]);
  assert.ok(likely.bytes < bytes);
  likely.was(bytes);
  assert.deepEqual([await keyAt(0), log.askedBytes], ["a", bytes]);
});

test("after a very large batch, which is no rule, as little is asked for as at first", () => {
  const likely = new LikelyBatchBytes();
  assert.equal(likely.bytes, 1);
  likely.was(2 * 1024 * 1024);
  assert.equal(likely.bytes, 2 * 1024 * 1024);
  likely.was(2 * 1024 * 1024 + 1);
  assert.equal(likely.bytes, 1);
});

test("a record keeps nothing of its batch, which is read once for records in a row", async () => {
  const { log, reader } = setUp(Array.from({ length: 1_000 }, (_, i) => `k${i}`));
  const one = reader();
  for (const offset of [0, 998, 999]) {
    const record = await one.at(offset);
    assert.equal(Number(record?.offset), offset);
    for (const view of [record?.key, record?.value]) {
      assert.ok(view !== undefined && view.buffer.byteLength < 100);
    }
  }
  assert.equal(log.reads, 1);
  assert.equal(await one.at(1_000), undefined);
});
