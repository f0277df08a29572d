/** Brokers and a controller as processes of their own, on simulated machines. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import { decodeRecord, keys } from "@millrace/metadata";
import { BrokerIntent } from "@millrace/proto/common";
import { ProcessCluster, refusal } from "../testing/process-cluster.ts";

test("two brokers and a controller: what is acknowledged is on both, and all stop cleanly", async () => {
  const cluster = new ProcessCluster();
  const controller = await cluster.controller();
  const disks = [cluster.newDisk(), cluster.newDisk()];
  const start = (id: number) =>
    cluster.broker(id, { rack: `rack-${id}`, ...(disks[id - 1] && { disk: disks[id - 1] }) });
  const brokers = await cluster.run(Promise.all([start(1), start(2)]));
  assert.deepEqual(
    brokers.map(({ clusterId }) => clusterId),
    [controller.clusterId, controller.clusterId],
  );
  assert.deepEqual(brokers[0]?.endpoints, {
    ...{ client: "b1:7400", internal: "b1:7401", health: "b1:7402" },
  });
  const { clientEndpoint, internalEndpoint, rack } = (await cluster.registered(1)) ?? assert.fail();
  assert.deepEqual([clientEndpoint, internalEndpoint, rack], ["b1:7400", "b1:7401", "rack-1"]);
  const client = cluster.client();
  // The default is 3, and there are two brokers.
  await cluster.run(client.admin.createTopic({ name: "t", partitions: 2 }));
  const [topic] = (await cluster.run(cluster.store.range({ key: keys.topic("t") }))).kvs;
  assert.equal(topic && decodeRecord.topic(topic).replicationFactor, 2);
  const producer = client.producer();
  for (let i = 0; i < 10; i += 1) {
    await cluster.run(producer.send({ topic: "t", partition: i % 2, value: `v${i}` }));
  }
  const ends = [...cluster.logs.values()].map((logs) =>
    [...logs.partitions()].map(({ logEndOffset }) => logEndOffset),
  );
  assert.deepEqual(ends, [
    [5, 5],
    [5, 5],
  ]);
  await cluster.run(client.close());
  for (const { stop } of [...brokers, controller]) await cluster.run(stop());
  for (const key of [keys.broker(1), keys.broker(2), keys.controller]) {
    assert.equal((await cluster.run(cluster.store.range({ key }))).kvs.length, 0, key);
  }
  assert.deepEqual(cluster.serving, [true, true, false, false]);
  await cluster.controller();
  for (const { recovery } of await cluster.run(Promise.all([start(1), start(2)]))) {
    assert.deepEqual([recovery.clean, recovery.partitions], [true, 2]);
  }
});

test("a broker with another disk is not believed to have what it had", async () => {
  const cluster = new ProcessCluster();
  await cluster.controller();
  const disk = cluster.newDisk();
  const first = await cluster.run(cluster.broker(1, { disk }));
  const idOf = async () => (await cluster.registered(1))?.directoryId.toString() ?? assert.fail();
  const directory = await idOf();
  assert.equal(directory, cluster.logs.get(1)?.directoryId.toString());
  const client = cluster.client();
  await cluster.run(client.admin.createTopic({ name: "t", partitions: 1 }));
  await cluster.run(client.producer().send({ topic: "t", value: "v" }));
  await cluster.run(first.stop());
  const leader = async () => {
    await cluster.pass(1000);
    const [topic] = await cluster.run(client.admin.describeTopics({ names: ["t"] }));
    return topic?.partitions[0]?.leader;
  };
  const emptied = await cluster.run(cluster.broker(1));
  assert.notEqual(await idOf(), directory);
  assert.equal(await leader(), undefined);
  await cluster.run(emptied.stop());
  const second = await cluster.run(cluster.broker(1, { disk }));
  assert.equal(await idOf(), directory);
  assert.equal(await leader(), 1, "the disk is back");
  await cluster.run(second.stop());
  // By command it leads without.
  await cluster.run(cluster.broker(1));
  await cluster.pass(1000);
  const unclean = { leader: 1 };
  const elected = await cluster.run(
    client.admin.electLeader({ topic: "t", partition: 0, unclean }),
  );
  assert.equal(elected.leader, 1);
  await cluster.run(client.producer().send({ topic: "t", value: "w" }));
  assert.equal(
    (await cluster.run(client.admin.listOffset({ topic: "t", partition: 0, at: "latest" })))
      ?.offset,
    1n,
  );
  await cluster.run(client.close());
});

test("a leader whose disk has failed leaves to one that has everything", async () => {
  const cluster = new ProcessCluster();
  await cluster.controller();
  const disks = [cluster.newDisk(), cluster.newDisk()];
  const start = (id: number) => cluster.broker(id, { disk: disks[id - 1] ?? assert.fail() });
  await cluster.run(Promise.all([start(1), start(2)]));
  const client = cluster.client();
  const configs = { "min.insync.replicas": "1" };
  await cluster.run(
    client.admin.createTopic({ name: "t", partitions: 1, replicationFactor: 2, configs }),
  );
  const leader = async () => {
    const [topic] = await cluster.run(client.admin.describeTopics({ names: ["t"] }));
    return topic?.partitions[0]?.leader ?? assert.fail();
  };
  const failing = await leader();
  const producer = client.producer();
  await cluster.run(producer.send({ topic: "t", value: "v" }));
  const disk = disks[failing - 1] ?? assert.fail();
  disk.fault = (operation, path) =>
    operation === "sync" && path.startsWith("journal") ? "EIO" : undefined;
  const beganMs = cluster.kernel.nowMs;
  const sent = await cluster.run(producer.send({ topic: "t", value: "w" }));
  assert.ok(cluster.kernel.nowMs - beganMs < 3000, `${cluster.kernel.nowMs - beganMs} ms`);
  assert.ok(sent.offset >= 1n);
  assert.notEqual(await leader(), failing);
  await cluster.run(client.close());
});

test("after an unclean election the others cut what they had beyond, and are in sync again", async () => {
  const cluster = new ProcessCluster();
  await cluster.controller();
  const disks = [cluster.newDisk(), cluster.newDisk()];
  const start = (id: number) => cluster.broker(id, { disk: disks[id - 1] ?? assert.fail() });
  const [first, second] = [await cluster.run(start(1)), await cluster.run(start(2))];
  const client = cluster.client();
  const configs = { "min.insync.replicas": "1" };
  await cluster.run(
    client.admin.createTopic({ name: "t", partitions: 1, replicationFactor: 2, configs }),
  );
  const describe = async () => {
    const [topic] = await cluster.run(client.admin.describeTopics({ names: ["t"] }));
    return topic?.partitions[0] ?? assert.fail();
  };
  const preferred = (await describe()).leader ?? assert.fail();
  const [alone, other] = preferred === 1 ? [first, second] : [second, first];
  await cluster.run(other.stop());
  const producer = client.producer();
  for (let i = 0; i < 5; i += 1) {
    await cluster.run(producer.send({ topic: "t", value: `v${i}` }));
  }
  await cluster.run(alone.stop());
  // Who stopped first has nothing of it, and was not in sync.
  const behind = preferred === 1 ? 2 : 1;
  await cluster.run(start(behind));
  await cluster.pass(1000);
  assert.equal((await describe()).leader, undefined);
  const unclean = {};
  assert.equal(
    (await cluster.run(client.admin.electLeader({ topic: "t", partition: 0, unclean }))).leader,
    behind,
  );
  await cluster.run(producer.send({ topic: "t", value: "w" }));
  await cluster.run(start(preferred));
  await cluster.pass(5000);
  assert.deepEqual((await describe()).isr.toSorted(), [1, 2]);
  const ends = [...cluster.logs.values()].map((logs) =>
    [...logs.partitions()].map(({ logEndOffset }) => logEndOffset),
  );
  assert.deepEqual(ends, [[1], [1]]);
  await cluster.run(client.close());
});

test("a broker that stops has another one lead first", async () => {
  const cluster = new ProcessCluster();
  const controller = await cluster.controller();
  const disk = cluster.newDisk();
  const [one, two] = await cluster.run(
    Promise.all([cluster.broker(1, { disk }), cluster.broker(2)]),
  );
  const client = cluster.client();
  await cluster.run(client.admin.createTopic({ name: "t", partitions: 4 }));
  const producer = client.producer();
  const sendAll = (round: number) =>
    Promise.all(
      [0, 1, 2, 3].map((partition) =>
        producer.send({ topic: "t", partition, value: `${round}` }).then(() => partition),
      ),
    );
  await cluster.run(sendAll(0));
  const leaders = async (): Promise<(number | undefined)[]> => {
    const { kvs } = await cluster.run(cluster.store.range({ prefix: keys.partitions }));
    return kvs.map((kv) => decodeRecord.partition(kv).leader);
  };
  const assigned = await leaders();
  assert.deepEqual(new Set(assigned), new Set([1, 2]));
  const stopped = one?.stop();
  await cluster.run(sendAll(1));
  await cluster.run(Promise.resolve(stopped));
  assert.deepEqual(await leaders(), [2, 2, 2, 2]);
  const handedOver = cluster.events.indexOf("leaderships are handed over");
  assert.ok(handedOver >= 0 && handedOver < cluster.events.indexOf("serving: false"));
  await cluster.run(sendAll(2));
  const ends = [...(cluster.logs.get(2)?.partitions() ?? [])].map((log) => log.logEndOffset);
  assert.deepEqual(ends, [3, 3, 3, 3]);
  // One that is back does not stop any more: it can lead.
  const back = await cluster.run(cluster.broker(1, { disk }));
  await cluster.pass(5000);
  assert.deepEqual(await leaders(), [2, 2, 2, 2]);
  await cluster.pass(60_000);
  assert.deepEqual(await leaders(), assigned, "leaders are balanced");
  await cluster.run(Promise.resolve(two?.stop()));
  assert.deepEqual(await leaders(), [1, 1, 1, 1]);
  const handOvers = cluster.events.filter((event) => event === "leaderships are handed over");
  assert.equal(handOvers.length, 2);
  await cluster.run(client.close());
  for (const stop of [back.stop, controller.stop]) await cluster.run(stop());
});

test("a broker waits for the record of the cluster, and never makes it", async () => {
  const cluster = new ProcessCluster();
  const started = cluster.broker(1);
  await cluster.pass(60_000);
  assert.equal((await cluster.run(cluster.store.range({ prefix: "" }))).kvs.length, 0);
  assert.deepEqual(cluster.lines, ["waiting for the record of the cluster: a controller makes it"]);
  assert.equal(cluster.waits.at(-1), cluster.lines[0]);
  const { clusterId } = await cluster.controller();
  assert.equal((await cluster.run(started)).clusterId, clusterId);
  assert.deepEqual(cluster.serving, [true]);
});

test("a broker that is stopped while it waits leaves nothing", async () => {
  const cluster = new ProcessCluster();
  const reason = new MillraceError(ErrorCode.CANCELLED, "SIGTERM ended the start");
  const waiting = new AbortController();
  const refused = refusal(cluster.broker(1, { signal: waiting.signal }));
  await cluster.pass(5000);
  waiting.abort(reason);
  assert.equal((await cluster.run(refused)).message, reason.message);
  await cluster.controller();
  await cluster.run(cluster.broker(1));
  // This one waits for the broker with its id.
  const registering = new AbortController();
  const second = { host: "other", signal: registering.signal };
  const cancelled = refusal(cluster.broker(1, second));
  await cluster.pass(5000);
  assert.equal(cluster.waits.at(-1), "registering as broker 1");
  registering.abort(reason);
  assert.equal((await cluster.run(cancelled)).code, ErrorCode.CANCELLED);
  assert.equal((await cluster.registered(1))?.internalEndpoint, "b1:7401");
});

test("a data directory of another broker is refused, and one of another cluster waits for its own", async () => {
  const cluster = new ProcessCluster();
  await cluster.controller();
  const disk = cluster.newDisk();
  const first = await cluster.run(cluster.broker(1, { disk }));
  await cluster.run(first.stop());
  const asAnother = await cluster.run(refusal(cluster.broker(2, { disk })));
  assert.equal(asAnother.code, ErrorCode.DATA_DIRECTORY_UNUSABLE);
  assert.match(asAnother.message, /belongs to broker 1, not 2/);
  const elsewhere = cluster.newStore();
  const { clusterId } = await cluster.controller("c2", elsewhere);
  cluster.lines.length = 0;
  const waiting = cluster.broker(1, { disk, store: elsewhere });
  await cluster.pass(60_000);
  assert.deepEqual(cluster.lines, [`waiting for the metadata of cluster ${first.clusterId}`]);
  const holds = `holds the record of cluster ${clusterId}, not that of cluster ${first.clusterId}`;
  assert.ok(cluster.waits.at(-1)?.includes(holds), `${cluster.waits.at(-1)}`);
  assert.equal((await cluster.run(elsewhere.range({ key: keys.broker(1) }))).kvs.length, 0);
  // The right data is back.
  const { kvs } = await cluster.run(cluster.store.range({ key: keys.cluster }));
  const value = kvs[0]?.value ?? assert.fail("there is no record");
  await cluster.run(elsewhere.txn([], [{ type: "put", key: keys.cluster, value }]));
  assert.equal((await cluster.run(waiting)).clusterId, first.clusterId);
});

test("two brokers with one id: the second one is refused by name", async () => {
  const cluster = new ProcessCluster();
  await cluster.controller();
  await cluster.run(cluster.broker(1));
  const second = await cluster.run(refusal(cluster.broker(1, { host: "other" })));
  assert.ok(hasCode(second, ErrorCode.INVALID_CONFIG));
  assert.equal(
    second.message,
    "another process is broker 1 at b1:7401: stop it, or give this one another id",
  );
  assert.deepEqual(cluster.serving, [true]);
  assert.equal((await cluster.registered(1))?.internalEndpoint, "b1:7401");
});

test("a broker is drained, decommissioned, stops, and does not start again with its disk", async () => {
  const cluster = new ProcessCluster();
  await cluster.controller();
  const disk = cluster.newDisk();
  let isOver = 0;
  const onDecommissioned = (): void => {
    isOver += 1;
  };
  const leaving = await cluster.run(cluster.broker(3, { disk, onDecommissioned }));
  await cluster.run(Promise.all([1, 2].map((id) => cluster.broker(id))));
  const client = cluster.client();
  const { admin } = client;
  await cluster.run(admin.createTopic({ name: "t", partitions: 30, replicationFactor: 2 }));
  const producer = client.producer();
  const send = (value: string) =>
    cluster.run(
      Promise.all(
        Array.from({ length: 30 }, (_, partition) =>
          producer.send({ topic: "t", partition, value }),
        ),
      ),
    );
  await send("before");
  const state = async (brokerId: number) => {
    const brokers = await cluster.run(admin.describeBrokers());
    return brokers.find((one) => one.brokerId === brokerId) ?? assert.fail();
  };
  const logsBefore = cluster.logs.get(3);
  await cluster.pass(2000);
  assert.equal((await state(3)).logCount, 20);
  const decommission = () =>
    admin.setBrokerIntent({ brokerId: 3, intent: BrokerIntent.DECOMMISSIONED });
  const codeOf = async (work: Promise<unknown>) => (await refusal(work)).codeName;
  assert.equal(await cluster.run(codeOf(decommission())), "INVALID_REQUEST");
  await cluster.run(admin.setBrokerIntent({ brokerId: 3, intent: BrokerIntent.DRAINING }));
  assert.equal(await cluster.run(codeOf(decommission())), "REASSIGNMENT_IN_PROGRESS");
  await send("meanwhile");
  for (let i = 0; i < 60 && (await state(3)).replicaCount > 0; i += 1) await cluster.pass(500);
  await cluster.pass(2000);
  const { replicaCount, leaderCount, leftoverCount, logCount, intent } = await state(3);
  assert.deepEqual([replicaCount, leaderCount, leftoverCount, logCount], [0, 0, 0, 0]);
  assert.equal(intent, BrokerIntent.DRAINING);
  assert.deepEqual([...(logsBefore?.partitions() ?? [])], []);
  const [topic] = await cluster.run(admin.describeTopics({ names: ["t"] }));
  for (const { replicas, isr } of topic?.partitions ?? []) {
    assert.deepEqual([replicas.toSorted(), isr.length], [[1, 2], 2]);
  }
  // What comes now goes elsewhere.
  await cluster.run(admin.createTopic({ name: "u", partitions: 3, replicationFactor: 2 }));
  await cluster.pass(2000);
  assert.equal((await state(3)).replicaCount, 0);
  assert.equal(isOver, 0);
  await cluster.run(decommission());
  await cluster.pass(1000);
  assert.equal(isOver, 1);
  await cluster.run(leaving.stop());
  const error = await cluster.run(refusal(cluster.broker(3, { disk })));
  assert.equal(error.codeName, "INVALID_CONFIG");
  assert.match(error.message, /broker 3 was decommissioned with this data directory/);
  // With an empty disk it is another broker, which may get replicas.
  const fresh = await cluster.run(cluster.broker(3));
  assert.equal((await state(3)).intent, BrokerIntent.ACTIVE);
  await cluster.run(fresh.stop());
  await cluster.run(client.close());
});
