import assert from "node:assert/strict";
import { test } from "node:test";
import { crcOf, encodeBody, encodeStoredPrefix } from "@millrace/record";
import { Cursor } from "./cursor.ts";

/** A stored batch of one record without content, appended in an epoch. */
const stored = (baseOffset: number, leaderEpoch: number): Buffer => {
  const info = {
    compression: "none",
    recordCount: 1,
    baseTimestampMs: 1,
    maxTimestampMs: 1,
  } as const;
  const body = encodeBody(info, Buffer.from([0x0a, 0]));
  const fields = { baseOffset, leaderEpoch, appendTimeMs: 1, bodyCrc: crcOf(body) };
  return Buffer.concat([encodeStoredPrefix(fields, body.length), body]);
};

const cursorWith = (...chunks: readonly Buffer[]): Cursor => {
  const end = Number.POSITIVE_INFINITY;
  const cursor = new Cursor("t", 0, { topicId: new Uint8Array(16), offset: 0, endOffset: end });
  for (const [i, chunk] of chunks.entries()) {
    cursor.receive({ batches: [chunk], nextOffset: 10 * (i + 1), highWatermark: 100 });
  }
  return cursor;
};

test("the last fetched epoch is that of the last batch of the last message", () => {
  const message = Buffer.concat([stored(0, 2), stored(1, 3), stored(2, 5)]);
  assert.equal(cursorWith().lastFetchedEpoch, undefined);
  assert.equal(cursorWith(message).lastFetchedEpoch, 5);
  assert.equal(cursorWith(message, stored(10, 6)).lastFetchedEpoch, 6);
});

test("of a damaged message no epoch is known", () => {
  const damaged = stored(1, 3);
  damaged[3] = (damaged[3] ?? 0) ^ 1;
  assert.equal(cursorWith(Buffer.concat([stored(0, 2), damaged])).lastFetchedEpoch, undefined);
});
