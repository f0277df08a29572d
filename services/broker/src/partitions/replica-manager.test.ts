import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { Controller } from "@millrace/controller";
import { type Logger, silentLogger } from "@millrace/env";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import { ErrorCode, hasCode } from "@millrace/errors";
import type { LogManager } from "@millrace/log";
import { decodeRecord, EmbeddedStore, encodeRecord, keys, Mirror } from "@millrace/metadata";
import { CreateTopicRequestSchema, DeleteTopicRequestSchema } from "@millrace/proto/controller";
import { BrokerRecordSchema } from "@millrace/proto/storage";
import { type TopicId, topicIdOf } from "@millrace/record";
import { ClusterMirror } from "../metadata/mirror.ts";
import { FakeLog } from "../testing/fake-log.ts";
import { noReplication } from "../testing/replicas.ts";
import { TopicMeters } from "../topic-meters.ts";
import { ReplicaManager, type ReplicaManagerOptions } from "./replica-manager.ts";

const clock = nodeClock();
const random = nodeRandom();

/**
 * A log that only knows its name; `create` and `delete` are all that the manager asks of a disk.
 */
const logOf = (topicId: TopicId, topic: string, partition: number) =>
  new FakeLog(0, 0, { topicId, topic, partition });

class FakeLogs {
  readonly recovery = { clean: true };
  readonly logs = new Map<string, ReturnType<typeof logOf>>();
  /** Keys that the disk refuses to delete. */
  readonly stuck = new Set<string>();
  creationsFail = false;

  partitions() {
    return this.logs.values();
  }

  async create(topicId: TopicId, topic: string, partition: number) {
    if (this.creationsFail) throw new Error("EMFILE");
    const log = this.logs.get(`${topicId}#${partition}`) ?? logOf(topicId, topic, partition);
    this.logs.set(`${topicId}#${partition}`, log);
    return log;
  }

  async delete(topicId: TopicId, partition: number): Promise<void> {
    await clock.sleep(1);
    if (this.stuck.has(`${topicId}#${partition}`)) throw new Error("EIO");
    this.logs.delete(`${topicId}#${partition}`);
  }

  asManager(): LogManager {
    return this as unknown as LogManager;
  }

  names(): string[] {
    return [...this.logs.values()].map(({ topic, partition }) => `${topic}-${partition}`).sort();
  }
}

/** A store with one broker, as a server leaves it behind. */
const setUp = async (wallMs = () => clock.wallMs()) => {
  const store = new EmbeddedStore({ clock, random });
  const shared = { store, clock, random, logger: silentLogger };
  const controller = new Controller({
    ...{ ...shared, clock: { ...clock, wallMs }, defaultReplicationFactor: 1 },
  });
  await controller.bootstrapCluster();
  const value = encodeRecord.broker(create(BrokerRecordSchema, { brokerId: 0 }));
  await store.txn([], [{ type: "put", key: keys.broker(0), value }]);
  const createTopic = (name: string, partitionCount: number) =>
    controller.createTopic(create(CreateTopicRequestSchema, { name, partitionCount }));
  const deleteTopic = (name: string) =>
    controller.deleteTopic(create(DeleteTopicRequestSchema, { name }));
  return { store, shared, controller, createTopic, deleteTopic };
};

/** A broker's process on that store, settled. */
const boot = async (
  context: TestContext,
  { store, shared, controller }: Awaited<ReturnType<typeof setUp>>,
  logs: FakeLogs,
  replication: ReplicaManagerOptions["replication"] = noReplication,
) => {
  const mirror = new Mirror(shared);
  await mirror.start();
  const view = new ClusterMirror(mirror, silentLogger);
  const errors: { fields: Readonly<Record<string, unknown>>; message: string }[] = [];
  const logger: Logger = {
    ...silentLogger,
    error: (fields, message) => errors.push({ fields, message }),
  };
  const disk = undefined as never;
  const replicas = new ReplicaManager({
    env: { clock, random, logger, disk, compressor: disk },
    logs: logs.asManager(),
    view,
    brokerId: 0,
    deletionDone: (topicId) => controller.deletionDone(topicId, 0),
    removalsDone: (removals) => controller.removalsDone(0, removals),
    replication,
  });
  const settle = async (): Promise<void> => {
    await view.waitForRevision((await store.range({ key: keys.cluster })).revision, 1000);
    await replicas.settle();
  };
  let running = true;
  const stop = async (): Promise<void> => {
    if (!running) return;
    running = false;
    await replicas.close();
    view.close();
    mirror.close();
  };
  context.after(stop);
  await settle();
  return { replicas, errors, settle, stop };
};

test("the oldest topics have labels of metrics, and one that is deleted has none", async (context) => {
  let now = 1000;
  const world = await setUp(() => now);
  for (const name of ["z", "y", "x"]) {
    await world.createTopic(name, 2);
    now += 1;
  }
  const meters = new TopicMeters({ topicsMax: 2, partitionsMax: 0 });
  const labels = () => [...meters.topics()].map(({ topic }) => topic);
  const broker = await boot(context, world, new FakeLogs(), {
    ...noReplication,
    meterOf: (...names) => meters.open(...names),
  });
  assert.deepEqual(labels(), ["z", "y", "other"]);
  await world.createTopic("w", 1);
  await world.deleteTopic("z");
  await broker.settle();
  assert.deepEqual(labels(), ["y", "x", "other"]);
  await broker.stop();
  assert.deepEqual(labels(), ["other"]);
});

test("a deletion that was answered outlives the process: the next start deletes, then forgets it", async (context) => {
  const world = await setUp();
  const logs = new FakeLogs();
  const first = await boot(context, world, logs);
  await world.createTopic("kept", 2);
  await world.createTopic("gone", 3);
  await first.settle();
  assert.deepEqual(logs.names(), ["gone-0", "gone-1", "gone-2", "kept-0", "kept-1"]);
  await first.stop();

  await world.deleteTopic("gone");
  const [record] = (await world.store.range({ prefix: keys.deletions })).kvs;
  assert.ok(record !== undefined);
  const { topic, pendingBrokerIds } = decodeRecord.deletion(record);
  assert.deepEqual([topic?.name, pendingBrokerIds], ["gone", [0]]);

  const second = await boot(context, world, logs);
  assert.deepEqual(logs.names(), ["kept-0", "kept-1"]);
  assert.deepEqual((await world.store.range({ prefix: keys.deletions })).kvs, []);
  assert.deepEqual(second.errors, []);
  await second.stop();
});

test("a partition that no topic and no deletion explains is kept, and named once", async (context) => {
  const world = await setUp();
  const logs = new FakeLogs();
  const id = topicIdOf(random.bytes(16));
  await logs.create(id, "stray", 1);
  await logs.create(id, "stray", 0);
  const { errors, settle, stop } = await boot(context, world, logs);
  await world.createTopic("other", 1);
  await settle();
  assert.deepEqual(logs.names(), ["other-0", "stray-0", "stray-1"]);
  assert.equal(errors.length, 1);
  const { topic, topic_id, partitions } = errors[0]?.fields ?? {};
  assert.deepEqual([topic, topic_id, partitions], ["stray", id, [0, 1]]);
  assert.match(errors[0]?.message ?? "", /are kept: restore the metadata/);
  await stop();
});

test("a record that vanishes from the metadata without a deletion deletes nothing", async (context) => {
  const world = await setUp();
  const logs = new FakeLogs();
  const { replicas, errors, settle, stop } = await boot(context, world, logs);
  const { topicId } = await world.createTopic("t", 1);
  await settle();
  const key = keys.topic("t");
  await world.store.txn([], [{ type: "delete", range: { key } }]);
  await settle();
  assert.deepEqual(logs.names(), ["t-0"]);
  assert.equal(errors.length, 1);
  assert.throws(
    () => replicas.find({ topicId, topic: "", partition: 0 }),
    (thrown) => hasCode(thrown, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION),
  );
  await stop();
});

test("a deletion that the disk refuses is not reported as done, and is repeated at the next start", async (context) => {
  const world = await setUp();
  const logs = new FakeLogs();
  const first = await boot(context, world, logs);
  const { topicId } = await world.createTopic("t", 2);
  await first.settle();
  logs.stuck.add(`${topicIdOf(topicId)}#1`);
  await world.deleteTopic("t");
  await first.settle();
  assert.deepEqual(logs.names(), ["t-1"]);
  assert.match(first.errors[0]?.message ?? "", /cannot be deleted: check the disk, then restart/);
  assert.equal((await world.store.range({ prefix: keys.deletions })).kvs.length, 1);
  await first.stop();
  logs.stuck.clear();
  const second = await boot(context, world, logs);
  assert.deepEqual(logs.names(), []);
  assert.deepEqual((await world.store.range({ prefix: keys.deletions })).kvs, []);
  await second.stop();
});

test("a partition that could not be started is tried again without a change of the metadata", async (context) => {
  const world = await setUp();
  const logs = new FakeLogs();
  const { errors, settle } = await boot(context, world, logs);
  logs.creationsFail = true;
  await world.createTopic("t", 2);
  await settle();
  assert.deepEqual(logs.names(), []);
  logs.creationsFail = false;
  assert.match(errors[0]?.message ?? "", /cannot be started: it is tried again/);
  for (let i = 0; i < 300 && logs.names().length < 2; i += 1) await clock.sleep(10);
  assert.deepEqual(logs.names(), ["t-0", "t-1"]);
});

test("a topic made again under its name keeps its partitions while the old one's go", async (context) => {
  const world = await setUp();
  const logs = new FakeLogs();
  const { settle, stop } = await boot(context, world, logs);
  await world.createTopic("t", 2);
  await settle();
  await world.deleteTopic("t");
  const { topicId } = await world.createTopic("t", 1);
  await settle();
  assert.deepEqual([...logs.logs.keys()], [`${topicIdOf(topicId)}#0`]);
  await stop();
});

test("a deletion of several brokers waits for each of them", async () => {
  const { store, controller } = await setUp();
  const topicId = random.bytes(16);
  const id = topicIdOf(topicId);
  const [kv] = (await store.range({ prefix: keys.brokers })).kvs;
  assert.ok(kv !== undefined);
  const record = { name: "t", topicId, partitionCount: 1, replicationFactor: 2, configs: {} };
  const value = encodeRecord.deletion({
    $typeName: "millrace.storage.v1.DeletionRecord",
    topic: {
      $typeName: "millrace.storage.v1.TopicRecord",
      ...record,
      createdAtMs: 0n,
      minIsrEpoch: 0,
    },
    deletedAtMs: 0n,
    pendingBrokerIds: [0, 1],
  });
  await store.txn([], [{ type: "put", key: keys.deletion(id), value }]);
  await controller.deletionDone(id, 0);
  const [left] = (await store.range({ prefix: keys.deletions })).kvs;
  assert.deepEqual(left && decodeRecord.deletion(left).pendingBrokerIds, [1]);
  await controller.deletionDone(id, 1);
  assert.deepEqual((await store.range({ prefix: keys.deletions })).kvs, []);
  await controller.deletionDone(id, 1);
});
