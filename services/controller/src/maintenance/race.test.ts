/** What changes between the judgement and the grant of a lease: the grant is judged anew. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { encodeRecord, keys } from "@millrace/metadata";
import { BrokerIntent, MaintenanceKind } from "@millrace/proto/common";
import { MaintenanceRecordSchema } from "@millrace/proto/storage";
import { type Asked, directoryOf, inTheWay, MaintenanceCluster } from "../testing/maintenance.ts";

const { DRAIN, REMOVE, REPLACE_DISK, RESTART } = MaintenanceKind;
const { ACTIVE, CORDONED, DECOMMISSIONED } = BrokerIntent;

/**
 * Brokers 0 to 3, and a partition on 0, 1 and 2. `meanwhile` happens once, before a transaction of
 * a lease reaches the store.
 */
const racing = async () => {
  const cluster = new MaintenanceCluster();
  for (const id of [0, 1, 2, 3]) await cluster.start(id);
  await cluster.topicWith("t", 2, [{ replicas: [0, 1, 2] }]);
  await cluster.topicWith("v", 1, [{ replicas: [3, 1] }]);
  const hooks: (() => Promise<unknown>)[] = [];
  const { acquire, renew } = await cluster.operated(1, ({ txn }) => ({
    txn: async (...args) => {
      const [, operations] = args;
      const isLease = operations.some(
        (one) => one.type === "put" && one.key.startsWith(keys.maintenanceLeases),
      );
      if (isLease) await hooks.shift()?.();
      return txn(...args);
    },
  }));
  const ask = async (asked: Asked, ...meanwhile: readonly (() => Promise<unknown>)[]) => {
    hooks.push(...meanwhile);
    const answer = acquire(asked).then(inTheWay, (thrown: { codeName: string }) => thrown.codeName);
    return cluster.run(answer);
  };
  const renewed = async (broker: number, token: bigint, meanwhile: () => Promise<unknown>) => {
    hooks.push(meanwhile);
    return inTheWay(await cluster.run(renew(broker, token)));
  };
  const lease = (brokerId: number, kind = RESTART) => {
    const fields = { brokerId, kind, holder: "rival", ttlMs: 60_000 };
    const value = encodeRecord.maintenance(create(MaintenanceRecordSchema, fields));
    return cluster.put({ type: "put", key: keys.maintenanceLease(brokerId), value });
  };
  return { cluster, acquire, ask, lease, renewed };
};

test("a replica leaves the ISR", async () => {
  const { cluster, acquire, ask, renewed } = await racing();
  const shrink = () => cluster.setIsr("t", 0, [0, 1]);
  assert.deepEqual(await ask({ broker: 0 }, shrink), ["UNDER_MIN_ISR t/0"]);
  await cluster.setIsr("t", 0, [0, 1, 2]);
  const { lease } = await cluster.run(acquire({ broker: 0 }));
  assert.deepEqual(await renewed(0, lease?.token ?? 0n, shrink), ["UNDER_MIN_ISR t/0"]);
});

test("a partition is made that counts on the broker", async () => {
  const { cluster, ask } = await racing();
  const made = () => cluster.topicWith("u", 1, [{ replicas: [0] }]);
  assert.deepEqual(await ask({ broker: 0 }, made), ["UNDER_MIN_ISR u/0"]);
});

test("a topic asks for more replicas in sync", async () => {
  const { cluster, ask } = await racing();
  assert.deepEqual(await ask({ broker: 0 }, () => cluster.topicRecord("t", 3, 1)), [
    "UNDER_MIN_ISR t/0",
  ]);
});

test("another broker gets a lease", async () => {
  const { ask, lease } = await racing();
  assert.deepEqual(await ask({ broker: 3 }, () => lease(0)), ["OTHER_BROKER 0"]);
});

test("somebody else gets the lease of the broker", async () => {
  const { ask, lease } = await racing();
  assert.deepEqual(await ask({ broker: 3 }, () => lease(3, DRAIN)), ["HELD 3"]);
});

test("the broker registers anew", async () => {
  const { cluster, ask } = await racing();
  assert.equal(await ask({ broker: 3 }, () => cluster.start(3)), "STALE_BROKER_EPOCH");
  await cluster.stop(3);
  const disk = { kind: REPLACE_DISK, directory: directoryOf(3) };
  assert.deepEqual(await ask({ broker: 3, ...disk }, () => cluster.start(3)), ["REGISTERED 3"]);
});

test("another intent is recorded", async () => {
  const { cluster, ask } = await racing();
  await cluster.start(4);
  await cluster.intend(4, DECOMMISSIONED);
  const remove = { broker: 4, kind: REMOVE, directory: directoryOf(4) };
  assert.deepEqual(await ask(remove, () => cluster.intend(4, ACTIVE)), ["NOT_DECOMMISSIONED 4"]);
  await cluster.intend(4, DECOMMISSIONED);
  const cordon = () => cluster.intend(2, CORDONED);
  assert.deepEqual(await ask({ broker: 0, kind: DRAIN }, cordon), ["IMMOVABLE t/0"]);
});

test("what keeps changing is told after ten attempts, and nothing was changed", async () => {
  const { cluster, ask } = await racing();
  const flap = () => cluster.setIsr("t", 0, [0, 1, 2]);
  assert.equal(await ask({ broker: 3 }, ...Array.from({ length: 10 }, () => flap)), "UNAVAILABLE");
  assert.equal(await cluster.get(keys.maintenanceLease(3)), undefined);
  assert.deepEqual(await ask({ broker: 3 }, ...Array.from({ length: 9 }, () => flap)), []);
});
