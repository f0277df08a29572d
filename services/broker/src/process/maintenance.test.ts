/** Maintenance of brokers under leases, while records are produced, on simulated machines. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { MillraceError } from "@millrace/errors";
import { BrokerIntent, MaintenanceKind } from "@millrace/proto/common";
import { ProcessCluster, refusal } from "../testing/process-cluster.ts";

const { REMOVE, REPLACE_DISK, RESTART } = MaintenanceKind;
const holder = "operator";

/** Brokers 1 to 3, and a topic on all of them with `min.insync.replicas=2`. */
const setUp = async () => {
  const cluster = new ProcessCluster();
  await cluster.controller();
  const disks = new Map([1, 2, 3].map((id) => [id, cluster.newDisk()]));
  const start = (id: number) => cluster.run(cluster.broker(id, { disk: diskOf(id) }));
  const diskOf = (id: number) => disks.get(id) ?? assert.fail();
  const brokers = new Map([[1, await start(1)]]);
  for (const id of [2, 3]) brokers.set(id, await start(id));
  const client = cluster.client();
  const { admin } = client;
  const configs = { "min.insync.replicas": "2" };
  const topic = { name: "t", partitions: 6, replicationFactor: 3, configs };
  await cluster.run(admin.createTopic(topic));
  const producer = client.producer();
  let sent = 0;
  /** One record to each partition, acknowledged. */
  const produce = async () => {
    const all = Array.from({ length: 6 }, (_, partition) =>
      producer.send({ topic: "t", partition, value: `${partition}.${sent}` }),
    );
    sent += 1;
    await cluster.run(Promise.all(all));
  };
  const brokerOf = async (id: number) => {
    const found = await cluster.run(admin.describeBrokers());
    return found.find(({ brokerId }) => brokerId === id) ?? assert.fail(`broker ${id}`);
  };
  /** Asks until nothing is in the way. */
  const acquire = async (id: number, wish: { kind: MaintenanceKind; directoryId?: Uint8Array }) => {
    for (let i = 0; i < 60; i += 1) {
      const { brokerEpoch } = await brokerOf(id);
      const about = wish.kind === RESTART ? { brokerEpoch } : {};
      const asked = admin.acquireMaintenance({ brokerId: id, holder, ...about, ...wish });
      const { lease, mayAct } = await cluster.run(asked);
      if (mayAct && lease !== undefined) return lease.token;
      await cluster.pass(500);
    }
    return assert.fail(`no lease of broker ${id}`);
  };
  const release = async (id: number, token: bigint) => {
    for (let i = 0; i < 60; i += 1) {
      const asked = admin.releaseMaintenance({ brokerId: id, token });
      if ((await cluster.run(asked)).released) return;
      await produce();
      await cluster.pass(500);
    }
    assert.fail(`the lease of broker ${id} is not released`);
  };
  const stop = async (id: number) => {
    await cluster.run(brokers.get(id)?.stop() ?? Promise.resolve());
  };
  /** Whatever was acknowledged is on every replica that is in sync. */
  const checkLogs = async () => {
    await cluster.pass(2000);
    const [described] = await cluster.run(admin.describeTopics({ names: ["t"] }));
    for (const { isr, partition } of described?.partitions ?? []) {
      for (const id of isr) {
        const logs = [...(cluster.logs.get(id)?.partitions() ?? [])];
        const log = logs.find((one) => one.partition === partition);
        assert.ok(Number(log?.logEndOffset) >= sent, `${partition} on broker ${id}`);
      }
    }
  };
  return {
    cluster,
    client,
    admin,
    disks,
    diskOf,
    start,
    brokers,
    produce,
    brokerOf,
    acquire,
    release,
    stop,
    checkLogs,
  };
};

test("brokers are restarted one after the other, and every record is acknowledged", async () => {
  const { acquire, brokerOf, brokers, checkLogs, produce, release, start, stop } = await setUp();
  for (const id of [1, 2, 3]) {
    const token = await acquire(id, { kind: RESTART });
    await produce();
    await stop(id);
    await produce();
    brokers.set(id, await start(id));
    await produce();
    await release(id, token);
    assert.equal((await brokerOf(id)).maintenance, undefined);
  }
  await checkLogs();
});

test("a disk is replaced under a lease, and the old one is refused from then on", async () => {
  const { acquire, brokerOf, checkLogs, cluster, diskOf, disks, produce, release, start, stop } =
    await setUp();
  await produce();
  const { directoryId } = await brokerOf(3);
  await acquire(3, { kind: RESTART });
  await stop(3);
  await produce();
  const token = await acquire(3, { kind: REPLACE_DISK, directoryId });
  const old = await cluster.run(refusal(cluster.broker(3, { disk: diskOf(3) })));
  assert.equal(old.codeName, "INVALID_CONFIG");
  assert.match(old.message, /or the directory was given up for maintenance/);
  disks.set(3, cluster.newDisk());
  await start(3);
  await release(3, token);
  await checkLogs();
  assert.notDeepEqual((await brokerOf(3)).directoryId, directoryId);
});

test("a broker is removed once it is empty, and not before", async () => {
  const { admin, acquire, brokerOf, brokers, cluster, produce, release } = await setUp();
  await cluster.run(cluster.broker(4));
  await produce();
  const { directoryId } = await brokerOf(1);
  const wish = { brokerId: 1, kind: REMOVE, holder, directoryId };
  const { blockerCount, mayAct } = await cluster.run(admin.acquireMaintenance(wish));
  assert.deepEqual(
    [mayAct, blockerCount],
    [false, 7],
    "it is not decommissioned, and has replicas",
  );
  await cluster.run(admin.setBrokerIntent({ brokerId: 1, intent: BrokerIntent.DRAINING }));
  for (let i = 0; i < 60 && (await brokerOf(1)).replicaCount > 0; i += 1) await cluster.pass(500);
  await cluster.pass(2000);
  const decommission = { brokerId: 1, intent: BrokerIntent.DECOMMISSIONED };
  await cluster.run(admin.setBrokerIntent(decommission));
  const token = await acquire(1, { kind: REMOVE, directoryId });
  await cluster.run(brokers.get(1)?.stop() ?? Promise.resolve());
  await release(1, token);
  await produce();
  const again = admin.releaseMaintenance({ brokerId: 1, token });
  const thrown = await cluster.run(again.catch((error: unknown) => error));
  assert.equal(MillraceError.from(thrown).codeName, "MAINTENANCE_LEASE_LOST");
});
