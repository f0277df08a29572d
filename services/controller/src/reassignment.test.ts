import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { PartitionRecordSchema } from "@millrace/proto/storage";
import { completedReassignment, originalOf, reassigned, targetOf } from "./reassignment.ts";

const topic = { minInsyncReplicas: 2, minIsrEpoch: 0 };
const brokers = new Map([0, 1, 2, 3, 4].map((id) => [id, id + 10]));
const directories = new Map<number, Uint8Array>();
const registered = { brokers, directories, shuttingDown: new Set<number>() };

const recordOf = (fields: MessageInitShape<typeof PartitionRecordSchema> = {}) => {
  const { isr = [0, 1, 2] } = fields;
  return create(PartitionRecordSchema, {
    ...{ replicas: [0, 1, 2], isr, leader: 0, leaderEpoch: 5 },
    isrBrokerEpochs: isr.map((id) => BigInt(id + 10)),
    ...fields,
  });
};

const changed = (...args: Parameters<typeof reassigned>) => {
  const next = reassigned(...args);
  assert.ok(next.kind === "changed");
  return next.record;
};

test("a move adds the new replicas, and removes the old ones in a new term once all are in sync", () => {
  const moving = changed(recordOf(), topic, registered, [3, 4, 0]);
  assert.deepEqual(
    [moving.replicas, moving.adding, moving.removing],
    [
      [3, 4, 0, 1, 2],
      [3, 4],
      [1, 2],
    ],
  );
  assert.deepEqual([moving.leader, moving.leaderEpoch, moving.isr], [0, 5, [0, 1, 2]]);
  assert.deepEqual(
    [targetOf(moving), originalOf(moving)],
    [
      [3, 4, 0],
      [0, 1, 2],
    ],
  );
  const partly = { ...moving, isr: [3, 0, 1, 2], isrBrokerEpochs: [13n, 10n, 11n, 12n] };
  assert.equal(completedReassignment(partly, topic, registered), undefined);
  const isr = [3, 4, 0, 1, 2];
  const whole = { ...moving, isr, isrBrokerEpochs: isr.map((id) => BigInt(id + 10)) };
  const done = completedReassignment(whole, topic, registered);
  assert.deepEqual(
    [done?.replicas, done?.adding, done?.removing, done?.isr, done?.elr],
    [[3, 4, 0], [], [], [3, 4, 0], []],
  );
  assert.deepEqual(
    [done?.leader, done?.leaderEpoch, done?.isrBrokerEpochs],
    [0, 6, [13n, 14n, 10n]],
  );
  const removed = done?.removed.map(({ brokerId, leaderEpoch }) => [brokerId, leaderEpoch]);
  assert.deepEqual(removed, [
    [1, 6],
    [2, 6],
  ]);
});

test("a leader that is removed is followed by the first of the target that is in sync", () => {
  const moving = changed(recordOf({ replicas: [0], isr: [0] }), topic, registered, [3, 4]);
  const isr = [3, 4, 0];
  const whole = { ...moving, isr, isrBrokerEpochs: [13n, 14n, 10n] };
  assert.deepEqual(completedReassignment(whole, topic, registered)?.leader, 3);
  const stopping = { brokers, directories, shuttingDown: new Set([3]) };
  assert.deepEqual(completedReassignment(whole, topic, stopping)?.leader, 4);
});

test("a new replica that has registered anew since is not in sync", () => {
  const moving = changed(recordOf(), topic, registered, [0, 1, 3]);
  const whole = { ...moving, isr: [0, 1, 3], isrBrokerEpochs: [10n, 11n, 12n] };
  assert.equal(completedReassignment(whole, topic, registered), undefined);
  const now = { ...whole, isrBrokerEpochs: [10n, 11n, 13n] };
  assert.deepEqual(completedReassignment(now, topic, registered)?.replicas, [0, 1, 3]);
});

test("fewer than min.insync.replicas of the target complete nothing", () => {
  const moving = changed(recordOf(), topic, registered, [0, 1]);
  const low = { ...moving, isr: [0, 2], isrBrokerEpochs: [10n, 12n] };
  assert.equal(completedReassignment(low, topic, registered), undefined);
  const one = { ...topic, minInsyncReplicas: 1 };
  assert.deepEqual(completedReassignment(low, one, registered)?.isr, [0]);
});

test("while replicas are added the minimum is that of before", () => {
  const grown = changed(recordOf({ replicas: [0], isr: [0] }), topic, registered, [0, 1, 2]);
  assert.deepEqual([grown.isr, grown.elr, grown.adding], [[0], [], [1, 2]]);
  const isr = [0, 1, 2];
  const whole = { ...grown, isr, isrBrokerEpochs: [10n, 11n, 12n] };
  assert.deepEqual(completedReassignment(whole, topic, registered)?.adding, []);
});

test("a cancellation drops who was added, who must not be all that is in sync", () => {
  const moving = changed(recordOf({ replicas: [0], isr: [0] }), topic, registered, [3, 4]);
  const back = changed(moving, topic, registered, originalOf(moving));
  assert.deepEqual([back.replicas, back.adding, back.removing, back.isr], [[0], [], [], [0]]);
  assert.deepEqual([back.leader, back.leaderEpoch], [0, 6]);
  assert.deepEqual(
    back.removed.map(({ brokerId }) => brokerId),
    [3, 4],
  );
  const alone = { ...moving, leader: 3, isr: [3], isrBrokerEpochs: [13n] };
  assert.deepEqual(reassigned(alone, topic, registered, [0]), { kind: "refused" });
  // A member of the ELR has everything, too.
  const before = recordOf({ replicas: [0, 1], isr: [3], elr: [1], leader: 3 });
  const eligible = { ...before, replicas: [3, 0, 1], adding: [3], isrBrokerEpochs: [13n] };
  const led = changed(eligible, topic, registered, [0, 1]);
  assert.deepEqual([led.leader, led.isr, led.isrBrokerEpochs, led.elr], [1, [1], [11n], []]);
});

test("a target that is replaced keeps what both want, and a replica that comes back its log", () => {
  const first = changed(recordOf(), topic, registered, [0, 3, 4]);
  const second = changed(first, topic, registered, [0, 1, 4]);
  assert.deepEqual([second.replicas, second.adding, second.removing], [[0, 1, 4, 2], [4], [2]]);
  assert.deepEqual(
    second.removed.map(({ brokerId }) => brokerId),
    [3],
  );
  const third = changed(second, topic, registered, [0, 1, 3]);
  assert.deepEqual(
    third.removed.map(({ brokerId }) => brokerId),
    [4],
  );
});

test("another order is taken at once, and the same one changes nothing", () => {
  const turned = changed(recordOf(), topic, registered, [2, 1, 0]);
  assert.deepEqual([turned.replicas, turned.adding, turned.removing], [[2, 1, 0], [], []]);
  assert.equal(turned.leaderEpoch, 5);
  assert.deepEqual(reassigned(turned, topic, registered, [2, 1, 0]), { kind: "already-so" });
});
