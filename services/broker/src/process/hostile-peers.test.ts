/** Bad values in the metadata, and calls at the wrong door. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { createClient } from "@millrace/client/core";
import { silentLogger } from "@millrace/env";
import { ErrorCode, hasCode } from "@millrace/errors";
import { encodeRecord, keys, type Operation } from "@millrace/metadata";
import { ProduceRequestSchema, ProduceService } from "@millrace/proto/broker";
import { GetMetadataRequestSchema, MetadataService } from "@millrace/proto/metadata";
import { ClusterRecordSchema } from "@millrace/proto/storage";
import { syncCompressor } from "@millrace/record/node";
import { methodOf } from "@millrace/rpc";
import { Incarnation } from "@millrace/sim";
import { ProcessCluster, refusal } from "../testing/process-cluster.ts";

const setUp = async () => {
  const cluster = new ProcessCluster();
  const controller = await cluster.controller();
  const disks = [cluster.newDisk(), cluster.newDisk()];
  const start = (id: number) => cluster.broker(id, { disk: disks[id - 1] ?? assert.fail() });
  const brokers = await cluster.run(Promise.all([start(1), start(2)]));
  const client = cluster.client();
  const shape = { partitions: 2, replicationFactor: 2 };
  await cluster.run(client.admin.createTopic({ name: "t", ...shape }));
  const producer = client.producer();
  const send = (topic: string, value: string) =>
    cluster.run(Promise.all([0, 1].map((partition) => producer.send({ topic, partition, value }))));
  await send("t", "before");
  const ends = () =>
    [...cluster.logs.values()].map((logs) =>
      [...logs.partitions()].map(({ logEndOffset }) => logEndOffset),
    );
  return { cluster, controller, brokers, start, client, shape, send, ends };
};

test("a client on the internal port is refused with one error, and nothing is stored", async () => {
  const { cluster, client, send, ends } = await setUp();
  const life = new Incarnation(cluster.kernel, "stranger");
  const { dialer } = cluster.network.attach("stranger", life);
  const channel = dialer.dial("b1:7401");
  const get = methodOf(MetadataService.method.getMetadata);
  const asked = await cluster.run(
    refusal(channel.unary(get, create(GetMetadataRequestSchema, { topics: ["t"] }))),
  );
  assert.ok(hasCode(asked, ErrorCode.UNSUPPORTED_OPERATION), asked.message);
  const stream = channel.bidi(methodOf(ProduceService.method.produce));
  stream.write(create(ProduceRequestSchema, {}));
  const produced = await cluster.run(refusal(stream.read()));
  assert.ok(hasCode(produced, ErrorCode.UNSUPPORTED_OPERATION), produced.message);
  // A client that is configured so is told, in its own time, and stores nothing.
  const lost = createClient({
    dialer,
    env: {
      ...{ clock: life.clock(), random: cluster.kernel.random },
      ...{ compressor: syncCompressor, logger: silentLogger },
    },
    bootstrap: ["b1:7401"],
  });
  const told = await cluster.run(refusal(lost.producer().send({ topic: "t", value: "x" })));
  assert.match(told.message, /UNSUPPORTED_OPERATION|unsupported|service/i);
  await cluster.run(lost.close());
  await send("t", "after");
  assert.deepEqual(ends(), [
    [2, 2],
    [2, 2],
  ]);
  await cluster.run(client.close());
});

const garbage = (key: string): Operation => ({
  ...{ type: "put", key, value: Buffer.from([255, 255, 1]) },
});

test("damaged values are refused with one line each, and what was known stays", async () => {
  const { cluster, client, brokers, start, shape, send, ends } = await setUp();
  const [topic] = (await cluster.run(cluster.store.range({ key: keys.topic("t") }))).kvs;
  const [partition] = (await cluster.run(cluster.store.range({ prefix: keys.partitions }))).kvs;
  assert.ok(topic !== undefined && partition !== undefined);
  const damaged = [
    ...[keys.topic("t"), keys.topic("other"), partition.key, keys.brokerIntent(1)],
    ...[keys.deletion("00".repeat(16)), keys.brokerIntent(2)],
  ];
  cluster.linesOf.clear();
  for (const key of damaged) await cluster.run(cluster.store.txn([], [garbage(key)]));
  await cluster.pass(2000);
  const refused = (host: string): string[] =>
    (cluster.linesOf.get(host) ?? []).filter((line) => line === "a metadata value is refused");
  // The topic, another one, the partition, the deletion; the intent of the broker itself.
  assert.deepEqual([refused("b1").length, refused("b2").length], [5, 5]);
  assert.equal(refused("c").length, damaged.length);
  await send("t", "meanwhile");
  // Nobody is given replicas while an intent may say that he is to have none.
  const refusedTopic = client.admin.createTopic({ name: "u", ...shape });
  assert.match(
    (await cluster.run(refusal(refusedTopic))).message,
    /key broker-intents\/1: the value is not/,
  );
  const intents = [1, 2].map(
    (id): Operation => ({ type: "delete", range: { key: keys.brokerIntent(id) } }),
  );
  await cluster.run(cluster.store.txn([], intents));
  // The others go on: they are made, served, and followed.
  await cluster.run(client.admin.createTopic({ name: "u", ...shape }));
  await send("u", "new");
  assert.deepEqual(ends(), [
    [2, 2, 1, 1],
    [2, 2, 1, 1],
  ]);
  assert.deepEqual([refused("b1").length, refused("b2").length], [5, 5]);
  // A broker that starts now serves the rest, and keeps the log that it cannot judge.
  await cluster.run(brokers[1]?.stop() ?? assert.fail());
  await cluster.run(start(2));
  const kept = [...(cluster.logs.get(2)?.partitions() ?? [])];
  assert.equal(kept.length, 4);
  assert.deepEqual(kept.filter(({ config }) => !config.retentionEnabled).length, 2);
  // What is put right is believed.
  const restore = [topic, partition].map(
    ({ key, value }): Operation => ({ type: "put", key, value }),
  );
  await cluster.run(cluster.store.txn([], restore));
  await cluster.pass(5000);
  await send("t", "right");
  await cluster.run(client.close());
});

test("metadata of a newer version ends a start, whether the cluster is known or not", async () => {
  const { cluster, controller, brokers, start } = await setUp();
  await cluster.run(brokers[0]?.stop() ?? assert.fail());
  const record = { clusterId: controller.clusterId, formatVersion: 99, featureLevel: 1 };
  const value = encodeRecord.cluster(create(ClusterRecordSchema, record));
  await cluster.run(cluster.store.txn([], [{ type: "put", key: keys.cluster, value }]));
  const { revision } = await cluster.run(cluster.store.range({ key: keys.broker(1) }));
  for (const begin of [() => start(1), () => cluster.broker(3)]) {
    const error = await cluster.run(refusal(begin()));
    assert.ok(hasCode(error, ErrorCode.DATA_DIRECTORY_UNUSABLE), error.message);
    assert.match(error.message, /format 99, this version reads up to 1: use a newer version/);
  }
  const { kvs } = await cluster.run(cluster.store.range({ prefix: keys.brokers }));
  assert.ok(revision > 0 && kvs.every(({ key }) => key === keys.broker(2)));
});
