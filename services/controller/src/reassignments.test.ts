/** Reassignments as the Admin service records them, and as the control loop ends them. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { ErrorCode, errorTable, hasCode } from "@millrace/errors";
import { decodeRecord, encodeRecord, keys } from "@millrace/metadata";
import {
  AlterPartitionReassignmentsRequestSchema,
  AlterPartitionsRequestSchema,
  ConfirmRemovalsRequestSchema,
  CreatePartitionsRequestSchema,
  CreateTopicRequestSchema,
  DeleteTopicRequestSchema,
  DescribeTopicsRequestSchema,
  ListPartitionReassignmentsRequestSchema,
} from "@millrace/proto/controller";
import { BrokerRecordSchema, type PartitionRecord } from "@millrace/proto/storage";
import { topicIdOf } from "@millrace/record";
import { Controller } from "./controller.ts";
import { describeTopics } from "./describe.ts";
import { limits, replicaLimits } from "./limits.ts";
import { ProducerIdBlocks } from "./producer-ids.ts";
import { listPartitionReassignments } from "./reassignments.ts";
import { Registry } from "./registry.ts";
import { unguarded } from "./reign.ts";
import { ReplicaHandlers } from "./replicas.ts";
import { TestCluster } from "./testing/cluster.ts";

/** Brokers 0 to 3, a topic on three of them, and an active controller. */
const setUp = async (partitionCount = 1) => {
  const cluster = new TestCluster();
  for (const id of [0, 1, 2]) {
    const value = encodeRecord.broker(create(BrokerRecordSchema, { brokerId: id }));
    await cluster.run(cluster.store.txn([], [{ type: "put", key: keys.broker(id), value }]));
  }
  const hooks: (() => Promise<unknown>)[] = [];
  const { process } = await cluster.controller(1, ({ txn }) => ({
    txn: async (...args) => {
      const isMove = args[1].some(
        (one) => one.type === "put" && one.key.startsWith(keys.partitions),
      );
      if (isMove) await hooks.shift()?.();
      return txn(...args);
    },
  }));
  await cluster.pass(100);
  const { life: _, ...shared } = cluster.process("admin");
  const admin = new Controller({ ...shared, active: process, defaultReplicationFactor: 3 });
  const request = create(CreateTopicRequestSchema, { name: "t", partitionCount });
  const { topicId } = await cluster.run(admin.createTopic(request));
  const value = encodeRecord.broker(create(BrokerRecordSchema, { brokerId: 3 }));
  await cluster.run(cluster.store.txn([], [{ type: "put", key: keys.broker(3), value }]));
  await cluster.pass(100);
  const handlers = new ReplicaHandlers({
    ...{ clusterId: "c", clock: shared.clock, active: process },
    deletionDone: (id, brokerId) => admin.deletionDone(id, brokerId),
    removalsDone: (brokerId, removals) => admin.removalsDone(brokerId, removals),
    producerIds: new ProducerIdBlocks({ store: shared.store, active: process }),
  });
  const registry = new Registry(shared.store, unguarded(shared.store));
  const recordOf = async (partition = 0): Promise<PartitionRecord & { modRevision: number }> => {
    const kv = await cluster.get(keys.partition(topicIdOf(topicId), partition));
    assert.ok(kv !== undefined);
    return { ...decodeRecord.partition(kv), modRevision: kv.modRevision };
  };
  type Fields = MessageInitShape<typeof AlterPartitionReassignmentsRequestSchema>;
  /** The results in few words. */
  const move = async (
    partitions: Fields["partitions"],
    validateOnly = false,
  ): Promise<string[]> => {
    const fields = { partitions: partitions ?? [], validateOnly };
    const request = create(AlterPartitionReassignmentsRequestSchema, fields);
    const { results } = await cluster.run(admin.alterPartitionReassignments(request));
    return results.map(({ error }) =>
      error === undefined ? "recorded" : (errorTable.get(error.code)?.name ?? ""),
    );
  };
  /** The leader asks for all replicas in the ISR. */
  const catchUp = async (partition = 0): Promise<void> => {
    await cluster.pass(100);
    const { leader = 0, leaderEpoch, modRevision, replicas } = await recordOf(partition);
    const epochOf = async (id: number) =>
      BigInt((await cluster.get(keys.broker(id)))?.createRevision ?? 0);
    const isr = await Promise.all(
      replicas.map(async (id) => ({ brokerId: id, brokerEpoch: await epochOf(id) })),
    );
    const request = create(AlterPartitionsRequestSchema, {
      ...{ brokerId: leader, brokerEpoch: await epochOf(leader) },
      partitions: [{ topicId, partition, leaderEpoch, modRevision: BigInt(modRevision), isr }],
    });
    const { results } = await cluster.run(handlers.alterPartitions(request));
    assert.equal(results[0]?.error, undefined);
    await cluster.pass(100);
  };
  return { cluster, admin, handlers, hooks, registry, topicId, recordOf, move, catchUp };
};

test("a reassignment is recorded, listed while it is under way, and ended by the control loop", async () => {
  const { cluster, registry, recordOf, move, catchUp } = await setUp(2);
  const { replicas } = await recordOf();
  const target = [3, ...replicas.slice(0, 2)];
  assert.deepEqual(await move([{ topic: "t", partition: 0, replicas: target }]), ["recorded"]);
  const list = async () => {
    const request = create(ListPartitionReassignmentsRequestSchema);
    return (await cluster.run(listPartitionReassignments(registry, request))).reassignments;
  };
  const [ongoing, ...others] = await list();
  assert.deepEqual([ongoing?.topic, ongoing?.partition, others], ["t", 0, []]);
  assert.deepEqual([ongoing?.adding, ongoing?.removing], [[3], replicas.slice(2)]);
  assert.deepEqual(ongoing?.replicas, [...target, ...replicas.slice(2)]);
  await cluster.pass(1000);
  assert.deepEqual((await recordOf()).adding, [3], "3 has not caught up");
  await catchUp();
  const done = await recordOf();
  assert.deepEqual([done.replicas, done.isr.toSorted()], [target, target.toSorted()]);
  assert.deepEqual([done.adding, done.removing, await list()], [[], [], []]);
  assert.deepEqual(
    done.removed.map(({ brokerId, leaderEpoch }) => [brokerId, leaderEpoch]),
    replicas.slice(2).map((id) => [id, done.leaderEpoch]),
  );
});

test("what is not allowed is refused, each partition by itself", async () => {
  const { admin, move, recordOf } = await setUp(7);
  const before = await recordOf(0);
  const of = (partition: number, replicas: number[], cancel = false) => ({
    ...{ topic: "t", partition, replicas, cancel },
  });
  const results = await move([
    of(0, [0, 1, 1]),
    of(1, []),
    of(2, [0, 1, 9]),
    of(3, [], true),
    of(4, [0], true),
    of(5, [3, 1]),
    of(7, [0]),
    { topic: "u", partition: 0, replicas: [0] },
  ]);
  const bad = "INVALID_REPLICA_ASSIGNMENT";
  const unknown = "UNKNOWN_TOPIC_OR_PARTITION";
  assert.deepEqual(results, [
    ...[bad, bad, bad, "NO_REASSIGNMENT_IN_PROGRESS", "INVALID_REQUEST", "recorded"],
    ...[unknown, unknown],
  ]);
  assert.equal((await recordOf(0)).modRevision, before.modRevision);
  assert.deepEqual(await move([of(0, [3, 1])], true), ["recorded"]);
  assert.equal((await recordOf(0)).modRevision, before.modRevision, "validate_only");
  const whole = (partitions: ReturnType<typeof of>[]) =>
    assert.rejects(
      admin.alterPartitionReassignments(
        create(AlterPartitionReassignmentsRequestSchema, { partitions }),
      ),
      (thrown) => hasCode(thrown, ErrorCode.INVALID_REQUEST),
    );
  await whole([of(0, [0]), of(0, [1])]);
  const { reassignmentsPerCallMax: max } = limits;
  await whole(Array.from({ length: max + 1 }, (_, i) => of(i, [0])));
});

test("a cancellation leads back, and whose replica is dropped is remembered until it confirms", async () => {
  const { cluster, handlers, topicId, recordOf, move } = await setUp();
  const { replicas, leaderEpoch } = await recordOf();
  await move([{ topic: "t", partition: 0, replicas: [3, ...replicas.slice(1)] }]);
  assert.deepEqual(await move([{ topic: "t", partition: 0, cancel: true }]), ["recorded"]);
  const back = await recordOf();
  assert.deepEqual(back.replicas.toSorted(), replicas.toSorted());
  assert.deepEqual([back.adding, back.removing], [[], []]);
  const entry = { brokerId: 3, leaderEpoch: leaderEpoch + 1 };
  const removed = async () =>
    (await recordOf()).removed.map((one) => [one.brokerId, one.leaderEpoch]);
  assert.deepEqual(await removed(), [[3, leaderEpoch + 1]]);
  const confirm = async (brokerId: number, epoch: number, ids = [topicId]): Promise<void> => {
    const partitions = ids.map((id) => ({ topicId: id, partition: 0, leaderEpoch: epoch }));
    const request = create(ConfirmRemovalsRequestSchema, { brokerId, partitions });
    await cluster.run(handlers.confirmRemovals(request));
  };
  await confirm(3, entry.leaderEpoch - 1);
  await confirm(2, entry.leaderEpoch);
  await confirm(3, entry.leaderEpoch, [Buffer.alloc(16, 99)]);
  assert.deepEqual(await removed(), [[3, leaderEpoch + 1]], "another removal");
  await confirm(3, entry.leaderEpoch);
  await confirm(3, entry.leaderEpoch);
  assert.deepEqual(await removed(), []);
  const many = Array.from({ length: replicaLimits.removalsPerCallMax + 1 }, () => topicId);
  await assert.rejects(confirm(3, 1, many), (thrown) => hasCode(thrown, ErrorCode.INVALID_REQUEST));
});

test("a deleted topic ends its reassignments, and reaches those that were removed", async () => {
  const { cluster, admin, topicId, recordOf, move } = await setUp();
  const { replicas } = await recordOf();
  await move([{ topic: "t", partition: 0, replicas: [3, ...replicas.slice(1)] }]);
  await move([{ topic: "t", partition: 0, cancel: true }]);
  await cluster.run(admin.deleteTopic(create(DeleteTopicRequestSchema, { name: "t" })));
  const kv = await cluster.get(keys.deletion(topicIdOf(topicId)));
  assert.ok(kv !== undefined);
  assert.deepEqual(decodeRecord.deletion(kv).pendingBrokerIds, [0, 1, 2, 3]);
});

test("a move of a topic that is deleted meanwhile is not made", async () => {
  const { cluster, hooks, recordOf, move } = await setUp();
  const { modRevision } = await recordOf();
  // Its deletion has read the replicas by now, and would not know the new one.
  hooks.push(() => cluster.store.txn([], [{ type: "delete", range: { key: keys.topic("t") } }]));
  const results = await move([{ topic: "t", partition: 0, replicas: [3] }]);
  assert.deepEqual(results, ["UNKNOWN_TOPIC_OR_PARTITION"]);
  assert.equal((await recordOf()).modRevision, modRevision);
});

test("the replication factor is that of partition 0, and new partitions get it", async () => {
  const { cluster, admin, registry, recordOf, move, catchUp } = await setUp();
  const factor = async () => {
    const request = create(DescribeTopicsRequestSchema, { names: ["t"] });
    return (await cluster.run(describeTopics(registry, request))).topics[0]?.replicationFactor;
  };
  assert.equal(await factor(), 3);
  const { replicas } = await recordOf();
  await move([{ topic: "t", partition: 0, replicas: replicas.slice(0, 2) }]);
  assert.equal(await factor(), 2);
  await catchUp();
  const grow = create(CreatePartitionsRequestSchema, { name: "t", partitionCount: 2 });
  await cluster.run(admin.createPartitions(grow));
  assert.equal((await recordOf(1)).replicas.length, 2);
});
