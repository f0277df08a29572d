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

test("an epoch is forgotten with its last batch where that rotted below the log start", () => {
  const model = new EpochModel();
  for (const [epoch, startOffset] of [
    [1, 0],
    [2, 0],
    [3, 6],
  ] as const) {
    model.begin(epoch, startOffset);
    model.confirm(epoch);
  }
  const answers = (logStart: number, surviving: readonly number[]): Set<string> =>
    new Set(
      model
        .possible(18, logStart, new Set(surviving))
        .map(({ answering }) => JSON.stringify(endOffsetFor(answering, 2, 18))),
    );
  assert.deepEqual(answers(6, [3]), new Set([second]));
  model.batchesRotted = true;
  assert.deepEqual(answers(6, [3]), new Set([second, first]));
  const whole = JSON.stringify({ leaderEpoch: 2, endOffset: 6 });
  assert.deepEqual(answers(3, [2, 3]), new Set([whole]), "it has records");
});

test("a recovery forgets no epoch that began below the log start", () => {
  const model = led();
  model.adopt(model.possible(18, 6, new Set([3, 5])));
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

test("an epoch that the answers need not know may be missing later", () => {
  const model = new EpochModel();
  model.begin(0, 0);
  model.begin(2, 0);
  model.confirm(2);
  // After a power cut nothing tells whether epoch 0 is known.
  model.adopt(model.possible(0, 0, new Set()));
  assert.deepEqual(
    model.epochs.map(({ epoch, confirmed }) => [epoch, confirmed]),
    [
      [0, false],
      [2, true],
    ],
  );
});

test("an epoch whose beginning was lost seems to begin with what is left of it", () => {
  const model = new EpochModel();
  for (const [epoch, startOffset] of [
    [2, 0],
    [3, 13],
    [4, 22],
  ] as const) {
    model.begin(epoch, startOffset);
  }
  model.confirm(2);
  const answers = model
    .possible(74, 45, new Set([4]))
    .map(({ answering }) => JSON.stringify(endOffsetFor(answering, 3, 74)));
  assert.ok(answers.includes(JSON.stringify({ leaderEpoch: 2, endOffset: 45 })));
});

test("a cut at the log start may take an epoch whose beginning was lost", () => {
  const model = new EpochModel();
  for (const [epoch, startOffset] of [
    [2, 0],
    [3, 57],
  ] as const) {
    model.begin(epoch, startOffset);
  }
  model.confirm(2);
  const alike = model
    .possible(69, 59, new Set([3]))
    .filter(({ answering }) => answering.length === 1 && answering[0]?.epoch === 3);
  model.adopt(alike);
  model.adopt(model.possible(69, 59, new Set([3])));
  const confirmed = () => model.epochs.filter((entry) => entry.confirmed).map(({ epoch }) => epoch);
  assert.ok(confirmed().includes(3));
  model.truncate(60);
  assert.ok(confirmed().includes(3));
  model.truncate(59);
  assert.ok(!confirmed().includes(3));
  // A flush makes nothing known that the cut took; leading in it does.
  model.confirmUpTo(3);
  assert.ok(!confirmed().includes(3));
  model.confirm(3);
  assert.ok(confirmed().includes(3));
});

test("a flush makes no epoch known that a recovery may have forgotten", () => {
  const model = new EpochModel();
  model.begin(0, 0);
  model.begin(3, 3);
  model.confirm(3);
  // The batches of epoch 0 were lost: the log begins with epoch 3, and may know of the one before.
  model.adopt(model.possible(0, 0, new Set()));
  model.confirmUpTo(3);
  const confirmed = model.epochs.filter((entry) => entry.confirmed).map(({ epoch }) => epoch);
  assert.deepEqual(confirmed, [3]);
});

test("where the log begins, epochs without records are known from any of them on", () => {
  const model = new EpochModel();
  for (const [epoch, startOffset] of [
    [1, 0],
    [2, 1],
    [5, 1],
    [8, 1],
  ] as const) {
    model.begin(epoch, startOffset);
    model.confirm(epoch);
  }
  const known = model
    .possible(11, 1, new Set([8]))
    .map(({ answering }) => answering.map(({ epoch }) => epoch).join());
  assert.deepEqual(new Set(known), new Set(["1,2,5,8", "2,5,8", "5,8", "8"]));
});

test("a file of ten epochs without records may have forgotten any of them", () => {
  const model = new EpochModel();
  for (let epoch = 1; epoch <= 11; epoch += 1) {
    model.begin(epoch, epoch === 1 ? 0 : 29);
    model.confirm(epoch);
  }
  model.damaged = true;
  const latest = model
    .possible(29, 0, new Set([1]))
    .map(({ answering }) => answering.at(-1)?.epoch);
  assert.deepEqual(new Set(latest), new Set([1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11]));
});
