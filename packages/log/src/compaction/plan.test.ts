import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { type RecoveryPoint, RecoveryPointSchema } from "@millrace/proto/storage";
import type { LogConfig } from "../api.ts";
import { defaultLogConfig } from "../defaults.ts";
import { CleanedLog } from "../partition/cleaned-log.ts";
import { Segment } from "../segment/segment.ts";
import { type CleanableLog, planCleaning } from "./plan.ts";

/** Segments of 100 offsets and 1,000 bytes; segment `i` has records and appends of `i` minutes. */
const minuteMs = 60_000;
const segments = Array.from({ length: 6 }, (_, i) => {
  const segment = new Segment("d", i * 100);
  segment.append(
    {
      lastOffset: i * 100 + 99,
      bytes: 1000,
      maxTimestampMs: i * minuteMs,
      appendTimeMs: i * minuteMs,
    },
    4096,
  );
  return segment;
});
const times = {
  ageTimeOf: async (segment: Segment) => segment.index.maxTimestampMs ?? 0,
  findFirstAppend: async () => {},
};

const pointAt = (segmentBaseOffset: number, highWatermark = 600): RecoveryPoint =>
  create(RecoveryPointSchema, {
    offset: BigInt(segmentBaseOffset),
    segmentBaseOffset: BigInt(segmentBaseOffset),
    highWatermark: BigInt(highWatermark),
  });

const cleanedUpTo = (upTo: number): CleanedLog => {
  const cleaned = new CleanedLog();
  cleaned.completed(upTo, segments, 1);
  return cleaned;
};

const logOf = (
  config: Partial<LogConfig>,
  { upTo = 0, point = pointAt(500), highWatermark = 600 } = {},
): CleanableLog => ({
  config: { ...defaultLogConfig, compactionEnabled: true, ...config },
  ...{ segments, active: segments[5] ?? assert.fail(), highWatermark, lastPoint: point },
  cleaned: cleanedUpTo(upTo),
});

const planned = async (log: CleanableLog, nowMs: number | undefined = 10 * minuteMs) => {
  const plan = await planCleaning(log, times, nowMs);
  return plan && [plan.firstDirty, plan.dirty.map(({ baseOffset }) => baseOffset), plan.isDue];
};

test("what is closed, readable and behind the recovery point may be cleaned", async () => {
  const all = [0, 100, 200, 300, 400];
  assert.deepEqual(await planned(logOf({})), [0, all, true]);
  assert.deepEqual(await planned(logOf({}, { highWatermark: 250 })), [0, [0, 100], true]);
  assert.deepEqual(await planned(logOf({}, { point: pointAt(300) })), [0, [0, 100, 200], true]);
  assert.deepEqual(await planned(logOf({}, { point: pointAt(500, 150) })), [0, [0], true]);
  // It lies at the end of a segment that is closed: a recovery looks for it there.
  const atEnd = create(RecoveryPointSchema, { ...pointAt(100), offset: 200n });
  assert.deepEqual(await planned(logOf({}, { point: atEnd })), [0, [0], true]);
  assert.equal(await planned({ ...logOf({}), lastPoint: undefined }), undefined);
});

test("a log is due once a larger part than min.cleanable.dirty.ratio is dirty", async () => {
  assert.deepEqual(await planned(logOf({}, { upTo: 200 })), [200, [200, 300, 400], true]);
  const two = [300, [300, 400], false];
  assert.deepEqual(await planned(logOf({}, { upTo: 300 })), two);
  assert.deepEqual(await planned(logOf({ minCleanableDirtyRatio: 0.39 }, { upTo: 300 })), [
    ...two.slice(0, 2),
    true,
  ]);
  assert.deepEqual(await planned(logOf({ minCleanableDirtyRatio: 0.4 }, { upTo: 300 })), two);
  // A segment that was cleaned in part is dirty.
  assert.deepEqual(await planned(logOf({}, { upTo: 450 })), [450, [400], false]);
  assert.equal(await planned(logOf({}, { upTo: 500 })), undefined);
});

test("min.compaction.lag.ms leaves young records alone", async () => {
  const lag = (minutes: number) => logOf({ minCompactionLagMs: minutes * minuteMs });
  assert.deepEqual((await planned(lag(8)))?.[1], [0, 100, 200]);
  assert.deepEqual((await planned(lag(10)))?.[1], [0]);
  assert.equal(await planned(lag(11)), undefined);
  // Nobody knows how late it is.
  assert.equal(await planCleaning(lag(1), times, undefined), undefined);
});

test("max.compaction.lag.ms makes a log due, whatever its ratio is", async () => {
  const lag = (minutes: number) => logOf({ maxCompactionLagMs: minutes * minuteMs }, { upTo: 400 });
  assert.equal((await planned(lag(5)))?.[2], true);
  assert.equal((await planned(lag(6)))?.[2], false);
  assert.equal((await planCleaning(lag(5), times, undefined))?.isDue, false);
});
