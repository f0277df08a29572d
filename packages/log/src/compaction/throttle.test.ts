import assert from "node:assert/strict";
import { test } from "node:test";
import { Throttle } from "./throttle.ts";

const clockOf = () => {
  let nowMs = 0;
  const slept: number[] = [];
  const clock = {
    monoMs: () => nowMs,
    sleep: async (ms: number) => {
      slept.push(ms);
      nowMs += ms;
    },
  };
  return { clock, slept, pass: (ms: number) => (nowMs += ms) };
};

test("so many bytes take so long", async () => {
  const { clock, slept } = clockOf();
  const throttle = new Throttle(clock, 1000, () => false);
  for (let i = 0; i < 100; i += 1) await throttle.took(100);
  const ms = clock.monoMs();
  assert.ok(ms > 9_800 && ms <= 10_000, `${ms} ms for 10,000 bytes`);
  assert.ok(Math.max(...slept) <= 100);
});

test("idle time is not saved up, no limit is none, and a stop ends the wait", async () => {
  const { clock, pass } = clockOf();
  const throttle = new Throttle(clock, 1000, () => false);
  pass(60_000);
  await throttle.took(1000);
  assert.ok(clock.monoMs() >= 60_850, `${clock.monoMs()}`);
  assert.equal(new Throttle(clock, 0, () => false).took(1e12), undefined);
  await new Throttle(clock, 1, () => true).took(1e12);
});
