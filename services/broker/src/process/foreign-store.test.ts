/** A metadata store that is wiped, or another cluster's, under a cluster that runs. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode } from "@millrace/errors";
import { decodeRecord, type EmbeddedStore, keys } from "@millrace/metadata";
import { wiped } from "@millrace/metadata/testing";
import { ProcessCluster, refusal } from "../testing/process-cluster.ts";

/** Two brokers, two controllers, and a topic with two replicas of each partition. */
const setUp = async () => {
  const cluster = new ProcessCluster();
  const { clusterId } = await cluster.controller("c1");
  await cluster.controller("c2", cluster.steered.store, { controllerId: 1 });
  const disks = [cluster.newDisk(), cluster.newDisk()];
  const start = (id: number) => cluster.broker(id, { disk: disks[id - 1] ?? assert.fail() });
  const brokers = await cluster.run(Promise.all([start(1), start(2)]));
  const client = cluster.client();
  const configs = { "min.insync.replicas": "2" };
  await cluster.run(
    client.admin.createTopic({ name: "t", partitions: 2, replicationFactor: 2, configs }),
  );
  const producer = client.producer();
  let sent = 0;
  const send = async (): Promise<void> => {
    for (let i = 0; i < 2; i += 1, sent += 1) {
      await cluster.run(producer.send({ topic: "t", partition: i, value: `v${sent}` }));
    }
  };
  await send();
  const ends = () =>
    [...cluster.logs.values()].flatMap((logs) =>
      [...logs.partitions()].map(({ logEndOffset }) => logEndOffset),
    );
  const epochs = async () => {
    const { kvs } = await cluster.run(cluster.store.range({ prefix: keys.partitions }));
    return kvs.map((kv) => decodeRecord.partition(kv)).map((one) => [one.leader, one.leaderEpoch]);
  };
  const registrations = async () => {
    const { kvs } = await cluster.run(cluster.store.range({ prefix: keys.brokers }));
    return kvs.map(({ createRevision, key }) => [key, createRevision]);
  };
  return { cluster, clusterId, client, brokers, disks, start, send, ends, epochs, registrations };
};

const everything = async (cluster: ProcessCluster, store: EmbeddedStore) =>
  (await cluster.run(store.range({ prefix: "" }))).kvs;

const refused = (lines: readonly string[] | undefined): string[] =>
  (lines ?? []).filter((line) => line.startsWith("the metadata store holds "));

test("an empty store is one that is down: clients notice nothing, and nobody writes to it", async () => {
  const { cluster, client, send, ends, epochs, registrations } = await setUp();
  await cluster.pass(2000);
  const before = [await epochs(), await registrations()];
  const empty = cluster.newStore();
  cluster.lines.length = 0;
  cluster.linesOf.clear();
  cluster.steered.replace(empty);
  for (let i = 0; i < 7; i += 1) {
    await send();
    await cluster.pass(1000);
  }
  assert.deepEqual(ends(), [8, 8, 8, 8]);
  assert.equal(
    (await cluster.run(client.admin.listOffset({ topic: "t", partition: 0, at: "latest" })))
      ?.offset,
    8n,
  );
  assert.deepEqual(await everything(cluster, empty), []);
  for (const host of ["c1", "c2", "b1", "b2"]) {
    assert.equal(refused(cluster.linesOf.get(host)).length, 1, `${cluster.linesOf.get(host)}`);
  }
  cluster.steered.replace(cluster.store);
  await cluster.pass(10_000);
  await send();
  assert.deepEqual([await epochs(), await registrations()], before, "no leader has changed");
  assert.ok(cluster.events.includes("the metadata store holds this cluster's record again"));
  assert.deepEqual(
    cluster.lines.filter((line) => line.includes("restored")),
    [],
  );
  await cluster.run(client.admin.createTopic({ name: "u", partitions: 1 }));
  await cluster.run(client.close());
});

test("a cluster that begins in an empty store is another one: nobody joins it, for as long as it takes", async () => {
  const { cluster, clusterId, brokers, client, disks, send, ends } = await setUp();
  const empty = cluster.newStore();
  cluster.steered.replace(empty);
  // A controller that remembers nothing.
  const other = await cluster.controller("c3", cluster.steered.store, { controllerId: 2 });
  assert.notEqual(other.clusterId, clusterId);
  for (let i = 0; i < 20; i += 1) {
    await send();
    await cluster.pass(3000);
  }
  assert.deepEqual(ends(), [21, 21, 21, 21]);
  const found = (await everything(cluster, empty)).map(({ key }) => key);
  assert.deepEqual(
    found.filter((key) => !key.startsWith(keys.tokens)),
    [keys.cluster, keys.controller, keys.generation],
  );
  const [kv] = (await cluster.run(empty.range({ key: keys.controller }))).kvs;
  assert.equal(kv && decodeRecord.controller(kv).controllerId, 2);
  // A broker that restarts waits for its own cluster, and keeps what it has.
  await cluster.run(brokers[0]?.stop() ?? assert.fail());
  const again = cluster.broker(1, { disk: disks[0] ?? assert.fail(), host: "b1again" });
  await cluster.pass(20_000);
  const holds = `holds the record of cluster ${other.clusterId}, not that of cluster ${clusterId}`;
  assert.ok(cluster.waits.at(-1)?.includes(holds), `${cluster.waits.at(-1)}`);
  assert.deepEqual(cluster.linesOf.get("b1again"), [
    `waiting for the metadata of cluster ${clusterId}`,
  ]);
  cluster.steered.replace(cluster.store);
  assert.equal((await cluster.run(again)).clusterId, clusterId);
  await cluster.pass(20_000);
  await send();
  assert.deepEqual(ends(), [22, 22, 22, 22]);
  await cluster.run(client.close());
});

test("a store whose keys are deleted under the cluster is written by nobody", async () => {
  const { cluster, client, send } = await setUp();
  await cluster.run(cluster.store.txn([], [wiped]));
  for (let i = 0; i < 10; i += 1) {
    await send();
    await cluster.pass(3000);
  }
  assert.deepEqual(await everything(cluster, cluster.store), []);
  await cluster.run(client.close());
});

test("a controller that is told its cluster makes no other one, and waits", async () => {
  const cluster = new ProcessCluster();
  const started = cluster.controller("c1", cluster.store, { wantedClusterId: "ours" });
  await cluster.pass(60_000);
  assert.deepEqual(await everything(cluster, cluster.store), []);
  assert.deepEqual(cluster.linesOf.get("c1"), ["waiting for the metadata store"]);
  const other = await cluster.controller("c2", cluster.store, { newClusterId: "ours" });
  assert.equal((await started).clusterId, other.clusterId);
});

test("a controller makes no cluster in what is left of one", async () => {
  const cluster = new ProcessCluster();
  await cluster.run(
    cluster.store.txn([], [{ type: "put", key: keys.topic("t"), value: Buffer.from("x") }]),
  );
  const started = cluster.controller("c1");
  await cluster.pass(60_000);
  assert.deepEqual(
    (await everything(cluster, cluster.store)).map(({ key }) => key),
    [keys.topic("t")],
  );
  await cluster.run(cluster.store.txn([], [wiped]));
  assert.notEqual((await started).clusterId, "");
});

test("a broker that is told another cluster than its disk's refuses it", async () => {
  const { cluster, brokers, disks } = await setUp();
  await cluster.run(brokers[0]?.stop() ?? assert.fail());
  const elsewhere = cluster.newStore();
  const { clusterId } = await cluster.controller("c9", elsewhere);
  const wanted = { disk: disks[0] ?? assert.fail(), store: elsewhere, wantedClusterId: clusterId };
  const error = await cluster.run(refusal(cluster.broker(1, wanted)));
  assert.ok(hasCode(error, ErrorCode.DATA_DIRECTORY_UNUSABLE), error.message);
});
