/** Maintenance leases: who gets one, what is in the way, and when one is over. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { decodeRecord, keys } from "@millrace/metadata";
import { BrokerIntent, MaintenanceKind } from "@millrace/proto/common";
import { AcquireMaintenanceRequestSchema } from "@millrace/proto/controller";
import { directoryOf, inTheWay, MaintenanceCluster } from "../testing/maintenance.ts";

const { DRAIN, REMOVE, REPLACE_DISK, RESTART, UNSPECIFIED } = MaintenanceKind;
const { ACTIVE, DECOMMISSIONED, DRAINING } = BrokerIntent;

/** Brokers 0 to 3, a controller, and one partition on 0, 1 and 2 with `min.insync.replicas=2`. */
const setUp = async (racks: readonly string[] = []) => {
  const cluster = new MaintenanceCluster();
  for (const id of [0, 1, 2, 3]) await cluster.start(id, { rack: racks[id] ?? "" });
  await cluster.topicWith("t", 2, [{ replicas: [0, 1, 2] }]);
  const controller = await cluster.operated(1);
  const { acquire } = controller;
  const granted = async (asked: Parameters<typeof acquire>[0]) => {
    const answer = await cluster.run(acquire(asked));
    assert.deepEqual(inTheWay(answer), []);
    assert.equal(answer.mayAct, true);
    assert.ok(answer.lease !== undefined);
    return answer.lease;
  };
  const refused = async (asked: Parameters<typeof acquire>[0]) => {
    const answer = await cluster.run(acquire(asked));
    assert.equal(answer.mayAct, false);
    return inTheWay(answer);
  };
  return { cluster, granted, refused, ...controller };
};

test("a restart is granted while enough others are in sync, and to one broker at a time", async () => {
  const { cluster, granted, refused, handlers, process } = await setUp();
  const lease = await granted({ broker: 0, holder: "a" });
  assert.equal(process.state.maintenance.revision, Number(lease.token), "what is planned is told");
  assert.deepEqual([lease.brokerId, lease.kind, lease.holder], [0, RESTART, "a"]);
  assert.equal(lease.brokerEpoch, BigInt(cluster.epochOf(0)));
  assert.deepEqual(await refused({ broker: 0, holder: "b" }), ["HELD 0"]);
  assert.deepEqual(await refused({ broker: 1 }), ["OTHER_BROKER 0", "UNDER_MIN_ISR t/0"]);
  assert.deepEqual(await refused({ broker: 3 }), ["OTHER_BROKER 0"], "whatever it has");
  assert.deepEqual(
    handlers.list().leases.map(({ token }) => token),
    [lease.token],
  );
});

test("no partition falls below min.insync.replicas by a restart", async () => {
  const { cluster, granted, refused } = await setUp();
  await cluster.setIsr("t", 0, [0, 1]);
  assert.deepEqual(await refused({ broker: 0 }), ["UNDER_MIN_ISR t/0"]);
  await cluster.setIsr("t", 0, [0, 1, 2]);
  // Registered under another epoch than the one in the ISR: not in sync.
  await cluster.start(2);
  assert.deepEqual(await refused({ broker: 0 }), ["UNDER_MIN_ISR t/0"]);
  await cluster.start(2, { shuttingDown: true });
  await cluster.setIsr("t", 0, [0, 1, 2]);
  assert.deepEqual(await refused({ broker: 0 }), ["UNDER_MIN_ISR t/0"], "it is about to go");
  await granted({ broker: 3 });
});

test("asking again is a renewal, and an answer that was lost is found", async () => {
  const { cluster, granted, renew } = await setUp();
  const first = await granted({ broker: 0 });
  await cluster.pass(40_000);
  const again = await granted({ broker: 0 });
  assert.equal(again.token, first.token);
  await cluster.pass(40_000);
  assert.equal((await cluster.run(renew(0, first.token))).mayAct, true);
  const other = await granted({ broker: 0, allowUnavailable: true });
  assert.notEqual(other.token, first.token, "it allows something else");
  assert.equal(await cluster.codeOf(renew(0, first.token)), "MAINTENANCE_LEASE_LOST");
});

test("what the caller believes of the broker has to be so", async () => {
  const { cluster, acquire, granted } = await setUp();
  const before = cluster.epochOf(0);
  await cluster.start(0);
  assert.equal(await cluster.codeOf(acquire({ broker: 0, epoch: before })), "STALE_BROKER_EPOCH");
  assert.equal(await cluster.codeOf(acquire({ broker: 0, epoch: 0 })), "STALE_BROKER_EPOCH");
  assert.equal(await cluster.codeOf(acquire({ broker: 9 })), "BROKER_ID_NOT_REGISTERED");
  await cluster.stop(0);
  assert.equal(await cluster.codeOf(acquire({ broker: 0, epoch: before })), "STALE_BROKER_EPOCH");
  await granted({ broker: 0 });
});

test("a broker that is down may be restarted, whatever is in sync", async () => {
  const { cluster, granted } = await setUp();
  await cluster.setIsr("t", 0, [0]);
  await cluster.stop(0);
  await granted({ broker: 0 });
});

test("a renewal says whether the holder may still act", async () => {
  const { cluster, granted, renew } = await setUp();
  const { token } = await granted({ broker: 0 });
  await cluster.setIsr("t", 0, [0, 1]);
  const blocked = await cluster.run(renew(0, token));
  assert.deepEqual([blocked.mayAct, inTheWay(blocked)], [false, ["UNDER_MIN_ISR t/0"]]);
  assert.equal(blocked.lease?.token, token, "the lease goes on");
  await cluster.setIsr("t", 0, [0, 1, 2]);
  assert.equal((await cluster.run(renew(0, token))).mayAct, true);
  await cluster.stop(0);
  assert.equal((await cluster.run(renew(0, token))).mayAct, true, "it is down");
  await cluster.start(0);
  const restarted = await cluster.run(renew(0, token));
  assert.deepEqual([restarted.mayAct, inTheWay(restarted)], [false, ["RESTARTED 0"]]);
});

test("a lease counts until its broker is back in sync, and is released then", async () => {
  const { cluster, granted, refused, release } = await setUp();
  const { token } = await granted({ broker: 0 });
  await cluster.stop(0);
  const away = await cluster.run(release(0, token));
  assert.deepEqual([away.released, inTheWay(away)], [false, ["NOT_BACK 0"]]);
  await cluster.start(0);
  const behind = await cluster.run(release(0, token));
  assert.deepEqual([behind.released, inTheWay(behind)], [false, ["NOT_BACK t/0"]]);
  assert.deepEqual(await refused({ broker: 3 }), ["OTHER_BROKER 0"]);
  await cluster.setIsr("t", 0, [0, 1, 2]);
  assert.equal((await cluster.run(release(0, token))).released, true);
  assert.equal(await cluster.codeOf(release(0, token)), "MAINTENANCE_LEASE_LOST");
  await granted({ broker: 3 });
});

test("a lease is released by force whoever holds it", async () => {
  const { cluster, granted, release } = await setUp();
  await granted({ broker: 0 });
  await cluster.stop(0);
  assert.equal(await cluster.codeOf(release(0, 1n)), "MAINTENANCE_LEASE_LOST");
  assert.equal((await cluster.run(release(0, 0n, true))).released, true);
  assert.equal((await cluster.run(release(0, 0n, true))).released, true, "there is none any more");
  await granted({ broker: 3 });
});

test("a lease that has run out is of no use to its holder, and counts until the broker is back", async () => {
  const { cluster, granted, refused, renew, handlers } = await setUp();
  const { token } = await granted({ broker: 0, ttlMs: 5_000 });
  await cluster.stop(0);
  await cluster.pass(4_000);
  await cluster.run(renew(0, token));
  await cluster.pass(4_000);
  assert.deepEqual([cluster.counts.leases, cluster.counts.expired], [1, 0]);
  await cluster.pass(3_000);
  assert.equal(await cluster.codeOf(renew(0, token)), "MAINTENANCE_LEASE_LOST");
  assert.deepEqual(await refused({ broker: 3 }), ["OTHER_BROKER 0"]);
  assert.deepEqual(
    handlers.list().leases.map((one) => one.expiresInMs),
    [0],
  );
  await cluster.start(0);
  await cluster.pass(3_000);
  assert.equal(handlers.list().leases.length, 1, "it is not in sync yet");
  await cluster.setIsr("t", 0, [0, 1, 2]);
  await cluster.pass(3_000);
  assert.equal(handlers.list().leases.length, 0);
  assert.equal(cluster.counts.expired, 1);
  await granted({ broker: 3 });
});

test("somebody else takes over a lease that has run out", async () => {
  const { cluster, granted, renew } = await setUp();
  const { token } = await granted({ broker: 0, holder: "a", ttlMs: 5_000 });
  await cluster.stop(0);
  await cluster.pass(6_000);
  const taken = await granted({ broker: 0, holder: "b" });
  assert.ok(taken.token > token);
  assert.equal(await cluster.codeOf(renew(0, token)), "MAINTENANCE_LEASE_LOST");
});

test("a new controller keeps leases, and counts their time anew", async () => {
  const { cluster, granted, life, refused: _, ...first } = await setUp();
  const { token } = await granted({ broker: 0, ttlMs: 20_000 });
  await cluster.stop(0);
  await cluster.pass(15_000);
  life.kill();
  const { handlers, renew, acquire } = await cluster.operated(2);
  await cluster.pass(15_000);
  assert.deepEqual(
    handlers.list().leases.map((one) => one.token),
    [token],
  );
  assert.deepEqual(inTheWay(await cluster.run(acquire({ broker: 3 }))), ["OTHER_BROKER 0"]);
  assert.equal((await cluster.run(renew(0, token))).mayAct, true);
  assert.ok(first.handlers !== handlers);
});

test("partitions that can never spare a replica are let down only where that is allowed", async () => {
  const { cluster, acquire, granted, refused } = await setUp();
  await cluster.topicWith("u", 2, [
    { replicas: [0, 3] },
    { replicas: [3] },
    { replicas: [1, 3, 2] },
  ]);
  assert.deepEqual(await refused({ broker: 0 }), ["UNDER_MIN_ISR u/0"]);
  const answer = await cluster.run(
    acquire({ broker: 3, allowUnavailable: true, validateOnly: true }),
  );
  assert.deepEqual([answer.mayAct, answer.lease], [true, undefined]);
  assert.deepEqual(inTheWay({ blockers: answer.unavailable }), [
    "UNDER_MIN_ISR u/0",
    "UNDER_MIN_ISR u/1",
  ]);
  await cluster.setIsr("u", 2, [3, 1]);
  const allowed = { allowUnavailable: true };
  assert.deepEqual(await refused({ broker: 3, ...allowed }), ["UNDER_MIN_ISR u/2"]);
  await cluster.setIsr("u", 2, [1]);
  assert.deepEqual(await refused({ broker: 2 }), ["UNDER_MIN_ISR u/2"]);
  await granted({ broker: 2, ...allowed });
});

test("brokers of one rack may be in maintenance together, but not two of a partition", async () => {
  const { cluster, process } = await setUp(["a", "b", "a", "a"]);
  const { acquire, release } = cluster.servicesOf(process, "wide", 2);
  const ask = async (broker: number) => inTheWay(await cluster.run(acquire({ broker })));
  const { lease } = await cluster.run(acquire({ broker: 3 }));
  assert.deepEqual(await ask(1), ["OTHER_BROKER 3"], "of another rack");
  assert.deepEqual(await ask(0), []);
  assert.deepEqual(await ask(2), ["OTHER_BROKER 3", "OTHER_BROKER 0", "UNDER_MIN_ISR t/0"]);
  assert.equal((await cluster.run(release(3, lease?.token))).released, true);
  assert.deepEqual(await ask(2), ["OTHER_BROKER t/0", "UNDER_MIN_ISR t/0"]);
  await cluster.stop(0);
  assert.deepEqual(await ask(3), [], "the rack of a broker that is away is known");
});

test("requests are checked", async () => {
  const { cluster, acquire, handlers } = await setUp();
  const invalid: Partial<Parameters<typeof acquire>[0]>[] = [
    { kind: UNSPECIFIED },
    { holder: "" },
    { holder: "x".repeat(129) },
    { holder: "a\u001b[2J" },
    { ttlMs: 999 },
    { ttlMs: 3_600_001 },
    { directory: directoryOf(0) },
    { kind: REPLACE_DISK },
    { kind: REMOVE, directory: Buffer.alloc(15) },
    { kind: DRAIN, allowUnavailable: true },
  ];
  for (const one of invalid) {
    const code = await cluster.codeOf(acquire({ broker: 0, ...one }));
    assert.equal(code, "INVALID_REQUEST", JSON.stringify(one));
  }
  const fields = { brokerId: 0, kind: RESTART, holder: "a" };
  const request = create(AcquireMaintenanceRequestSchema, fields);
  assert.equal(await cluster.codeOf(handlers.acquire(request)), "INVALID_REQUEST");
  assert.equal((await cluster.get(keys.maintenance)) ?? undefined, undefined);
});

test("a disk may be deleted once nothing counts on it, and never counts again", async () => {
  const { cluster, brokers, granted, handlers, mirror, process, refused, release, setIntent } =
    await setUp();
  const disk = { kind: REPLACE_DISK, directory: directoryOf(0) };
  assert.deepEqual(await refused({ broker: 0, ...disk }), ["REGISTERED 0"]);
  await cluster.setIsr("t", 0, [0]);
  await cluster.stop(0);
  await cluster.pass(100);
  assert.deepEqual(await refused({ broker: 0, ...disk }), [
    "REPLICA_COUNTS t/0",
    "UNDER_MIN_ISR t/0",
  ]);
  await cluster.start(0);
  await cluster.setIsr("t", 0, [0, 1, 2]);
  await cluster.pass(100);
  await cluster.stop(0);
  await cluster.pass(100);
  const lease = await granted({ broker: 0, ...disk });
  assert.deepEqual(Buffer.from(lease.directoryId), directoryOf(0));
  const { placement } = process.state;
  assert.equal(placement.revision, Number(lease.token), "what is being placed is decided anew");
  // With the old disk it is nobody.
  await cluster.start(0);
  await cluster.pass(100);
  const registered = () => brokers.describeBrokers().brokers.map((one) => one.registered);
  assert.deepEqual(registered(), [false, true, true, true]);
  await cluster.run(setIntent(0, DRAINING));
  await cluster.run(setIntent(0, ACTIVE));
  await cluster.pass(100);
  assert.deepEqual(registered(), [false, true, true, true], "it is given up for good");
  assert.equal((await cluster.run(release(0, lease.token))).released, false);
  // With a new one it is, and the lease ends when it is in sync.
  await cluster.start(0, { disk: 1 });
  await cluster.pass(100);
  assert.deepEqual(registered(), [true, true, true, true]);
  assert.equal((await cluster.run(release(0, lease.token))).released, false);
  await cluster.setIsr("t", 0, [0, 1, 2]);
  assert.equal((await cluster.run(release(0, lease.token))).released, true);
  assert.equal(handlers.list().leases.length, 0);
  const kv = mirror.get(keys.brokerIntent(0));
  assert.ok(kv !== undefined);
  assert.equal(decodeRecord.brokerIntent(kv).retiredDirectoryIds.length, 1);
  await cluster.stop(0);
  await cluster.pass(100);
  assert.deepEqual(
    brokers.describeBrokers().brokers.map((one) => one.brokerId),
    [0, 1, 2, 3],
  );
  // Deleting it once more is allowed whatever is in sync: nothing counts on it.
  await cluster.setIsr("t", 0, [1]);
  await granted({ broker: 0, ...disk });
});

test("a broker that is down is believed about none of its disks", async () => {
  const { cluster, granted, refused } = await setUp();
  await cluster.setIsr("t", 0, [2]);
  await cluster.stop(2);
  await cluster.pass(100);
  const disk = { kind: REPLACE_DISK, directory: directoryOf(2, 7) };
  const named = ["REPLICA_COUNTS t/0", "UNDER_MIN_ISR t/0"];
  assert.deepEqual(await refused({ broker: 2, ...disk }), named, "a disk that nobody knows");
  await cluster.start(2, { disk: 1 });
  await cluster.setIsr("t", 0, [0, 1, 2]);
  await granted({ broker: 2, kind: REPLACE_DISK, directory: directoryOf(2) });
});

test("nobody waits for a broker that was decommissioned meanwhile", async () => {
  const { cluster, granted, refused, release } = await setUp();
  const { token } = await granted({ broker: 3 });
  await cluster.stop(3);
  assert.equal((await cluster.run(release(3, token))).released, false);
  await cluster.intend(3, DECOMMISSIONED);
  await cluster.pass(100);
  assert.deepEqual(await refused({ broker: 0 }), ["OTHER_BROKER 3"]);
  assert.equal((await cluster.run(release(3, token))).released, true);
});

test("a lease that cannot be read is in the way until it is forced away", async () => {
  const { cluster, granted, refused, release } = await setUp();
  const key = keys.maintenanceLease(2);
  await cluster.put({ type: "put", key, value: Buffer.from("no lease") });
  await cluster.pass(100);
  assert.deepEqual(await refused({ broker: 3 }), ["UNREADABLE"]);
  assert.equal(await cluster.codeOf(release(2, 1n)), "MAINTENANCE_LEASE_LOST");
  assert.equal((await cluster.run(release(2, 0n, true))).released, true);
  await granted({ broker: 3 });
});

test("a replica in the ELR counts on its disk", async () => {
  const { cluster, refused } = await setUp();
  await cluster.topicWith("u", 2, [{ replicas: [3, 1], isr: [1], elr: [3] }]);
  await cluster.stop(3);
  await cluster.pass(100);
  const disk = { kind: REPLACE_DISK, directory: directoryOf(3) };
  assert.deepEqual(await refused({ broker: 3, ...disk }), ["REPLICA_COUNTS u/0"]);
});

test("a broker is removed once it is decommissioned, with the directory that was", async () => {
  const { cluster, granted, process, refused, setIntent } = await setUp();
  const remove = (broker: number) => ({ broker, kind: REMOVE, directory: directoryOf(broker) });
  assert.deepEqual(await refused(remove(3)), ["NOT_DECOMMISSIONED 3"]);
  await cluster.intend(3, DECOMMISSIONED, directoryOf(3, 1));
  assert.deepEqual(await refused(remove(3)), ["NOT_DECOMMISSIONED 3"], "another directory");
  await cluster.intend(3, DECOMMISSIONED);
  await granted(remove(3));
  await cluster.pass(100);
  assert.equal(process.state.brokers.has(3), false, "although it is registered");
  // Nobody can take that back: the directory may be gone already.
  await cluster.run(setIntent(3, ACTIVE));
  await cluster.start(3);
  await cluster.pass(100);
  await granted({ broker: 3, epoch: 0 });
  await cluster.intend(2, DECOMMISSIONED);
  assert.deepEqual(await refused(remove(2)), ["REPLICA_COUNTS t/0"]);
});

test("a drain is begun by its lease, where others can take the replicas", async () => {
  const { cluster, granted, refused, release, process } = await setUp();
  await granted({ broker: 0, kind: DRAIN, holder: "a" });
  await cluster.pass(100);
  assert.equal(process.state.placement.intents.get(0)?.intent, DRAINING);
  assert.deepEqual(await refused({ broker: 1, kind: DRAIN }), ["IMMOVABLE t/0"]);
  assert.deepEqual(await refused({ broker: 0, kind: DRAIN, holder: "b" }), ["HELD 0"]);
  const restart = await granted({ broker: 3 });
  assert.equal((await cluster.run(release(3, restart.token))).released, true);
  await cluster.intend(3, DECOMMISSIONED);
  assert.deepEqual(await refused({ broker: 3, kind: DRAIN }), ["DECOMMISSIONED 3"]);
});

test("a lease that is renewed at the moment when it runs out stays", async () => {
  const cluster = new MaintenanceCluster();
  await cluster.start(0);
  await cluster.topicWith("t", 1, [{ replicas: [0] }]);
  let isLate = false;
  const { acquire, handlers } = await cluster.operated(1, ({ txn }) => ({
    txn: async (...args) => {
      const removal = args[1].find(({ type }) => type === "delete");
      const range = removal?.type === "delete" ? removal.range : { key: "" };
      const key = "key" in range ? range.key : "";
      const kv = key === keys.maintenanceLease(0) ? await cluster.get(key) : undefined;
      // A renewal comes first.
      if (kv !== undefined && !isLate) await cluster.put({ type: "put", key, value: kv.value });
      isLate ||= kv !== undefined;
      return txn(...args);
    },
  }));
  const { lease } = await cluster.run(acquire({ broker: 0, allowUnavailable: true, ttlMs: 2_000 }));
  await cluster.pass(3_500);
  assert.deepEqual([isLate, handlers.list().leases.length], [true, 1]);
  assert.ok(lease !== undefined);
  await cluster.pass(3_500);
  assert.equal(handlers.list().leases.length, 0);
});
