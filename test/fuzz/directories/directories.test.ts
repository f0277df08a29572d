/**
 * Damaged data directories of a fixed seed. `npm run fuzz -- --target directories` goes on from
 * there.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Apart } from "@millrace/sim/node";
import { directorySummary } from "./campaign.ts";

const campaign = new Apart<typeof import("./fixed-seed.ts")>(
  new URL("fixed-seed.ts", import.meta.url),
);

test("damaged data directories are opened or refused in words, and twice in the same way", async (context) => {
  const { counts, findings } = await campaign.call("fuzzFixedSeed", 4, 1_500);
  context.diagnostic(directorySummary(counts));
  assert.deepEqual(findings, []);
  assert.ok(counts.opened > 1_000 && counts.opened < counts.inputs);
});
