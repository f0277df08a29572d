/** The checker of histories sees what it is there for, also of what was deleted since. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { Kernel } from "@millrace/sim";
import { check, History } from "./history.ts";

/** A history in which one producer has sent "0", "1" and "2" to partition 0. */
const sent = (): History => {
  const history = new History(new Kernel(1).marks);
  for (const number of [0, 1, 2]) {
    history.sent.set(String(number), { producer: 0, partition: 0, number });
  }
  return history;
};
const disturbedMs = 1e9;

test("what is said not to be written is not read, also when it is deleted later", () => {
  const history = sent();
  history.unwritten.add("0");
  history.see("0", 0, 0n);
  history.deletedBelow.set(0, 1n);
  assert.throws(() => check(history, new Map(), disturbedMs), /was said not to be written/);
});

test("what is out of order is noticed, also when it is deleted later", () => {
  const history = sent();
  history.see("1", 0, 0n);
  history.see("0", 0, 1n);
  history.deletedBelow.set(0, 2n);
  assert.throws(() => check(history, new Map([["0@2", "2"]]), disturbedMs), /is behind number 1/);
});
