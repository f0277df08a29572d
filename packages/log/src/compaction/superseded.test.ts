import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Superseded } from "./superseded.ts";

const kib = 1024;

/** Steps to the next record, and which of those so far goes with it. */
const steps = fc.array(
  fc.record({
    gap: fc.oneof({ weight: 8, arbitrary: fc.constant(1) }, fc.nat(200), fc.nat(300_000)),
    goes: fc.option(fc.nat(), { nil: undefined }),
  }),
  { maxLength: 400, size: "max" },
);

test("what goes is what was said to go, and nothing is known where there was no room", () =>
  fc.assert(
    fc.property(steps, fc.nat(40), (all, chunks) => {
      const bytesMax = chunks * 8 * kib;
      const superseded = new Superseded(bytesMax);
      const looked: number[] = [];
      const gone = new Set<number>();
      let offset = 0;
      for (const { gap, goes } of all) {
        offset += gap;
        superseded.look(offset);
        looked.push(offset);
        const one = goes === undefined ? undefined : looked[goes % looked.length];
        if (one === undefined) continue;
        superseded.add(one);
        gone.add(one);
      }
      assert.ok(superseded.bytes <= bytesMax);
      const known = looked.filter((one) => superseded.has(one) !== undefined);
      for (const one of known) assert.equal(superseded.has(one), gone.has(one));
      if (superseded.bytes + 8 * kib <= bytesMax) assert.deepEqual(known, looked);
      const [first = 0, last = 0] = [looked.at(-20), looked.at(-1)];
      const count = last - first > 10_000 ? undefined : superseded.countIn(first, last);
      if (count === undefined) return;
      assert.equal(count, [...gone].filter((one) => one >= first && one <= last).length);
    }),
    { numRuns: 200 },
  ));

test("a chunk that had no room once never has: its first records are not known", () => {
  const superseded = new Superseded(8 * kib);
  superseded.look(70_000);
  superseded.look(200_000);
  superseded.add(200_000);
  superseded.look(200_001);
  assert.deepEqual(
    [70_000, 200_000, 200_001].map((one) => superseded.has(one)),
    [false, undefined, undefined],
  );
  assert.equal(superseded.countIn(200_000, 200_001), undefined);
});
