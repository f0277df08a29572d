import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { decodeRecord, encodeRecord, keys, type MetadataStore } from "@millrace/metadata";
import { type Interpose, isActive, TestCluster } from "./testing/cluster.ts";

type Txn = Parameters<MetadataStore["txn"]>;

/** Calls `see` for each transaction that touches partitions, before it is sent. */
const watching =
  (see: (args: Txn) => Promise<void> | void): Interpose =>
  ({ txn }) => ({
    txn: async (...args) => {
      const touches = ([, then]: Txn): boolean =>
        then.some((one) => one.type === "put" && one.key.startsWith(keys.partitions));
      if (touches(args)) await see(args);
      return txn(...args);
    },
  });

/** A cluster with one broker that leads so many partitions, registered for the first time. */
const setUp = async (partitions: number) => {
  const cluster = new TestCluster();
  await cluster.topic(partitions, 1);
  const { registration, life } = cluster.registration(1);
  await cluster.run(registration.register());
  return { cluster, registration, life };
};

test("every partition of a broker with a new epoch is led anew, a hundred in a transaction", async () => {
  const { cluster, registration } = await setUp(250);
  const sizes: number[] = [];
  const { process } = await cluster.controller(
    1,
    watching(([compares, then]) => {
      sizes.push(then.length);
      assert.ok(then.length <= 102 && compares.length <= 102);
    }),
  );
  assert.equal(await cluster.run(process.settled(registration.epoch, 10_000)), true);
  for (const { leader, leaderEpoch, isrBrokerEpochs } of await cluster.partitions()) {
    assert.deepEqual([leader, leaderEpoch], [1, 2]);
    assert.deepEqual(isrBrokerEpochs, [BigInt(registration.epoch)]);
  }
  await cluster.pass(5000);
  assert.deepEqual(sizes, [101, 101, 51], "with the token of the writer, and nothing twice");
  const lines = cluster.lines.filter(({ message }) => /adapted/.test(message));
  assert.deepEqual(
    lines.map(({ fields: { changes, elected, leaderless } }) => ({ changes, elected, leaderless })),
    [{ changes: 250, elected: 250, leaderless: 0 }],
  );
  const { changes, elections, conflicts, active } = cluster.counts;
  assert.deepEqual([changes, elections, conflicts, active], [250, 250, 0, 1]);
});

test("a broker that is gone leads nothing until it is back", async () => {
  const { cluster, registration } = await setUp(3);
  const { process } = await cluster.controller(1);
  await cluster.run(process.settled(registration.epoch, 10_000));
  await cluster.run(registration.close());
  await cluster.pass(50);
  const state = async () =>
    (await cluster.partitions()).map(({ leader = -1, leaderEpoch }) => `${leader}/${leaderEpoch}`);
  assert.deepEqual(await state(), ["-1/3", "-1/3", "-1/3"]);
  await cluster.run(cluster.registration(1).registration.register());
  await cluster.pass(50);
  assert.deepEqual(await state(), ["1/4", "1/4", "1/4"]);
});

test("what has changed meanwhile is not overwritten, and does not hold up the others", async () => {
  const { cluster, registration } = await setUp(100);
  const key = keys.partition(Buffer.alloc(16, 9).toString("hex"), 42);
  let busy = true;
  let sent = 0;
  const { process } = await cluster.controller(
    1,
    watching(async ([, then]) => {
      sent += 1;
      if (!busy || !then.some((one) => one.type === "put" && one.key === key)) return;
      const [kv] = (await cluster.store.range({ key })).kvs;
      assert.ok(kv !== undefined);
      const { leaderEpoch, ...rest } = decodeRecord.partition(kv);
      const value = encodeRecord.partition({ ...rest, leaderEpoch: leaderEpoch + 10 });
      await cluster.store.txn([], [{ type: "put", key, value }]);
    }),
  );
  await cluster.pass(1000);
  // Halves of 100, 50, 25, 13, 7, 4, 2; then the one again and again, with a pause in between.
  assert.ok(sent > 13 && sent < 50, `${sent} transactions`);
  const epochs = async () => (await cluster.partitions()).map(({ leaderEpoch }) => leaderEpoch);
  assert.deepEqual(new Set((await epochs()).toSpliced(42, 1)), new Set([2]));
  assert.ok(cluster.counts.conflicts > 1);
  busy = false;
  const last = (await epochs())[42] ?? 0;
  assert.equal(await cluster.run(process.settled(registration.epoch, 10_000)), true);
  assert.equal((await epochs())[42], last + 1);
});

test("a store that fails is tried again, after a pause that grows", async () => {
  const { cluster, registration } = await setUp(1);
  const times: number[] = [];
  const { process } = await cluster.controller(
    1,
    watching(() => {
      times.push(cluster.kernel.nowMs);
      if (times.length > 4) return;
      throw new MillraceError(ErrorCode.ADMISSION_REJECTED, "etcd is full");
    }),
  );
  assert.equal(await cluster.run(process.settled(registration.epoch, 30_000)), true);
  assert.equal(isActive(process), true);
  assert.equal(times.length, 5);
  assert.equal(cluster.counts.failures, 4);
  // From 100 ms, half of it more or less, to 800.
  assert.ok((times[1] ?? 0) - (times[0] ?? 0) <= 150);
  assert.ok((times[4] ?? 0) - (times[3] ?? 0) >= 400);
  assert.deepEqual(
    (await cluster.partitions()).map(({ leaderEpoch }) => leaderEpoch),
    [2],
  );
});

test("nothing is settled before the time is up when the store does not answer, or its watch is silent", async () => {
  const { cluster, registration } = await setUp(1);
  const silent = await cluster.controller(1, () => ({
    watch: () => ({ cancel() {}, requestProgress() {} }),
  }));
  assert.equal(await cluster.run(silent.process.settled(registration.epoch, 3000)), false);
  const [record] = await cluster.partitions();
  assert.equal(record?.leaderEpoch, 1, "it has not read its own election, so it changes nothing");
});

test("the loop ends with its reign", async () => {
  const { cluster, registration } = await setUp(1);
  let sent = 0;
  const { process, life } = await cluster.controller(
    1,
    watching(() => {
      sent += 1;
    }),
  );
  await cluster.run(process.settled(registration.epoch, 10_000));
  await cluster.run(process.close());
  await cluster.run(registration.close());
  await cluster.pass(5000);
  assert.equal(sent, 1);
  assert.equal(cluster.counts.active, 0);
  assert.equal(await cluster.run(process.settled(0, 100)), false);
  life.kill();
});
