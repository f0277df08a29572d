/** What is wanted of brokers, and that nothing is placed against it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { MillraceError } from "@millrace/errors";
import { decodeRecord, encodeRecord, keys, type Operation } from "@millrace/metadata";
import { BrokerIntent } from "@millrace/proto/common";
import {
  AlterPartitionReassignmentsRequestSchema,
  CreatePartitionsRequestSchema,
  CreateTopicRequestSchema,
  DeleteTopicRequestSchema,
  SetBrokerIntentRequestSchema,
} from "@millrace/proto/controller";
import { BrokerIntentRecordSchema, BrokerRecordSchema } from "@millrace/proto/storage";
import { topicIdOf } from "@millrace/record";
import { BrokersHandlers } from "./brokers.ts";
import { Controller } from "./controller.ts";
import { TestCluster } from "./testing/cluster.ts";

const { ACTIVE, CORDONED, DECOMMISSIONED, DRAINING, UNSPECIFIED } = BrokerIntent;

/** Brokers 0 to 2, and an active controller. Every broker has one log, unless `logs` says so. */
const setUp = async () => {
  const cluster = new TestCluster();
  const put = (operation: Operation) => cluster.run(cluster.store.txn([], [operation]));
  const directoryId = Buffer.alloc(16, 7);
  for (const brokerId of [0, 1, 2]) {
    const value = encodeRecord.broker(create(BrokerRecordSchema, { brokerId, directoryId }));
    await put({ type: "put", key: keys.broker(brokerId), value });
  }
  const hooks: (() => Promise<unknown>)[] = [];
  const { process } = await cluster.controller(1, ({ txn }) => ({
    txn: async (...args) => {
      const isPlacing = args[1].some(
        (one) => one.type === "put" && one.key.startsWith(keys.partitions),
      );
      if (isPlacing) await hooks.shift()?.();
      return txn(...args);
    },
  }));
  await cluster.pass(100);
  const { life: _, ...shared } = cluster.process("admin");
  const admin = new Controller({ ...shared, active: process, defaultReplicationFactor: 2 });
  const logs = new Map<number, number | undefined>();
  const handlers = new BrokersHandlers({
    ...{ clusterId: "c", store: shared.store },
    active: {
      writeOfReign: () => process.writeOfReign(),
      watchOfReign: () => ({ logCountOf: ({ brokerId }) => logs.get(brokerId) }),
      maintenanceOfReign: () => process.maintenanceOfReign(),
      waitForRevision: (...args) => process.waitForRevision(...args),
      get state() {
        return process.state;
      },
    },
    deletionDone: (topicId, id) => admin.deletionDone(topicId, id),
  });
  const codeOf = (work: Promise<unknown>): Promise<string> =>
    cluster.run(
      work.then(
        () => "done",
        (thrown: unknown) => MillraceError.from(thrown).codeName,
      ),
    );
  const want = async (brokerId: number, intent: BrokerIntent, validateOnly = false) => {
    await cluster.pass(100);
    const fields = { brokerId, intent, validateOnly };
    const done = handlers.setBrokerIntent(create(SetBrokerIntentRequestSchema, fields));
    const code = await codeOf(done);
    await cluster.pass(100);
    return code;
  };
  const make = (name: string, partitionCount = 1, replicationFactor = 1) => {
    const fields = { name, partitionCount, replicationFactor };
    return codeOf(admin.createTopic(create(CreateTopicRequestSchema, fields)));
  };
  const replicas = async () => (await cluster.partitions()).map((one) => one.replicas);
  const end = (id: number) => put({ type: "delete", range: { key: keys.broker(id) } });
  const describe = () => handlers.describeBrokers().brokers;
  return {
    cluster,
    admin,
    handlers,
    hooks,
    logs,
    put,
    codeOf,
    want,
    make,
    replicas,
    end,
    describe,
  };
};

test("a cordoned broker gets no replicas until it is active again", async () => {
  const { admin, codeOf, want, make, replicas, describe } = await setUp();
  assert.equal(await want(1, CORDONED), "done");
  assert.equal(await make("a", 20, 2), "done");
  assert.ok((await replicas()).every((ids) => !ids.includes(1)));
  assert.equal(await make("b", 1, 3), "INVALID_REPLICATION_FACTOR");
  const grow = create(CreatePartitionsRequestSchema, { name: "a", partitionCount: 30 });
  assert.equal(await codeOf(admin.createPartitions(grow)), "done");
  assert.ok((await replicas()).every((ids) => !ids.includes(1)));
  const move = async () => {
    const partitions = [{ topic: "a", partition: 0, replicas: [0, 1] }];
    const request = create(AlterPartitionReassignmentsRequestSchema, { partitions });
    const [result] = (await admin.alterPartitionReassignments(request)).results;
    return result?.error?.message;
  };
  assert.match((await move()) ?? "", /broker 1 is cordoned and gets no replicas/);
  const [, one] = describe();
  assert.deepEqual([one?.intent, one?.registered, one?.replicaCount], [CORDONED, true, 0]);
  assert.equal(await want(1, ACTIVE), "done");
  assert.equal(await move(), undefined);
});

test("what was placed by intents that have changed since is not written", async () => {
  const { cluster, admin, hooks, want, make, replicas, codeOf } = await setUp();
  await make("kept", 1, 2);
  const before = await replicas();
  const cordon = (brokerId: number) => async () => {
    const record = create(BrokerIntentRecordSchema, { brokerId, intent: CORDONED });
    await cluster.store.txn(
      [],
      [
        { type: "put", key: keys.brokerIntent(brokerId), value: encodeRecord.brokerIntent(record) },
        { type: "put", key: keys.placement, value: new Uint8Array(0) },
      ],
    );
  };
  hooks.push(cordon(2));
  assert.equal(await make("a", 150, 1), "UNAVAILABLE");
  assert.deepEqual(await replicas(), before, "nothing is left of it");
  await want(2, ACTIVE);
  hooks.push(cordon(2));
  const grow = create(CreatePartitionsRequestSchema, { name: "kept", partitionCount: 9 });
  assert.equal(await codeOf(admin.createPartitions(grow)), "done", "it is placed anew");
  assert.ok((await replicas()).slice(1).every((ids) => !ids.includes(2)));
  await want(2, ACTIVE);
  hooks.push(cordon(2));
  const partitions = [{ topic: "kept", partition: 1, replicas: [0, 2] }];
  const request = create(AlterPartitionReassignmentsRequestSchema, { partitions });
  const { results } = await cluster.run(admin.alterPartitionReassignments(request));
  assert.match(results[0]?.error?.message ?? "", /broker 2 is cordoned/);
});

test("intents are checked, and those of unknown brokers refused", async () => {
  const { cluster, want, describe } = await setUp();
  assert.equal(await want(1, UNSPECIFIED), "INVALID_REQUEST");
  assert.equal(await want(9, DRAINING), "BROKER_ID_NOT_REGISTERED");
  assert.equal(await want(1, DRAINING, true), "done");
  assert.equal(await want(1, DECOMMISSIONED), "INVALID_REQUEST");
  assert.ok(describe().every(({ intent }) => intent === ACTIVE));
  assert.equal(await want(1, DRAINING), "done");
  const kv = await cluster.get(keys.brokerIntent(1));
  assert.ok(kv !== undefined);
  assert.deepEqual(Buffer.from(decodeRecord.brokerIntent(kv).directoryId), Buffer.alloc(16, 7));
  assert.equal(await want(1, DRAINING), "done");
  assert.equal((await cluster.get(keys.brokerIntent(1)))?.modRevision, kv.modRevision);
  assert.equal(await want(1, ACTIVE), "done");
  assert.equal(await cluster.get(keys.brokerIntent(1)), undefined);
});

test("a broker is decommissioned once it has nothing: no replica, no leftover, no log", async () => {
  const { cluster, admin, logs, want, make, describe, codeOf } = await setUp();
  assert.equal(await make("t", 3, 3), "done");
  assert.equal(await want(2, DRAINING), "done");
  assert.equal(await want(2, DECOMMISSIONED), "REASSIGNMENT_IN_PROGRESS");
  assert.equal(describe()[2]?.immovableCount, 3);
  const removal = create(DeleteTopicRequestSchema, { name: "t" });
  assert.equal(await codeOf(admin.deleteTopic(removal)), "done");
  assert.equal(await want(2, DECOMMISSIONED), "METADATA_STALE");
  logs.set(2, 3);
  assert.equal(await want(2, DECOMMISSIONED), "REASSIGNMENT_IN_PROGRESS");
  logs.set(2, 0);
  assert.equal(await want(2, DECOMMISSIONED, true), "done");
  assert.equal(await want(2, DECOMMISSIONED), "done");
  assert.equal(describe()[2]?.intent, DECOMMISSIONED);
  assert.equal(await make("u", 1, 3), "INVALID_REPLICATION_FACTOR");
  // With another directory it is another broker.
  const other = create(BrokerRecordSchema, { brokerId: 2, directoryId: Buffer.alloc(16, 8) });
  const value = encodeRecord.broker(other);
  await cluster.run(cluster.store.txn([], [{ type: "put", key: keys.broker(2), value }]));
  assert.equal(await make("u", 1, 3), "done");
});

test("a broker that is down is decommissioned without its leftovers", async () => {
  const { cluster, admin, want, make, end, describe, put } = await setUp();
  assert.equal(await make("t", 1, 2), "done");
  assert.equal(await make("gone", 1, 3), "done");
  await cluster.run(admin.deleteTopic(create(DeleteTopicRequestSchema, { name: "gone" })));
  const [record] = await cluster.partitions();
  assert.ok(record !== undefined);
  const id = record.replicas[1] ?? 0;
  assert.equal(await want(id, CORDONED), "done");
  await end(id);
  const key = keys.partition(topicIdOf(record.topicId), 0);
  const moved = { ...record, replicas: record.replicas.slice(0, 1) };
  const entry = { $typeName: "millrace.storage.v1.RemovedReplica", leaderEpoch: 2 } as const;
  const removed = [{ ...entry, brokerId: id }];
  assert.equal(await want(id, DECOMMISSIONED), "REASSIGNMENT_IN_PROGRESS");
  const value = encodeRecord.partition({ ...moved, isr: moved.replicas, removed });
  await put({ type: "put", key, value });
  await cluster.pass(100);
  assert.equal(describe().find(({ brokerId }) => brokerId === id)?.leftoverCount, 1);
  assert.equal(await want(id, DECOMMISSIONED), "done");
  assert.deepEqual((await cluster.partitions())[0]?.removed, []);
  const { kvs } = await cluster.run(cluster.store.range({ prefix: keys.deletions }));
  assert.ok(kvs.every((kv) => !decodeRecord.deletion(kv).pendingBrokerIds.includes(id)));
});
