import assert from "node:assert/strict";
import { test } from "node:test";
import { SegmentIndex } from "./segment-index.ts";

test("the rows of a large segment are written at once", () => {
  const index = new SegmentIndex("d/0.log");
  const rows = 300_000;
  for (let i = 0; i <= rows; i += 1) index.append({ offset: i, position: i * 4096 }, i, 4096);
  const write = index.nextWrite(Number.MAX_SAFE_INTEGER, true, rows + 1);
  assert.equal(write?.rows.length, rows);
  index.writing();
  index.wrote(write, rows + 1);
  assert.equal(index.rows.length, rows);
  assert.equal(index.fresh.length, 0);
});
