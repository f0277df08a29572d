import assert from "node:assert/strict";
import { test } from "node:test";
import { scenarioReport, wrongIn } from "./scenario-run.ts";

const totals = { sent: 3, acked: 3, lost: 0, duplicated: 0, disordered: 0, longestGapMs: 12.3 };

test("each partition with wrong figures is told, with what is wrong alone", () => {
  const wrong = [totals, { ...totals, lost: 2, disordered: 1 }, { ...totals, duplicated: 4 }];
  assert.deepEqual(
    wrongIn(wrong).map(({ text }) => text),
    ["partition 1: 2 lost, 1 disordered", "partition 2: 4 duplicated"],
  );
});

test("a report compares each phase with the one before the trouble", () => {
  const hundred = Array.from({ length: 100 }, (_, i) => i + 1);
  const phases = [
    { name: "before", latenciesMs: hundred },
    { name: "during", latenciesMs: hundred.map((ms) => 2 * ms) },
    { name: "after", latenciesMs: [] },
  ];
  const text = scenarioReport({ phases, totals: [totals], leaderChanges: 1, violations: [] });
  assert.match(text, /\n {2}before +100 +50\.0 +99\.0 +100\.0 +1\.00\n/);
  assert.match(text, /\n {2}during +100 +100\.0 +198\.0 +200\.0 +2\.00\n/);
  assert.match(text, /\n {2}after +0 +0\.0 +0\.0 +0\.0 +0\.00\n/);
  assert.match(text, /\n {2}0 +12 +3 +3 +0 +0 +0\n/);
});
