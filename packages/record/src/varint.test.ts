import assert from "node:assert/strict";
import { test } from "node:test";
import { varintBytes, writeVarint } from "./varint.ts";

/** The minimal encoding, with big integers. */
const encoded = (value: number): number[] => {
  const bytes: number[] = [];
  let rest = BigInt(value);
  while (rest > 127n) {
    bytes.push(Number(rest & 127n) | 128);
    rest >>= 7n;
  }
  return [...bytes, Number(rest)];
};

test("sizes and bytes are those of the minimal encoding, at every edge", () => {
  const edges = Array.from({ length: 54 }, (_, bits) => 2 ** bits).flatMap((edge) => [
    edge - 1,
    edge,
    edge + 1,
  ]);
  for (const value of [...edges, 0x1234_5678_9abc, Number.MAX_SAFE_INTEGER]) {
    if (!Number.isSafeInteger(value)) continue;
    const want = encoded(value);
    const target = new Uint8Array(14).fill(0xee);
    assert.equal(varintBytes(value), want.length, String(value));
    assert.equal(writeVarint(target, 2, value), 2 + want.length, String(value));
    assert.deepEqual([...target.subarray(2, 2 + want.length)], want, String(value));
    assert.equal(target[1], 0xee);
    assert.equal(target[2 + want.length], 0xee);
  }
});
