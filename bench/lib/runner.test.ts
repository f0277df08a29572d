import assert from "node:assert/strict";
import { test } from "node:test";
import type { Case } from "../cases/case.ts";
import { Runner } from "./runner.ts";

/** A case that writes down what is called. */
const traced = (calls: string[], fields: Partial<Case<string>> = {}): Case<string> => {
  const contender = (name: string) => async (peers: string) => {
    calls.push(`${name} ${peers}`);
    return { recordsPerSecond: calls.length };
  };
  return {
    ...{ id: "case", title: "a case", claims: [] },
    contenders: { a: contender("a"), b: contender("b") },
    before: async () => void calls.push("before"),
    after: async () => void calls.push("after"),
    ...fields,
  };
};

test("rounds go through the contenders in turn", async () => {
  const calls: string[] = [];
  const runner = new Runner({ rounds: 2, partMs: 1000 });
  const { samples } = await runner.measure(traced(calls), "p");
  assert.deepEqual(calls, ["before", "a p", "b p", "a p", "b p", "after"]);
  assert.deepEqual(samples["b"], [{ recordsPerSecond: 3 }, { recordsPerSecond: 5 }]);
  assert.deepEqual(runner.failures, []);
});

test("a case may have rounds of its own", async () => {
  const calls: string[] = [];
  await new Runner({ rounds: 3, partMs: 1000 }).measure(traced(calls, { rounds: 1 }), "p");
  assert.deepEqual(calls, ["before", "a p", "b p", "after"]);
});

test("a failure is told, and the rest is measured", async () => {
  const calls: string[] = [];
  const { contenders } = traced(calls);
  const a = async () => Promise.reject(new Error("no leader"));
  const runner = new Runner({ rounds: 2, partMs: 1000 });
  const { samples } = await runner.measure(
    traced(calls, { contenders: { ...contenders, a } }),
    "p",
  );
  assert.deepEqual(calls, ["before", "b p", "b p", "after"]);
  assert.deepEqual(runner.failures, ["case a: no leader", "case a: no leader"]);
  assert.equal(samples["a"], undefined);
});

test("without its preparation nothing of a case is measured, and it is cleaned up", async () => {
  const calls: string[] = [];
  const before = async () => Promise.reject(new Error("no room"));
  const runner = new Runner({ rounds: 2, partMs: 1000 });
  await runner.measure(traced(calls, { before }), "p");
  assert.deepEqual(calls, ["after"]);
  assert.deepEqual(runner.failures, ["case before: no room"]);
});

test("what hangs is given up", async () => {
  const calls: string[] = [];
  const hangs = () => new Promise<never>(() => {});
  const runner = new Runner({ rounds: 1, partMs: 20 });
  await runner.measure(traced(calls, { contenders: { hangs } }), "p");
  assert.deepEqual(calls, ["before", "after"]);
  assert.deepEqual(runner.failures, ["case hangs: not over after 0.02 s"]);
});

test("an obstacle skips a case", async () => {
  const calls: string[] = [];
  const runner = new Runner({ rounds: 1, partMs: 1000 });
  const obstacle = () => "not root";
  const { skipped } = await runner.measure(traced(calls, { obstacle }), "p");
  assert.deepEqual([skipped, calls], ["not root", []]);
});
