import assert from "node:assert/strict";
import { test } from "node:test";
import { type Measured, pageOf } from "./page.ts";

const measured = (rate: number, failures: readonly string[] = []): Measured => ({
  ...{ machine: "2 × M", day: "2026-11-29", minutes: 9.6, rounds: 1, options: "--cluster" },
  ...{ verdict: "stopped cleanly", failures },
  results: [
    {
      ...{ id: "produce", title: "produce", seconds: 1 },
      claims: [{ metric: "recordsPerSecond", peer: "kafka", better: "more", must: 1 }],
      samples: { millrace: [{ recordsPerSecond: rate }], kafka: [{ recordsPerSecond: 100 }] },
    },
  ],
});

test("the page has the command, the machine, the table and the plot beside it", () => {
  const page = pageOf(measured(200), "cluster");
  assert.match(page, /^ {4}npm run bench -- --cluster$/m);
  assert.match(page, /^2 × M\.\n2026-11-29; 1 round\(s\), 10 minutes; median/m);
  assert.match(page, /\(cluster\/plot\.svg\)/);
  assert.match(page, /`--cluster --only produce` \| records\/s \| 200/);
  assert.doesNotMatch(page, /falls short|could not be measured/);
});

test("what is below its bound is named, and so is what failed", () => {
  const page = pageOf(measured(50, ["produce kafka: timed out\nat line 1"]), "cluster");
  assert.match(page, /## Where it falls short\n\n- produce: records\/s against kafka, 0\.50×\n/);
  assert.match(page, /## What could not be measured\n\n- produce kafka: timed out\n$/);
});
