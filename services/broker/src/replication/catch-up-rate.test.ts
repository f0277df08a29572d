import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { CatchUpRate } from "./catch-up-rate.ts";

test("without a limit nothing waits", () => {
  const rate = new CatchUpRate(0);
  for (let i = 0; i < 10; i += 1) assert.equal(rate.reserve(1e9, 0), 0);
  rate.spent(1e9, 1e9);
  assert.equal(rate.reserve(1, 0), 0);
});

test("reads that come together wait for one another, and idle time is not saved up", () => {
  const rate = new CatchUpRate(1000);
  assert.deepEqual(
    [rate.reserve(500, 0), rate.reserve(500, 0), rate.reserve(500, 0)],
    [0, 500, 1000],
  );
  assert.equal(rate.reserve(500, 60_000), 0);
  assert.equal(rate.reserve(500, 60_000), 500);
});

test("what was announced and not read is given back", () => {
  const rate = new CatchUpRate(1000);
  rate.reserve(1000, 0);
  rate.spent(1000, 100);
  assert.equal(rate.reserve(1000, 50), 50);
});

test("over any time no more is read than the rate, and one read", () => {
  const reads = fc.array(
    fc.record({ bytes: fc.integer({ min: 0, max: 1500 }), gapMs: fc.nat(800) }),
    { minLength: 1, maxLength: 60 },
  );
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 5000 }), reads, (perSecond, all) => {
      const rate = new CatchUpRate(perSecond);
      let nowMs = 0;
      let sum = 0;
      for (const { bytes, gapMs } of all) {
        nowMs += gapMs;
        const atMs = nowMs + rate.reserve(1000, nowMs);
        // One after the other, as a leader reads for one replica.
        nowMs = atMs;
        assert.ok(sum <= (perSecond * atMs) / 1000 + 1e-6, `${sum} bytes by ${atMs} ms`);
        sum += bytes;
        rate.spent(1000, bytes);
      }
    }),
  );
});
