/** What the controller does by itself while a broker is in maintenance. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { encodeRecord, keys } from "@millrace/metadata";
import { MaintenanceKind } from "@millrace/proto/common";
import { ElectionType, ElectLeaderRequestSchema } from "@millrace/proto/controller";
import { MaintenanceRecordSchema } from "@millrace/proto/storage";
import { Controller } from "../controller.ts";
import { directoryOf, inTheWay, MaintenanceCluster } from "../testing/maintenance.ts";

const setUp = async () => {
  const cluster = new MaintenanceCluster();
  for (const id of [0, 1, 2, 3]) await cluster.start(id);
  const hooks: (() => Promise<unknown>)[] = [];
  const controller = await cluster.operated(1, ({ txn }) => ({
    txn: async (...args) => {
      const isPartition = args[1].some(
        (one) => one.type === "put" && one.key.startsWith(keys.partitions),
      );
      if (isPartition) await hooks.shift()?.();
      return txn(...args);
    },
  }));
  const only = async () => {
    await cluster.pass(200);
    const [record] = await cluster.partitions();
    assert.ok(record !== undefined);
    return record;
  };
  return { cluster, hooks, only, ...controller };
};

test("a broker in maintenance leads only where nobody else is in sync", async () => {
  const { acquire, cluster, only } = await setUp();
  await cluster.topicWith("t", 1, [{ replicas: [0, 1] }]);
  assert.equal((await only()).leader, 0);
  await cluster.run(acquire({ broker: 0 }));
  const { isr, leader } = await only();
  assert.deepEqual([leader, isr], [1, [0, 1]]);
  await cluster.setIsr("t", 0, [0]);
  assert.equal((await only()).leader, 0);
});

/** From 0, 1 and 2 to 0 and 3. */
const moving = { replicas: [0, 3, 1, 2], isr: [0, 1, 2], adding: [3], removing: [1, 2] };

test("a move does not end where too few would stay beside a broker in maintenance", async () => {
  const { acquire, cluster, only, release } = await setUp();
  await cluster.topicWith("t", 2, [moving]);
  const { lease } = await cluster.run(acquire({ broker: 0 }));
  await cluster.setIsr("t", 0, [0, 3, 1, 2]);
  assert.deepEqual((await only()).isr, [0, 3, 1, 2]);
  assert.equal((await cluster.run(release(0, lease?.token))).released, true);
  assert.deepEqual((await only()).isr, [0, 3]);
});

test("a move that was to end when a lease is granted is decided anew", async () => {
  const { cluster, hooks, only } = await setUp();
  await cluster.topicWith("t", 2, [moving]);
  await only();
  const fields = { brokerId: 0, kind: MaintenanceKind.RESTART, holder: "rival", ttlMs: 60_000 };
  const value = encodeRecord.maintenance(create(MaintenanceRecordSchema, fields));
  hooks.push(async () => {
    await cluster.put({ type: "put", key: keys.maintenanceLease(0), value });
    await cluster.put({ type: "put", key: keys.maintenance, value: new Uint8Array(0) });
  });
  await cluster.setIsr("t", 0, [0, 3, 1, 2]);
  const { adding, isr } = await only();
  assert.deepEqual([hooks.length, adding, isr], [0, [3], [0, 3, 1, 2]]);
});

test("nobody is elected with a directory that was given up, not even uncleanly", async () => {
  const { acquire, cluster, process } = await setUp();
  await cluster.topicWith("t", 1, [{ replicas: [0, 1] }]);
  await cluster.stop(0);
  await cluster.pass(200);
  const disk = { kind: MaintenanceKind.REPLACE_DISK, directory: directoryOf(0) };
  assert.deepEqual(inTheWay(await cluster.run(acquire({ broker: 0, ...disk }))), []);
  await cluster.stop(1);
  await cluster.start(0);
  await cluster.pass(200);
  const { life: _, ...shared } = cluster.process("admin");
  const admin = new Controller({ ...shared, active: process, defaultReplicationFactor: 1 });
  const unclean = { topic: "t", partition: 0, type: ElectionType.UNCLEAN };
  const elect = () => admin.electLeader(create(ElectLeaderRequestSchema, unclean));
  assert.equal(await cluster.codeOf(elect()), "ELIGIBLE_LEADERS_NOT_AVAILABLE");
  await cluster.start(0, { disk: 1 });
  await cluster.pass(200);
  assert.equal(await cluster.codeOf(elect()), "done", "with another one it may be");
});
