/** What the model lets a log forget of its leader epochs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { EpochModel, endOffsetFor } from "./epoch-model.ts";

/** A log from 6 to 18: epoch 1 had the records before 6, epoch 2 had none. */
const led = (): EpochModel => {
  const model = new EpochModel();
  for (const [epoch, startOffset] of [
    [1, 0],
    [2, 6],
    [3, 6],
    [5, 13],
  ] as const) {
    model.begin(epoch, startOffset);
    model.confirm(epoch);
  }
  return model;
};

const answersFor = (model: EpochModel, epoch: number): Set<string> =>
  new Set(
    model
      .possible(18, 6, new Set([3, 5]))
      .map(({ answering }) => JSON.stringify(endOffsetFor(answering, epoch, 18))),
  );

const second = JSON.stringify({ leaderEpoch: 2, endOffset: 6 });
const first = JSON.stringify({ leaderEpoch: 1, endOffset: 6 });

test("an epoch without records is forgotten with the file alone", () => {
  const model = led();
  assert.deepEqual(answersFor(model, 2), new Set([second]));
  model.damaged = true;
  assert.deepEqual(answersFor(model, 2), new Set([second, first]));
  const third = JSON.stringify({ leaderEpoch: 3, endOffset: 13 });
  assert.deepEqual(answersFor(model, 3), new Set([third]), "it has records");
});

test("a recovery forgets no epoch that began below the log start", () => {
  const model = led();
  const [found] = model.possible(18, 6, new Set([3, 5]));
  model.adopt(found);
  assert.deepEqual(answersFor(model, 2), new Set([second]));
  model.damaged = true;
  assert.deepEqual(answersFor(model, 2), new Set([second, first]));
});

test("many epochs below the log start are no reason to believe that all are known", () => {
  const model = new EpochModel();
  for (let epoch = 1; epoch <= 40; epoch += 1) model.begin(epoch, epoch);
  const latest = model
    .possible(41, 40, new Set([40]))
    .map(({ answering }) => JSON.stringify(endOffsetFor(answering, 39, 41)));
  assert.ok(latest.includes(JSON.stringify({ leaderEpoch: 20, endOffset: 40 })));
});
