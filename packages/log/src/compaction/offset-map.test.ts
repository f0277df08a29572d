import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { KeyHash } from "./key-hash.ts";
import { mapBytesMin, OffsetMap } from "./offset-map.ts";

const hash = new KeyHash(new Uint8Array(16));
const take = (key: string): KeyHash => {
  const bytes = Buffer.from(key);
  hash.take(bytes, 0, bytes.length);
  return hash;
};

test("the last offset of every key, as a map has it", () => {
  const puts = fc.array(fc.tuple(fc.nat(3000), fc.nat(2 ** 40)), { maxLength: 9000, size: "max" });
  fc.assert(
    fc.property(puts, (all) => {
      const map = new OffsetMap(4 * 1024 * 1024);
      const model = new Map<number, number>();
      for (const [key, offset] of all) {
        assert.equal(map.put(take(`k${key}`), offset), model.get(key) ?? -1);
        model.set(key, offset);
      }
      assert.equal(map.size, model.size);
      for (let key = 0; key <= 3000; key += 1) {
        assert.equal(map.get(take(`k${key}`)), model.get(key) ?? -1);
      }
    }),
    { numRuns: 20 },
  );
});

test("it takes no more than its bound, says when it is full, and still knows what it has", () => {
  const bytesMax = 4_000_000;
  const map = new OffsetMap(bytesMax);
  let keys = 0;
  while (map.put(take(`k${keys}`), keys) !== undefined) keys += 1;
  assert.equal(map.size, keys);
  assert.ok(map.bytes <= bytesMax, `${map.bytes}`);
  assert.ok(keys * 24 > bytesMax * 0.7, `${keys} keys in ${bytesMax} bytes`);
  assert.equal(map.get(take(`k${keys}`)), -1);
  for (let key = 0; key < keys; key += 1) assert.equal(map.get(take(`k${key}`)), key);
  // A key that it has is not one more.
  assert.equal(map.put(take("k0"), 7), 0);
  assert.equal(map.get(take("k0")), 7);
});

test("an empty map takes little", () => {
  assert.equal(new OffsetMap(128 * 1024 * 1024).bytes, mapBytesMin);
});
