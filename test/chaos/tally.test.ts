import assert from "node:assert/strict";
import { test } from "node:test";
import { PartitionTally } from "./tally.ts";

/** A tally after some sends, acknowledgements of all of them, and reads. */
const after = (sends: number, ...reads: readonly number[]) => {
  const tally = new PartitionTally();
  for (let i = 0; i < sends; i += 1) tally.ack(tally.send(), i);
  for (const number of reads) tally.read(number);
  const { disordered, duplicated, lost } = tally.totals;
  return { lost, duplicated, disordered };
};

test("what is acknowledged and read once, in order, is right", () => {
  assert.deepEqual(after(3, 0, 1, 2), { lost: 0, duplicated: 0, disordered: 0 });
});

test("a value that is never read, twice, or behind a later one, is told", () => {
  assert.deepEqual(after(3, 0, 2), { lost: 1, duplicated: 0, disordered: 0 });
  assert.deepEqual(after(3, 0, 1, 1, 1, 2), { lost: 0, duplicated: 1, disordered: 0 });
  assert.deepEqual(after(3, 0, 2, 1), { lost: 0, duplicated: 0, disordered: 1 });
});

test("a value that nobody sent is told, and counts for nothing else", () => {
  assert.deepEqual(after(2, 0, 1, 2), { lost: 0, duplicated: 0, disordered: 1 });
  const tally = new PartitionTally();
  tally.read(0);
  tally.send();
  assert.deepEqual([tally.totals.lost, tally.totals.duplicated], [0, 0]);
});

test("a send without an acknowledgement is not lost", () => {
  const tally = new PartitionTally();
  tally.send();
  assert.deepEqual([tally.totals.sent, tally.totals.acked, tally.totals.lost], [1, 0, 0]);
});

test("the longest gap is between acknowledgements, and memory grows with the sends", () => {
  const tally = new PartitionTally();
  const times = [5, 7, 19, 20];
  for (const time of times) tally.ack(tally.send(), time);
  assert.equal(tally.totals.longestGapMs, 12);
  for (let i = 0; i < 5000; i += 1) tally.ack(tally.send(), 21);
  for (let i = 0; i < 5004; i += 1) tally.read(i);
  const { acked, disordered, duplicated, lost } = tally.totals;
  assert.deepEqual(
    { acked, disordered, duplicated, lost },
    {
      ...{ acked: 5004, disordered: 0, duplicated: 0, lost: 0 },
    },
  );
});
