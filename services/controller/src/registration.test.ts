import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { ErrorCode, hasCode } from "@millrace/errors";
import { decodeRecord, encodeRecord, keys } from "@millrace/metadata";
import { BrokerRecordSchema } from "@millrace/proto/storage";
import { TestCluster, ttlSeconds } from "./testing/cluster.ts";

const key = keys.broker(1);

test("a registration lives as long as its process; its epoch is the key's create revision", async () => {
  const cluster = new TestCluster();
  const { life, registration } = cluster.registration(1);
  await cluster.run(registration.register());
  assert.equal((await cluster.get(key))?.createRevision, registration.epoch);
  await cluster.pass(10_000 * ttlSeconds);
  assert.equal((await cluster.get(key))?.createRevision, registration.epoch);
  life.kill();
  await cluster.pass(1000 * ttlSeconds + 1);
  assert.equal(await cluster.get(key), undefined);
});

test("addresses change under the same epoch, and survive a lost registration", async () => {
  const cluster = new TestCluster();
  const { registration } = cluster.registration(1);
  await cluster.run(registration.register());
  const { epoch } = registration;
  await cluster.run(registration.update({ clientEndpoint: "h:1" }));
  const endpoint = async () => {
    const kv = await cluster.get(key);
    return kv === undefined ? undefined : decodeRecord.broker(kv).clientEndpoint;
  };
  assert.equal(await endpoint(), "h:1");
  assert.equal((await cluster.get(key))?.createRevision, epoch);
  await cluster.run(cluster.store.txn([], [{ type: "delete", range: { key } }]));
  // The lease is alive, but its key is gone.
  await cluster.pass(1000 * ttlSeconds);
  assert.equal(await endpoint(), "h:1");
  assert.ok(registration.epoch > epoch, "a registration that was lost has another epoch");
  assert.equal((await cluster.get(key))?.createRevision, registration.epoch);
});

test("a second process with the same id is refused while the first one lives, and waits for a dead one", async () => {
  const cluster = new TestCluster();
  const first = cluster.registration(1);
  await cluster.run(first.registration.register());
  await cluster.run(first.registration.update({ internalEndpoint: "h:7" }));
  const second = cluster.registration(1);
  await assert.rejects(cluster.run(second.registration.register()), (thrown) => {
    assert.ok(hasCode(thrown, ErrorCode.INVALID_CONFIG));
    assert.match(String(thrown), /another process is broker 1 at h:7: stop it/);
    return true;
  });
  assert.equal((await cluster.get(key))?.createRevision, first.registration.epoch);
  first.life.kill();
  await cluster.run(second.registration.register());
  assert.ok(second.registration.epoch > first.registration.epoch);
});

test("the same incarnation keeps its epoch, under its new lease", async () => {
  const cluster = new TestCluster();
  const record = create(BrokerRecordSchema, { brokerId: 1, incarnationId: Buffer.alloc(16, 7) });
  const first = cluster.registration(1, { record });
  await cluster.run(first.registration.register());
  first.life.kill();
  const again = cluster.registration(1, { record });
  await cluster.run(again.registration.register());
  assert.equal(again.registration.epoch, first.registration.epoch);
  await cluster.pass(5000 * ttlSeconds);
  assert.equal((await cluster.get(key))?.createRevision, first.registration.epoch);
});

test("an answer that is lost registers nobody twice, and nobody else", async () => {
  const cluster = new TestCluster();
  let lost = 1;
  const { registration } = cluster.registration(1, {}, ({ txn }) => ({
    txn: async (...args) => {
      const done = await txn(...args);
      lost -= 1;
      if (lost >= 0) throw new Error("the answer is lost");
      return done;
    },
  }));
  await assert.rejects(cluster.run(registration.register()), /lost/);
  const taken = await cluster.get(key);
  await cluster.run(registration.register());
  assert.equal(registration.epoch, taken?.createRevision);
});

test("a broker does not give up while the store is silent", async () => {
  const cluster = new TestCluster();
  let cut = false;
  const { registration } = cluster.registration(1, {}, ({ keepAlive }) => ({
    keepAlive: (lease, options) =>
      cut ? Promise.reject(new Error("cut")) : keepAlive(lease, options),
  }));
  await cluster.run(registration.register());
  const { epoch } = registration;
  cut = true;
  await cluster.pass(10_000 * ttlSeconds);
  assert.equal(registration.epoch, epoch);
  cut = false;
  await cluster.pass(1000 * ttlSeconds);
  assert.ok(registration.epoch > epoch, "the lease has ended meanwhile");
});

test("the key of a version that took no lease is replaced, under a new epoch", async () => {
  const cluster = new TestCluster();
  const value = encodeRecord.broker(create(BrokerRecordSchema, { brokerId: 1 }));
  const old = await cluster.run(cluster.store.txn([], [{ type: "put", key, value }]));
  const { registration } = cluster.registration(1);
  await cluster.run(registration.register());
  assert.ok(registration.epoch > old.revision);
  assert.notEqual((await cluster.get(key))?.lease, undefined);
});

test("a broker that stops is registered no more, at once", async () => {
  const cluster = new TestCluster();
  const { registration } = cluster.registration(1);
  await cluster.run(registration.register());
  await cluster.run(registration.close());
  assert.equal(await cluster.get(key), undefined);
  await cluster.pass(3000 * ttlSeconds);
  assert.equal(await cluster.get(key), undefined);
});

const isCancelled = (thrown: unknown): boolean => hasCode(thrown, ErrorCode.CANCELLED);

test("a broker that stops while it waits for another process stays away", async () => {
  const cluster = new TestCluster();
  const first = cluster.registration(1);
  await cluster.run(first.registration.register());
  const second = cluster.registration(1, { waitMs: 1_000_000 });
  const refused = assert.rejects(second.registration.register(), isCancelled);
  await cluster.pass(1000);
  await cluster.run(second.registration.close());
  await cluster.run(first.registration.close());
  const { revision } = await cluster.run(cluster.store.range({ key }));
  await cluster.pass(5000 * ttlSeconds);
  await refused;
  assert.equal((await cluster.run(cluster.store.range({ key }))).revision, revision);
});

test("a broker that stops while it is registered stays away", async () => {
  const cluster = new TestCluster();
  const answered = Promise.withResolvers<void>();
  const { registration } = cluster.registration(1, {}, ({ txn }) => ({
    txn: async (...args) => {
      const done = await txn(...args);
      await answered.promise;
      return done;
    },
  }));
  const refused = assert.rejects(registration.register(), isCancelled);
  await cluster.pass(100);
  assert.notEqual(await cluster.get(key), undefined, "only its answer is on its way");
  await cluster.run(registration.close());
  answered.resolve();
  await cluster.pass(5000 * ttlSeconds);
  await refused;
  assert.equal(await cluster.get(key), undefined);
});

test("a broker that stops while it registers anew stays away, and says nothing", async () => {
  const cluster = new TestCluster();
  const first = cluster.registration(1);
  await cluster.run(first.registration.register());
  first.life.pause();
  const second = cluster.registration(1);
  await cluster.run(second.registration.register());
  first.life.resume();
  await cluster.pass(1000 * ttlSeconds);
  assert.match(cluster.lines.at(-1)?.message ?? "", /registering anew/);
  cluster.lines.length = 0;
  await cluster.run(first.registration.close());
  await cluster.run(second.registration.close());
  await cluster.pass(5000 * ttlSeconds);
  assert.equal(await cluster.get(key), undefined);
  assert.deepEqual(cluster.lines, []);
});
