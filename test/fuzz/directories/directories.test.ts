/**
 * Damaged data directories of a fixed seed. `npm run fuzz -- --target directories` goes on from
 * there.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { directorySummary, fuzzDirectories } from "./campaign.ts";

test("damaged data directories are opened or refused in words, and twice in the same way", async (context) => {
  const goOn = (inputs: number): boolean => inputs < 1_500;
  const { counts, findings } = await fuzzDirectories({ seed: 4, goOn });
  context.diagnostic(directorySummary(counts));
  assert.deepEqual(findings, []);
  assert.ok(counts.opened > 1_000 && counts.opened < counts.inputs);
});
