import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { silentLogger } from "@millrace/env";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import {
  EmbeddedStore,
  encodeRecord,
  keys,
  Mirror,
  type Operation,
  putGeneration,
} from "@millrace/metadata";
import {
  BrokerRecordSchema,
  ControllerRecordSchema,
  PartitionRecordSchema,
  TopicRecordSchema,
} from "@millrace/proto/storage";
import { topicIdOf } from "@millrace/record";
import { ClusterMirror } from "./mirror.ts";
import { RouteHistory } from "./route-history.ts";
import type { ClusterChange } from "./view.ts";

const clock = nodeClock();
const random = nodeRandom();

test("the view knows the generation, and tells when it is another one", async (context) => {
  const store = new EmbeddedStore({ clock, random });
  const write = async (generation: number): Promise<void> => {
    const hex = Buffer.alloc(16, generation).toString("hex");
    const { revision } = await store.txn([], [putGeneration(hex)]);
    await mirror.waitForRevision(revision, 1000);
  };
  const mirror = new Mirror({ store, clock, random, logger: silentLogger });
  await mirror.start();
  const view = new ClusterMirror(mirror, silentLogger);
  context.after(() => {
    view.close();
    mirror.close();
    return store.close();
  });
  assert.equal(view.current.generation.length, 0);
  const changes: ClusterChange[] = [];
  view.onChange((change) => changes.push(change));
  await write(1);
  assert.equal(view.current.generation[0], 1);
  assert.equal(changes.length, 1);
  await write(1);
  assert.equal(changes.length, 1, "the same generation again is no news");
  await write(2);
  assert.equal(view.current.generation[0], 2);
  assert.equal(changes.length, 2);
});

test("a broker whose address nobody can dial is known, without an endpoint", async (context) => {
  const store = new EmbeddedStore({ clock, random });
  for (const [brokerId, clientEndpoint] of ["b:1", "", "nonsense"].entries()) {
    const internalEndpoint = ["nothing", "b:2", ""][brokerId] ?? "";
    const record = { brokerId, clientEndpoint, internalEndpoint };
    const value = encodeRecord.broker(create(BrokerRecordSchema, record));
    await store.txn([], [{ type: "put", key: keys.broker(brokerId), value }]);
  }
  const mirror = new Mirror({ store, clock, random, logger: silentLogger });
  await mirror.start();
  const logged: unknown[] = [];
  const logger = { ...silentLogger, error: (fields: object) => void logged.push(fields) };
  const view = new ClusterMirror(mirror, logger);
  context.after(() => {
    view.close();
    mirror.close();
    return store.close();
  });
  const hosts = [...view.current.brokers.values()].map(({ endpoint }) => endpoint?.host);
  assert.deepEqual(hosts, ["b", undefined, undefined]);
  const internal = [...view.current.brokers.values()].map((one) => one.internalEndpoint?.port);
  assert.deepEqual(internal, [undefined, 2, undefined]);
  assert.deepEqual(logged, [
    { broker: 0, endpoint: "nothing" },
    { broker: 2, endpoint: "nonsense" },
  ]);
  assert.equal(view.current.controller, undefined);
});

test("a change of one partition leaves the views of the others, and the configs, the same objects", async (context) => {
  const store = new EmbeddedStore({ clock, random });
  const id = random.bytes(16);
  const put = async (key: string, value: Uint8Array): Promise<void> => {
    const { revision } = await store.txn([], [{ type: "put", key, value }]);
    await mirror.waitForRevision(revision, 1000);
  };
  const putPartition = (partition: number, leaderEpoch: number): Promise<void> => {
    const record = create(PartitionRecordSchema, { topicId: id, partition, leaderEpoch });
    return put(keys.partition(topicIdOf(id), partition), encodeRecord.partition(record));
  };
  const topic = { topicId: id, name: "t", partitionCount: 3, configs: { "segment.bytes": "4096" } };
  const mirror = new Mirror({ store, clock, random, logger: silentLogger });
  await mirror.start();
  const view = new ClusterMirror(mirror, silentLogger);
  context.after(() => {
    view.close();
    mirror.close();
    return store.close();
  });
  for (const partition of [0, 1, 2]) await putPartition(partition, 1);
  await put(keys.topic("t"), encodeRecord.topic(create(TopicRecordSchema, topic)));
  const before = view.current.topics.get("t");
  await putPartition(1, 2);
  const after = view.current.topics.get("t");
  assert.equal(before?.partitions.length, 3);
  assert.equal(after?.configs, before.configs);
  assert.equal(after.partitions[1]?.modRevision, view.current.revision);
  const same = after.partitions.map((partition, i) => partition === before.partitions[i]);
  assert.deepEqual(same, [true, false, true]);
});

test("what a leader has to name is there: revisions, and epochs of registrations", async (context) => {
  const store = new EmbeddedStore({ clock, random });
  const id = random.bytes(16);
  const mirror = new Mirror({ store, clock, random, logger: silentLogger });
  await mirror.start();
  const view = new ClusterMirror(mirror, silentLogger);
  const history = new RouteHistory(view, 100);
  context.after(() => {
    view.close();
    mirror.close();
    return store.close();
  });
  const put = async (key: string, value: Uint8Array): Promise<number> => {
    const { revision } = await store.txn([], [{ type: "put", key, value }]);
    await mirror.waitForRevision(revision, 1000);
    return revision;
  };
  const register = (internalEndpoint: string): Promise<number> =>
    put(
      keys.broker(4),
      encodeRecord.broker(create(BrokerRecordSchema, { brokerId: 4, internalEndpoint })),
    );
  const epoch = await register("");
  await register("b:7401");
  const broker = view.current.brokers.get(4);
  assert.equal(broker?.epoch, epoch, "new addresses are no new registration");
  assert.equal(broker.internalEndpoint?.port, 7401);
  await store.txn([], [{ type: "delete", range: { key: keys.broker(4) } }]);
  const again = await register("b:7401");
  assert.equal(view.current.brokers.get(4)?.epoch, again);
  const replicas = { replicas: [4, 5], leader: 4, leaderEpoch: 2 };
  const putPartition = (isr: number[]): Promise<number> => {
    const isrBrokerEpochs = isr.map((one) => BigInt(one + 10));
    const fields = { topicId: id, ...replicas, isr, isrBrokerEpochs };
    const value = encodeRecord.partition(create(PartitionRecordSchema, fields));
    return put(keys.partition(topicIdOf(id), 0), value);
  };
  await putPartition([4]);
  const topic = { topicId: id, name: "t", partitionCount: 1 };
  await put(keys.topic("t"), encodeRecord.topic(create(TopicRecordSchema, topic)));
  const position = history.position;
  const modRevision = await putPartition([5, 4]);
  const partition = view.current.topics.get("t")?.partitions[0];
  assert.deepEqual(partition?.isr, [5, 4]);
  assert.deepEqual(partition.isrBrokerEpochs, [15, 14]);
  assert.equal(partition.modRevision, modRevision);
  assert.equal(history.position, position, "clients route by nothing of it");
});

test("a damaged record of a topic leaves the topic as it was, and its partitions go on", async (context) => {
  const store = new EmbeddedStore({ clock, random });
  const lines: unknown[] = [];
  const logger = { ...silentLogger, error: (fields: object) => void lines.push(fields) };
  const mirror = new Mirror({ store, clock, random, logger: silentLogger });
  await mirror.start();
  const view = new ClusterMirror(mirror, logger);
  context.after(() => {
    view.close();
    mirror.close();
    return store.close();
  });
  const put = async (key: string, value: Uint8Array): Promise<void> => {
    const { revision } = await store.txn([], [{ type: "put", key, value }]);
    await mirror.waitForRevision(revision, 1000);
  };
  const topicId = random.bytes(16);
  const lead = (leader: number): Promise<void> => {
    const record = create(PartitionRecordSchema, { topicId, replicas: [1, 2], leader });
    return put(keys.partition(topicIdOf(topicId), 0), encodeRecord.partition(record));
  };
  const leader = () => view.current.topics.get("t")?.partitions[0]?.leader;
  const topic = create(TopicRecordSchema, { topicId, name: "t", partitionCount: 1 });
  await put(keys.topic("t"), encodeRecord.topic(topic));
  await lead(1);
  assert.equal(leader(), 1);
  await put(keys.topic("t"), Buffer.from([255]));
  assert.equal(leader(), 1);
  await lead(2);
  assert.equal(leader(), 2);
  assert.equal(lines.length, 1);
  await put(keys.topic("t"), encodeRecord.topic(topic));
  await lead(1);
  assert.deepEqual([leader(), lines.length], [1, 1]);
});

test("the view knows where the active controller is, while there is one", async (context) => {
  const store = new EmbeddedStore({ clock, random });
  const mirror = new Mirror({ store, clock, random, logger: silentLogger });
  await mirror.start();
  const view = new ClusterMirror(mirror, silentLogger);
  context.after(() => {
    view.close();
    mirror.close();
    return store.close();
  });
  const changes: ClusterChange[] = [];
  view.onChange((change) => changes.push(change));
  const after = async (operation: Operation): Promise<(string | undefined)[]> => {
    const { revision } = await store.txn([], [operation]);
    await mirror.waitForRevision(revision, 1000);
    const { controller, internalController } = view.current;
    return [controller?.host, internalController?.host];
  };
  const { controller: key } = keys;
  const addresses = { clientEndpoint: "[::1]:7400", internalEndpoint: "c:7401" };
  const value = encodeRecord.controller(create(ControllerRecordSchema, addresses));
  assert.deepEqual(await after({ type: "put", key, value }), ["::1", "c"]);
  assert.deepEqual(changes.length, 1);
  assert.deepEqual(await after({ type: "delete", range: { key } }), [undefined, undefined]);
  assert.deepEqual(changes.length, 2);
});
