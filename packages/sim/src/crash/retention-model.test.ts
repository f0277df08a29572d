/** What the model lets retention take, and what it does not. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { defaultLogConfig } from "@millrace/log";
import { makeBatch } from "./batches.ts";
import { PartitionModel } from "./model.ts";
import { retentionAllows } from "./retention-model.ts";

const dayMs = 86_400_000;
const nowMs = 1_700_000_000_000;
const ageMs = 7 * dayMs;
const configs = [{ ...defaultLogConfig, retentionMs: ageMs, retentionBytes: -1 }];

const append = (
  model: PartitionModel,
  baseOffset: number,
  timestampMs: number,
  appendTimeMs: number,
) =>
  model.append({
    baseOffset,
    lastOffset: baseOffset + 1,
    leaderEpoch: 1,
    appendTimeMs,
    batch: makeBatch([{ value: "v", timestampMs }]),
    timestampsMs: [timestampMs],
    policy: "commit",
    acked: true,
  });

const allows = (model: PartitionModel, start: number, wallMs = nowMs): boolean =>
  retentionAllows(model, configs, start, [{ firstMs: wallMs, lastMs: wallMs + 10 }]);

test("what was cut off and appended over does not keep what is old", () => {
  const model = new PartitionModel("t");
  append(model, 0, nowMs, nowMs);
  append(model, 2, nowMs, nowMs);
  model.truncation = { offset: 0 };
  model.truncated();
  append(model, 0, nowMs - ageMs - 1, nowMs);
  assert.ok(allows(model, 2));
  // What nothing was appended over may not go.
  assert.ok(!allows(model, 4));
  append(model, 2, nowMs, nowMs);
  assert.ok(!allows(model, 4));
});

test("the append time counts where records are ahead of the clock, and nowhere else", () => {
  const model = new PartitionModel("t");
  append(model, 0, nowMs, nowMs - 8 * dayMs);
  assert.ok(!allows(model, 2));
  assert.ok(allows(model, 2, nowMs - dayMs + 1));
  assert.ok(!allows(model, 2, nowMs - 2 * dayMs));
  append(model, 2, nowMs, nowMs);
  assert.ok(!allows(model, 4, nowMs - dayMs + 1));
});
