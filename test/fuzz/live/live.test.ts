/**
 * A live server under inputs of a fixed seed. `npm run fuzz -- --target live` goes on from there.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { methods } from "./calls.ts";
import { fuzzLive, liveSummary } from "./campaign.ts";

test("every method answers whatever it is sent, in time and in words", async (context) => {
  const { counts, findings } = await fuzzLive({ seed: 4, goOn: (inputs) => inputs < 20_000 });
  context.diagnostic(liveSummary(counts));
  assert.deepEqual(findings, []);
  assert.equal(counts.ends.size, new Set(methods.map(({ name }) => name)).size);
});
