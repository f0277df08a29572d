import assert from "node:assert/strict";
import { test } from "node:test";
import type { ScannedBatch } from "../segment/batch-scanner.ts";
import { KeyHash } from "./key-hash.ts";
import { OffsetMap } from "./offset-map.ts";
import { fateOf } from "./rules.ts";
import { Superseded } from "./superseded.ts";

const bytesMax = 1024 * 1024;

/** Offsets 100 to 105 were looked at; 100 to 102 go. */
const keys = () => {
  const superseded = new Superseded(bytesMax);
  for (let offset = 100; offset <= 105; offset += 1) superseded.look(offset);
  for (let offset = 100; offset <= 102; offset += 1) superseded.add(offset);
  const [map, hash] = [new OffsetMap(bytesMax), new KeyHash(new Uint8Array(16))];
  return { map, hash, superseded, fromOffset: 100, endOffset: 106 };
};

const batch = (baseOffset: number, lastOffset: number, recordCount: number): ScannedBatch =>
  ({ header: { baseOffset }, info: { recordCount }, lastOffset }) as ScannedBatch;

test("what is known of whole batches", () => {
  assert.equal(fateOf(keys(), batch(100, 102, 3), false), "none");
  assert.equal(fateOf(keys(), batch(100, 102, 3), true), "none");
  assert.equal(fateOf(keys(), batch(103, 105, 3), false), "all");
  // Some of them may be tombstones.
  assert.equal(fateOf(keys(), batch(103, 105, 3), true), undefined);
  assert.equal(fateOf(keys(), batch(101, 104, 4), false), undefined);
  assert.equal(fateOf(keys(), batch(99, 102, 4), false), undefined);
  // Of offsets without a record nothing is known.
  assert.equal(fateOf(keys(), batch(100, 105, 3), false), undefined);
  assert.equal(fateOf(keys(), batch(100, 2 ** 31, 3), false), undefined);
});
