import assert from "node:assert/strict";
import { test } from "node:test";
import { murmur2, partitionOfKey } from "./partitioner.ts";

test("murmur2 gives Kafka's values", () => {
  const vectors: readonly [string, number][] = [
    ["21", -973932308],
    ["foobar", -790332482],
    ["a-little-bit-long-string", -985981536],
    ["a-little-bit-longer-string", -1486304829],
    ["lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971],
    ["abc", 479470107],
    ["", 275646681],
    ["a", -1563381124],
    ["hello", 2132663229],
  ];
  for (const [key, hash] of vectors) assert.equal(murmur2(Buffer.from(key)), hash, key);
  assert.equal(murmur2(Buffer.from([0xff])), -311467685);
  assert.equal(murmur2(Buffer.from([0xff, 0xfe, 0xfd, 0xfc, 0xfb, 0xfa, 0xf9])), -166236347);
});

test("a key's partition is the positive hash modulo the partitions", () => {
  assert.equal(partitionOfKey(Buffer.from("21"), 10), (-973932308 & 0x7fffffff) % 10);
});
