import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Heap } from "./heap.ts";

test("values come out by key, by lesser key, and by themselves", () => {
  const entry = fc.tuple(fc.nat(50), fc.integer({ min: -3, max: 3 }), fc.nat(2));
  fc.assert(
    fc.property(fc.array(entry, { maxLength: 40 }), (entries) => {
      const heap = new Heap();
      for (const [value, key, lesser] of entries) heap.push(value, key, lesser);
      const sorted = entries.toSorted((a, b) => a[1] - b[1] || a[2] - b[2] || a[0] - b[0]);
      for (const [i, [value, key]] of sorted.entries()) {
        assert.deepEqual([heap.size, heap.first, heap.firstKey], [sorted.length - i, value, key]);
        assert.equal(heap.pop(), value);
      }
      assert.deepEqual([heap.size, heap.first, heap.pop()], [0, -1, -1]);
    }),
  );
});
