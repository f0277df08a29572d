import assert from "node:assert/strict";
import { test } from "node:test";
import { bytesOf, sizeToAsk } from "./quantity.ts";

test("sizes are read in all units", () => {
  assert.equal(bytesOf("1Gi"), 2n ** 30n);
  assert.equal(bytesOf("5G"), 5_000_000_000n);
  assert.equal(bytesOf("1024"), 1024n);
  for (const text of ["", "Gi", "1.5Gi", "1e3"]) assert.equal(bytesOf(text), undefined, text);
});

test("a volume grows, and is never asked to shrink, nor asked the same in other words", () => {
  assert.equal(sizeToAsk("2Gi", undefined), "2Gi");
  assert.equal(sizeToAsk("2Gi", "1Gi"), "2Gi");
  assert.equal(sizeToAsk("1Gi", "2Gi"), "2Gi");
  assert.equal(sizeToAsk("1Ti", "1024Gi"), "1024Gi");
});
