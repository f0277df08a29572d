/** A million inputs of a fixed seed. `npm run fuzz` goes on from there. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { fuzz, summary } from "./run.ts";
import { targets } from "./targets.ts";

test("a million damaged inputs are refused in words or read, and nothing breaks", async (context) => {
  const goOn = (inputs: number): boolean => inputs < 1_000_000;
  const { counts, findings } = await fuzz(await targets(), { seed: 4, goOn });
  context.diagnostic(summary(counts));
  assert.deepEqual(findings, []);
});
