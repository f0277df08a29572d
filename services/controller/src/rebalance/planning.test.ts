import assert from "node:assert/strict";
import { test } from "node:test";
import { planRebalance } from "./planner.ts";
import { planBetween } from "./planning.ts";

test("planning pauses for other work, and comes to the same", async () => {
  const brokers = [1, 2, 3, 4].map((id) => ({ id, rack: "", isActive: true, bytesMax: 1e12 }));
  const partitions = Array.from({ length: 100 }, (_, i) => ({
    ...{ key: `t-${i}`, replicas: [1, 2], bytes: i },
  }));
  const request = { brokers, partitions, replicasMax: 1e6, bytesSlack: 0.1 };
  let nowMs = 0;
  let pauses = 0;
  const clock = {
    monoMs: () => {
      nowMs += 1;
      return nowMs;
    },
    defer: (run: () => void) => {
      pauses += 1;
      nowMs += 500;
      run();
    },
  };
  assert.deepEqual(await planBetween(clock, request), planRebalance(request));
  // A step takes a millisecond here, and a slice ten.
  const steps = nowMs - 500 * pauses;
  assert.ok(pauses >= steps / 13 && pauses <= steps / 10, `${pauses} pauses in ${steps} steps`);
});
