import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { type FetchedRecord, FetchedRecordSchema } from "@millrace/proto/broker";
import fc from "fast-check";
import { RecordCache } from "./record-cache.ts";

/** One record for each owner and offset, as in a log. */
const recordOf = (owner: number, offset: number): FetchedRecord =>
  create(FetchedRecordSchema, {
    ...{ offset: BigInt(offset), timestampMs: BigInt(owner), leaderEpoch: owner },
    key: new Uint8Array([owner, offset & 255]),
    value: new Uint8Array((offset * 7) % 40).fill(offset + owner),
    headers: offset % 3 === 0 ? [{ name: "h", value: new Uint8Array([1]) }, { name: "null" }] : [],
  });

const place = { owner: fc.integer({ min: 1, max: 3 }), offset: fc.nat(60) };
const command = fc.oneof(
  fc.record({ kind: fc.constant("put" as const), ...place }),
  fc.record({ kind: fc.constant("get" as const), ...place }),
);

test("what it has is what was put there, and what was put last it has", () => {
  fc.assert(
    fc.property(fc.array(command, { maxLength: 200 }), (commands) => {
      const cache = new RecordCache(8_192);
      const known = new Set<string>();
      for (const { kind, offset, owner } of commands) {
        const record = recordOf(owner, offset);
        if (kind === "put") {
          cache.put(owner, offset, record);
          known.add(`${owner}-${offset}`);
        }
        const found = cache.get(owner, offset);
        if (kind === "put" || found !== undefined) assert.deepEqual(found, record);
        assert.ok(found === undefined || known.has(`${owner}-${offset}`));
      }
    }),
  );
});

test("the newest records take the place of the oldest", () => {
  const cache = new RecordCache(65_536);
  assert.equal(cache.get(1, 0), undefined);
  for (let offset = 0; offset < 10_000; offset += 1) cache.put(1, offset, recordOf(1, offset));
  assert.deepEqual(cache.get(1, 9_999), recordOf(1, 9_999));
  for (let offset = 0; offset < 5_000; offset += 1) assert.equal(cache.get(1, offset), undefined);
});

test("a record that is asked for again and again stays, while others come and go", () => {
  const cache = new RecordCache(65_536);
  cache.put(1, 1, recordOf(1, 1));
  cache.put(1, 2, recordOf(1, 2));
  for (let i = 0; i < 20_000; i += 1) {
    // In the other ones of the 256 slots.
    const offset = 256 * (i + 1) + 3 + (i % 200);
    cache.put(1, offset, recordOf(1, offset));
    if (i % 100 === 0) assert.deepEqual(cache.get(1, 1), recordOf(1, 1), `after ${i} others`);
  }
  assert.equal(cache.get(1, 2), undefined);
});

test("what was taken out is not written over, and a large record stays out", () => {
  const cache = new RecordCache(8_192);
  cache.put(1, 7, recordOf(1, 7));
  const found = cache.get(1, 7);
  for (let offset = 8; offset < 2_000; offset += 1) cache.put(1, offset, recordOf(1, offset));
  assert.deepEqual(found, recordOf(1, 7));
  const large = create(FetchedRecordSchema, { value: new Uint8Array(200) });
  cache.put(1, 5_000, large);
  assert.equal(cache.get(1, 5_000), undefined);
});

test("owners and offsets that share a slot are told apart", () => {
  const cache = new RecordCache(8_192);
  cache.put(1, 7, recordOf(1, 7));
  // Of 32 slots.
  assert.deepEqual([cache.get(33, 7), cache.get(1, 39)], [undefined, undefined]);
  assert.equal(cache.get(1, 0), undefined, "an empty slot is nobody's");
  cache.put(33, 7, recordOf(33, 7));
  assert.deepEqual([cache.get(1, 7), cache.get(33, 7)], [undefined, recordOf(33, 7)]);
});

test("nobody has an owner's name twice", () => {
  const cache = new RecordCache(8_192);
  assert.deepEqual([cache.newOwner(), cache.newOwner()], [1, 2]);
});
