/** The tests that every scenario of pools and brokers has to pass. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Apart } from "@millrace/sim/node";
import type { Play } from "./plays.ts";
import type { Peace } from "./runs.ts";

/** A part of what there is, for `npm test`; mutants get all of it. */
const faultSeeds = Number(process.env["MILLRACE_OPERATOR_SEEDS"] ?? 10);
const killEvery = Number(process.env["MILLRACE_OPERATOR_KILL_EVERY"] ?? 4);
const seeds = Array.from({ length: faultSeeds }, (_, i) => 100 + i);

const runs = new Apart<typeof import("./runs.ts")>(new URL("runs.ts", import.meta.url));

/** A run in peace, after which nothing is written any more. */
export const testPeace = (name: Play, check: (peace: Peace) => void = () => {}): void => {
  test(`${name}, in peace: nothing is written in the end`, async () => {
    const peace = await runs.call("inPeace", name);
    assert.deepEqual(peace.steadyWrites, []);
    check(peace);
  });
};

export const testKills = (name: Play): void => {
  test(`${name}, killed before and after its writes: it ends in the same state`, async () => {
    const writes = await runs.call("killedAtWrites", name, killEvery);
    assert.ok(writes > 30, `${writes} writes`);
  });
};

export const testFaults = (name: Play): void => {
  test(`${name}, with faults of every kind: it ends in the same state`, async () => {
    await runs.call("withFaults", name, seeds);
  });
};
