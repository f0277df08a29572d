import assert from "node:assert/strict";
import { test } from "node:test";
import type { Event } from "./history.ts";
import { stallsOf } from "./stalls.ts";

const ack = (t: number, partition = 0): Event => ({
  ...{ t, kind: "ack", value: "", partition, offset: 0 },
});
const fault = (t: number): Event => ({
  t,
  kind: "fault",
  fault: "kill",
  target: "",
  durationMs: 0,
});
const msOf = (events: readonly Event[], endMs: number) =>
  stallsOf(events, endMs).map(({ ms }) => ms);

test("a stall begins with the last acknowledgement before the fault", () => {
  assert.deepEqual(msOf([ack(5), fault(20), ack(70), ack(75)], 80), [65]);
});

test("the slowest partition counts", () => {
  const events = [ack(5), ack(6, 1), fault(20), ack(30), ack(40, 1), ack(41)];
  assert.deepEqual(msOf(events, 45), [34]);
});

test("every fault has the time until the next one", () => {
  const events = [ack(5), fault(10), ack(15), ack(30), fault(31), ack(83), ack(90)];
  assert.deepEqual(msOf(events, 95), [15, 53]);
});

test("a stall over two faults counts for the first of them", () => {
  const events = [ack(5), fault(10), fault(20), ack(30), ack(34), ack(40)];
  assert.deepEqual(msOf(events, 41), [25, 6]);
});

test("a stall that never ends lasts until the producers stop", () => {
  assert.deepEqual(msOf([ack(5), fault(10)], 100), [95]);
});
