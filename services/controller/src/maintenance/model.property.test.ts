/**
 * Random interleavings of two operators with stale views, deaths of brokers and controllers, and
 * changes of ISRs: whatever they believe, no acknowledged record is lost by what leases allow.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { MaintenanceWorld, type Step, steps } from "../testing/maintenance-world.ts";

const step: fc.Arbitrary<Step> = fc.record({
  what: fc.constantFrom(...steps),
  a: fc.nat(59),
  b: fc.nat(59),
});

test("whatever operators believe, no acknowledged record is lost by what leases allow", async (context) => {
  const totals: Record<string, number> = {};
  await fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 40, maxLength: 160, size: "max" }),
      async (all) => {
        const world = await MaintenanceWorld.start();
        for (const one of all) await world.take(one);
        await world.end();
        for (const [name, count] of Object.entries(world.counts)) {
          totals[name] = (totals[name] ?? 0) + count;
        }
      },
    ),
    // To shrink a run of 160 steps takes minutes; the seed is told.
    { numRuns: 100, endOnFailure: true },
  );
  context.diagnostic(JSON.stringify(totals));
  for (const what of ["volumes", "pods", "removals"]) assert.ok((totals[what] ?? 0) > 0, what);
});
