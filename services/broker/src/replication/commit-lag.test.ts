import assert from "node:assert/strict";
import { test } from "node:test";
import { CommitLag } from "./commit-lag.ts";

test("the longest wait of records that are not committed, from the look that found them", () => {
  const [idle, busy, stuck] = [0, 0, 0].map(() => ({ logEndOffset: 10, highWatermark: 10 }));
  assert.ok(idle !== undefined && busy !== undefined && stuck !== undefined);
  const lag = new CommitLag();
  const look = (nowMs: number) => lag.look([idle, busy, stuck], nowMs);
  assert.equal(look(0), 0);
  busy.logEndOffset = 20;
  stuck.logEndOffset = 15;
  assert.equal(look(1000), 0, "nobody knows how long yet");
  // One goes on with other records each time, the other one stands still.
  Object.assign(busy, { logEndOffset: 30, highWatermark: 20 });
  assert.equal(look(2000), 1000);
  Object.assign(busy, { logEndOffset: 40, highWatermark: 30 });
  stuck.highWatermark = 14;
  assert.equal(look(3500), 2500);
  stuck.highWatermark = 15;
  assert.equal(look(4000), 500, "the busy one has not moved since the last look");
  busy.highWatermark = 40;
  assert.equal(look(5000), 0);
});

test("a log that is led no more is forgotten", () => {
  const log = { logEndOffset: 10, highWatermark: 5 };
  const lag = new CommitLag();
  lag.look([log], 0);
  lag.look([], 1000);
  assert.equal(lag.look([log], 5000), 0);
});
