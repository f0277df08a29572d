/** What the model lets a log forget of its producers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { type ModelBatch, makeBatch } from "./batches.ts";
import { ProducerModel } from "./producer-model.ts";

/** One record at each offset, of one producer. */
const history = (...offsets: number[]): ModelBatch[] =>
  offsets.map((offset, i) => ({
    baseOffset: offset,
    lastOffset: offset,
    leaderEpoch: 1,
    appendTimeMs: 0,
    batch: makeBatch([{ value: "v", timestampMs: 0 }], {
      producerId: 7,
      producerEpoch: 0,
      baseSequence: i,
    }),
    timestampsMs: [0],
    policy: "commit",
    acked: true,
  }));

/** Offsets of as many batches as a log remembers. */
const newest = Array.from({ length: 16 }, (_, i) => 25 + i);

test("a window that a cut brings back is as doubtful as it was", () => {
  const older = history(18, 22);
  const whole = ProducerModel.of(history(18, 22, ...newest));
  whole.doubtWindows(20);
  assert.deepEqual(whole.ids(), [7], "its window begins at 25");
  const cut = ProducerModel.of(older);
  cut.doubt(whole.copy(), true);
  assert.deepEqual(cut.ids(), [], "its window begins at 18");
});

test("a window that a cut brings back is certain where nothing below it is lost", () => {
  const whole = ProducerModel.of(history(18, 22, ...newest));
  whole.doubtWindows(18);
  const cut = ProducerModel.of(history(18, 22));
  cut.doubt(whole, true);
  assert.deepEqual(cut.ids(), [7]);
});

test("what only a newer snapshot knows is in doubt once a cut goes behind it", () => {
  const whole = ProducerModel.of(history(18, 22, ...newest));
  whole.doubtWindowsAfterCut(20);
  assert.deepEqual(whole.ids(), [7]);
  const same = ProducerModel.of(history(18, 22, ...newest));
  same.doubt(whole, false);
  assert.deepEqual(same.ids(), [7], "nothing was cut");
  const cut = ProducerModel.of(history(18, 22));
  cut.doubt(same.copy(), true);
  assert.deepEqual(cut.ids(), []);
});
