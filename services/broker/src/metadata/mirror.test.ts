import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { silentLogger } from "@millrace/env";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import { EmbeddedStore, encodeRecord, keys, Mirror, putGeneration } from "@millrace/metadata";
import {
  BrokerRecordSchema,
  PartitionRecordSchema,
  TopicRecordSchema,
} from "@millrace/proto/storage";
import { topicIdOf } from "@millrace/record";
import { ClusterMirror } from "./mirror.ts";
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
  const view = new ClusterMirror(mirror, silentLogger, () => "[::1]:7400");
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
  assert.equal(view.current.controller?.host, "::1");
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
    const value = encodeRecord.broker(create(BrokerRecordSchema, { brokerId, clientEndpoint }));
    await store.txn([], [{ type: "put", key: keys.broker(brokerId), value }]);
  }
  const mirror = new Mirror({ store, clock, random, logger: silentLogger });
  await mirror.start();
  const logged: unknown[] = [];
  const logger = { ...silentLogger, error: (fields: object) => void logged.push(fields) };
  const view = new ClusterMirror(mirror, logger, () => "");
  context.after(() => {
    view.close();
    mirror.close();
    return store.close();
  });
  const hosts = [...view.current.brokers.values()].map(({ endpoint }) => endpoint?.host);
  assert.deepEqual(hosts, ["b", undefined, undefined]);
  assert.deepEqual(logged, [{ broker: 2, endpoint: "nonsense" }]);
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
  const view = new ClusterMirror(mirror, silentLogger, () => "");
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
  const same = after.partitions.map((partition, i) => partition === before.partitions[i]);
  assert.deepEqual(same, [true, false, true]);
});
