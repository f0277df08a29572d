import assert from "node:assert/strict";
import { test } from "node:test";
import { PartitionSequences } from "./sequences.ts";

const begun = (): PartitionSequences => {
  const sequences = new PartitionSequences();
  sequences.begin(7);
  return sequences;
};

test("sequences count records, and wrap from 2^31-1 to 0", () => {
  const sequences = begun();
  const counts = [3, 2 ** 31 - 5, 2, 1];
  assert.deepEqual(
    counts.map((count) => sequences.take(count)),
    [0, 3, 2 ** 31 - 2, 0].map((baseSequence) => ({
      ...{ producerId: 7, producerEpoch: 0, baseSequence },
    })),
  );
});

test("without a producer id nothing is stamped, and nothing is begun anew", () => {
  const sequences = new PartitionSequences();
  assert.throws(() => sequences.take(1), /producer id/);
  sequences.renew();
  assert.deepEqual([sequences.hasId, sequences.usedId], [false, undefined]);
});

test("a new epoch begins with sequence 0, and clears what was broken", () => {
  const sequences = begun();
  assert.deepEqual([sequences.hasId, sequences.isBroken], [true, false]);
  sequences.take(5);
  sequences.break();
  assert.equal(sequences.isBroken, true);
  sequences.renew();
  assert.equal(sequences.isBroken, false);
  assert.deepEqual(sequences.take(1), { producerId: 7, producerEpoch: 1, baseSequence: 0 });
});

test("after epoch 32,767, and after a fence, another producer id is needed", () => {
  const sequences = begun();
  for (let epoch = 0; epoch < 32_767; epoch += 1) sequences.renew();
  assert.deepEqual(sequences.take(1), { producerId: 7, producerEpoch: 32_767, baseSequence: 0 });
  sequences.renew();
  assert.deepEqual([sequences.hasId, sequences.usedId], [false, 7]);
  sequences.begin(8);
  assert.deepEqual(sequences.take(1), { producerId: 8, producerEpoch: 0, baseSequence: 0 });
  sequences.fence();
  assert.equal(sequences.isBroken, true);
  sequences.renew();
  assert.deepEqual([sequences.hasId, sequences.usedId, sequences.isBroken], [false, 8, false]);
});

test("the last sequences are taken back, and others are not", () => {
  const sequences = new PartitionSequences();
  sequences.begin(7);
  const [first, second] = [sequences.take(2), sequences.take(3)];
  assert.equal(sequences.takeBack(first, 2), false, "the broker would miss them");
  assert.equal(sequences.takeBack(second, 3), true);
  assert.deepEqual(sequences.take(1), { producerId: 7, producerEpoch: 0, baseSequence: 2 });
  sequences.break();
  const next = { producerId: 7, producerEpoch: 0, baseSequence: 2 };
  assert.equal(sequences.takeBack(next, 1), false, "all begin anew");
  sequences.renew();
  const renewed = sequences.take(1);
  assert.equal(sequences.takeBack({ ...renewed, producerId: 8 }, 1), false);
  assert.equal(sequences.takeBack({ ...renewed, producerEpoch: 0 }, 1), false);
  assert.equal(sequences.takeBack(renewed, 1), true);
  assert.equal(sequences.hasId, true);
});
