import assert from "node:assert/strict";
import { test } from "node:test";
import { type CaseResult, type Claim, rowsOf, type Sample } from "./report.ts";
import { tableOf } from "./table.ts";

const resultOf = (claims: readonly Claim[], samples: Record<string, Sample[]>): CaseResult => ({
  ...{ id: "case", title: "a case", claims, samples, seconds: 1 },
});

const rates = (...values: number[]): Sample[] =>
  values.map((recordsPerSecond) => ({ recordsPerSecond }));

test("medians are compared, and the spread is told", () => {
  const claim = { metric: "recordsPerSecond", peer: "kafka", better: "more" } as const;
  const samples = { millrace: rates(300, 100, 200), kafka: rates(50, 150, 100) };
  const [row] = rowsOf(resultOf([{ ...claim, must: 2, aim: 2.5 }], samples));
  assert.deepEqual(row?.ours, { min: 100, median: 200, max: 300 });
  assert.deepEqual([row?.ratio, row?.verdict], [2, "must"]);
  const [aim] = rowsOf(resultOf([{ ...claim, must: 1, aim: 2 }], samples));
  assert.equal(aim?.verdict, "aim");
  const [below] = rowsOf(resultOf([{ ...claim, must: 2.1 }], samples));
  assert.equal(below?.verdict, "below");
});

test("less is better where it says so, and without a peer the bound is absolute", () => {
  const claim = { metric: "recordsPerSecond", better: "less" } as const;
  const samples = { millrace: rates(200) };
  const verdicts = [200, 199].map((must) => rowsOf(resultOf([{ ...claim, must }], samples)));
  assert.deepEqual(
    verdicts.map(([row]) => row?.verdict),
    ["must", "below"],
  );
});

test("a line without a bound has no verdict, one without samples does not meet its bound", () => {
  const claim = { metric: "recordsPerSecond", better: "more" } as const;
  const [told] = rowsOf(resultOf([claim], { millrace: rates(1) }));
  assert.equal(told?.verdict, "");
  const [missing] = rowsOf(resultOf([{ ...claim, must: 0 }], {}));
  assert.equal(missing?.verdict, "below");
});

test("each case has the command that repeats it", () => {
  const claim = { metric: "recordsPerSecond", better: "more" } as const;
  const table = tableOf([resultOf([claim], { millrace: rates(12_345) })], "--cluster --only");
  const [, , line] = table.split("\n");
  assert.equal(
    line,
    "| **a case** `--cluster --only case` | records/s | 12 k (12 k–12 k) |  |  |  |  |  |  |",
  );
});

test("what was skipped says why", () => {
  const table = tableOf([{ ...resultOf([], {}), skipped: "no disk" }]);
  assert.match(table, /skipped: no disk/);
});
