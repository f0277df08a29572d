/** The order of a partition's batches while they are refused, lost and sent again. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { BatchBuilder } from "@millrace/record";
import { Batch } from "./batch.ts";
import { PartitionQueue } from "./partition-queue.ts";

const topicId = new Uint8Array(16).fill(7);

/** A queue that has sent so many batches. */
const sending = (count: number): [PartitionQueue, Batch[]] => {
  const queue = new PartitionQueue("events", 0, { batchBytesMax: 100 });
  const batches = Array.from({ length: count }, (_, i) => new Batch(i, 0, new BatchBuilder(16)));
  for (const batch of batches) queue.sent(batch, topicId);
  return [queue, batches];
};

const refused = (batches: readonly Batch[]): boolean[] => batches.map((one) => one.refused);

test("a refusal counts for its batch and those behind it, not for those before", () => {
  const [queue, batches] = sending(3);
  const [, second] = batches;
  assert.ok(second !== undefined);
  queue.refusedFrom(second);
  assert.deepEqual(refused(batches), [false, true, true]);
  queue.refusedFrom(batches[2] ?? second);
  assert.deepEqual(refused(batches), [false, true, true]);
});

test("a batch that is sent again may be written, whatever was refused before", () => {
  const [queue, batches] = sending(2);
  const [first, second] = batches;
  assert.ok(first !== undefined && second !== undefined);
  queue.refusedFrom(first);
  for (const batch of [second, first]) {
    queue.answered(batch);
    queue.retries.push(batch);
  }
  queue.requeueRetries();
  assert.deepEqual([queue.batches, queue.retries, queue.orderEpoch], [[first, second], [], 2]);
  queue.sent(first, topicId);
  assert.deepEqual(refused(batches), [false, true]);
  assert.deepEqual([first.state, first.attempts, first.sentNumber], ["in_flight", 2, 2]);
});

test("nothing is sent again while a batch is in flight", () => {
  const [queue, batches] = sending(2);
  const [first, second] = batches;
  assert.ok(first !== undefined && second !== undefined);
  queue.answered(first);
  queue.retries.push(first);
  queue.requeueRetries();
  assert.deepEqual([queue.batches, queue.orderEpoch], [[], 1]);
  queue.answered(second);
  queue.requeueRetries();
  assert.deepEqual([queue.batches, queue.orderEpoch], [[first], 2]);
});
