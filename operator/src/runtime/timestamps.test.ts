import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { microTimestamp, timestamp } from "./timestamps.ts";

test("times are those of the calendar", () => {
  const days = fc.integer({ min: 0, max: 253_402_300_799_999 });
  fc.assert(
    fc.property(days, (wallMs) => {
      const iso = new Date(wallMs).toISOString();
      assert.equal(microTimestamp(wallMs), iso.replace("Z", "000Z"));
      assert.equal(timestamp(wallMs), iso.replace(/\.\d+Z/, "Z"));
    }),
  );
});

test("leap days and ends of years", () => {
  for (const day of ["2000-02-29", "2024-02-29", "2024-12-31", "2100-02-28", "2100-03-01"]) {
    assert.equal(timestamp(Date.parse(`${day}T23:59:59Z`)), `${day}T23:59:59Z`);
  }
});
