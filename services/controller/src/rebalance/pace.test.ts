import assert from "node:assert/strict";
import { test } from "node:test";
import { rebalanceLimits } from "../limits.ts";
import { Pace } from "./pace.ts";

const { paceFastMsMax, paceIntervalMs, paceSlowMs } = rebalanceLimits;

test("moves begin one by one, grow while records are committed in time, and halve once they are not", () => {
  const pace = new Pace();
  let nowMs = 1000;
  const after = (ms: number, lagMs: number): number => {
    nowMs += ms;
    return pace.look(lagMs, 5, nowMs);
  };
  assert.equal(after(0, 0), 1);
  assert.equal(after(paceIntervalMs - 1, 0), 1, "not before it is due");
  assert.equal(after(1, paceFastMsMax), 2);
  assert.deepEqual(
    [1, 2, 3, 4].map(() => after(paceIntervalMs, 0)),
    [3, 4, 5, 5],
  );
  assert.equal(after(paceIntervalMs, paceFastMsMax + 1), 5, "neither fast nor slow");
  assert.equal(after(paceIntervalMs, paceSlowMs), 2);
  assert.equal(after(paceIntervalMs - 1, paceSlowMs), 2);
  assert.equal(after(1, paceSlowMs), 1);
  assert.equal(after(paceIntervalMs, 60_000), 1, "one may always be under way");
});
