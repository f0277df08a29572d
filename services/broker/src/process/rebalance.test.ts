/** Rebalances of brokers and controllers as processes of their own, on simulated machines. */
import assert from "node:assert/strict";
import { test } from "node:test";
import type { Client } from "@millrace/client/core";
import { BrokerIntent, RebalanceState } from "@millrace/proto/common";
import { ProcessCluster, refusal } from "../testing/process-cluster.ts";

const partitions = 12;

/** Two brokers with all replicas, and a third one that has none. */
const setUp = async () => {
  const cluster = new ProcessCluster();
  const controller = await cluster.controller();
  await cluster.run(Promise.all([1, 2].map((id) => cluster.broker(id))));
  const client = cluster.client();
  const { admin } = client;
  const configs = { "min.insync.replicas": "2" };
  await cluster.run(admin.createTopic({ name: "t", partitions, replicationFactor: 2, configs }));
  const producer = client.producer();
  const send = (value: string) =>
    cluster.run(
      Promise.all(
        Array.from({ length: partitions }, (_, partition) =>
          producer.send({ topic: "t", partition, value }),
        ),
      ),
    );
  await send("before".repeat(100));
  await cluster.run(cluster.broker(3));
  await cluster.pass(1000);
  return { admin, client, cluster, controller, send };
};

const countsOf = async (cluster: ProcessCluster, { admin }: Client): Promise<number[]> => {
  const [topic] = await cluster.run(admin.describeTopics({ names: ["t"] }));
  return [1, 2, 3].map(
    (id) => (topic?.partitions ?? []).filter(({ replicas }) => replicas.includes(id)).length,
  );
};

const stateOf = async (cluster: ProcessCluster, { admin }: Client) => {
  const { rebalance, ...rest } = await cluster.run(admin.rebalances.describe());
  return { ...(rebalance ?? assert.fail()), ...rest };
};

const untilOver = async (cluster: ProcessCluster, client: Client) => {
  for (let i = 0; i < 120; i += 1) {
    const rebalance = await stateOf(cluster, client);
    if (rebalance.endedAtMs > 0n) return rebalance;
    await cluster.pass(500);
  }
  return assert.fail("the rebalance does not end");
};

test("a new broker gets its share, by a plan that was shown before", async () => {
  const { admin, client, cluster, send } = await setUp();
  const { moves, rebalance } = await cluster.run(admin.rebalances.plan());
  assert.ok(rebalance !== undefined);
  assert.deepEqual(
    rebalance.after.map(({ replicas, leaders }) => [replicas, leaders]),
    [
      [8, 4],
      [8, 4],
      [8, 4],
    ],
  );
  assert.equal(rebalance.copyCount, 8);
  assert.ok(moves.every(({ bytes }) => bytes >= 600n));
  assert.equal(
    rebalance.copyBytes,
    moves.reduce(
      (sum, { bytes, from, to }) =>
        sum + bytes * BigInt(to.filter((id) => !from.includes(id)).length),
      0n,
    ),
  );
  assert.deepEqual(await countsOf(cluster, client), [12, 12, 0], "a plan moves nothing");
  await cluster.run(admin.rebalances.start());
  await send("meanwhile");
  const ended = await untilOver(cluster, client);
  assert.equal(ended.state, RebalanceState.COMPLETED);
  assert.deepEqual([ended.doneCount, ended.skippedCount], [moves.length, 0]);
  assert.equal(ended.copiedBytes, ended.copyBytes);
  assert.deepEqual(await countsOf(cluster, client), [8, 8, 8]);
  await send("after");
  // The logs of removed replicas go.
  await cluster.pass(5000);
  assert.deepEqual(
    [...cluster.logs.values()].map((logs) => [...logs.partitions()].length),
    [8, 8, 8],
  );
  const again = await cluster.run(admin.rebalances.plan());
  assert.deepEqual([again.moves, again.rebalance?.rebalanceId], [[], 0]);
});

test("the next controller goes on where one was killed, and nothing is moved twice", async () => {
  const { admin, client, cluster, controller } = await setUp();
  await cluster.controller("c2");
  await cluster.run(admin.rebalances.plan({ movesPerBroker: 1 }));
  await cluster.run(admin.rebalances.start());
  for (let i = 0; i < 50 && (await stateOf(cluster, client)).doneCount === 0; i += 1) {
    await cluster.pass(50);
  }
  const before = await stateOf(cluster, client);
  assert.ok(before.doneCount > 0 && before.pendingCount > 0, `${before.doneCount} made`);
  await cluster.run(controller.stop());
  const ended = await untilOver(cluster, client);
  assert.equal(ended.state, RebalanceState.COMPLETED);
  assert.deepEqual([ended.doneCount, ended.skippedCount], [ended.moveCount, 0]);
  assert.deepEqual(await countsOf(cluster, client), [8, 8, 8]);
});

test("a rebalance is paused, goes on, and is aborted", async () => {
  const { admin, client, cluster } = await setUp();
  const none = async (work: Promise<unknown>) => (await cluster.run(refusal(work))).codeName;
  assert.equal(await none(admin.rebalances.pause()), "NO_REASSIGNMENT_IN_PROGRESS");
  assert.equal(await none(admin.rebalances.start()), "INVALID_REQUEST");
  await cluster.run(admin.rebalances.plan({ movesPerBroker: 1 }));
  const { rebalanceId } = await cluster.run(admin.rebalances.start());
  assert.equal((await cluster.run(admin.rebalances.start())).rebalanceId, rebalanceId);
  await cluster.run(admin.rebalances.pause());
  await cluster.pass(10_000);
  const paused = await stateOf(cluster, client);
  assert.deepEqual([paused.state, paused.ongoingCount], [RebalanceState.PAUSED, 0]);
  assert.ok(paused.pendingCount > 0);
  await cluster.run(admin.rebalances.plan());
  assert.equal(await none(admin.rebalances.start()), "REASSIGNMENT_IN_PROGRESS");
  await cluster.run(admin.rebalances.resume({ rebalanceId }));
  const aborted = await cluster.run(admin.rebalances.abort({ rebalanceId }));
  assert.equal(aborted.state, RebalanceState.ABORTING);
  for (let i = 0; i < 20; i += 1) await cluster.pass(500);
  const ended = (await cluster.run(admin.rebalances.describe({ rebalanceId }))).rebalance;
  assert.equal(ended?.state, RebalanceState.ABORTED);
  const [topic] = await cluster.run(admin.describeTopics({ names: ["t"] }));
  assert.ok(
    topic?.partitions.every(({ adding, replicas }) => adding.length === 0 && replicas.length === 2),
  );
});

test("moves to a broker that was cordoned meanwhile are skipped, with the reason", async () => {
  const { admin, client, cluster } = await setUp();
  await cluster.run(admin.rebalances.plan());
  await cluster.run(admin.setBrokerIntent({ brokerId: 3, intent: BrokerIntent.CORDONED }));
  await cluster.run(admin.rebalances.start());
  const ended = await untilOver(cluster, client);
  assert.equal(ended.state, RebalanceState.COMPLETED);
  assert.equal(ended.skipped[0]?.why, "broker 3 is cordoned, and gets none");
  assert.deepEqual(await countsOf(cluster, client), [12, 12, 0]);
});
