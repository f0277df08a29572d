import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { meanRandom } from "@millrace/env/testing";
import { ErrorCode, hasCode } from "@millrace/errors";
import { BrokerRecordSchema } from "@millrace/proto/storage";
import { Incarnation } from "@millrace/sim";
import type { KeyValue, MetadataStore } from "./api.ts";
import { EmbeddedStore } from "./embedded.ts";
import { decodeRecord, encodeRecord, keys } from "./keys.ts";
import { StoreProcesses, ttlSeconds } from "./testing/processes.ts";

const key = keys.broker(1);

test("a registration lives as long as its process; its epoch is the key's create revision", async () => {
  const processes = new StoreProcesses();
  const { life, registration } = processes.registration(1);
  await processes.run(registration.register());
  assert.equal((await processes.get(key))?.createRevision, registration.epoch);
  await processes.pass(10_000 * ttlSeconds);
  assert.equal((await processes.get(key))?.createRevision, registration.epoch);
  life.kill();
  await processes.pass(1000 * ttlSeconds + 1);
  assert.equal(await processes.get(key), undefined);
});

test("addresses change under the same epoch, and survive a lost registration", async () => {
  const processes = new StoreProcesses();
  const { registration } = processes.registration(1);
  await processes.run(registration.register());
  const { epoch } = registration;
  await processes.run(registration.update({ clientEndpoint: "h:1" }));
  const endpoint = async () => {
    const kv = await processes.get(key);
    return kv === undefined ? undefined : decodeRecord.broker(kv).clientEndpoint;
  };
  assert.equal(await endpoint(), "h:1");
  assert.equal((await processes.get(key))?.createRevision, epoch);
  await processes.run(processes.store.txn([], [{ type: "delete", range: { key } }]));
  // The lease is alive, but its key is gone.
  await processes.pass(1000 * ttlSeconds);
  assert.equal(await endpoint(), "h:1");
  assert.ok(registration.epoch > epoch, "a registration that was lost has another epoch");
  assert.equal((await processes.get(key))?.createRevision, registration.epoch);
});

test("a process that is about to stop does not register anew", async () => {
  const processes = new StoreProcesses();
  const { registration } = processes.registration(1);
  await processes.run(registration.register());
  registration.makeLast();
  await processes.pass(10_000 * ttlSeconds);
  assert.equal((await processes.get(key))?.createRevision, registration.epoch, "it is kept");
  await processes.run(processes.store.txn([], [{ type: "delete", range: { key } }]));
  await processes.pass(10_000 * ttlSeconds);
  assert.equal(await processes.get(key), undefined);
  assert.deepEqual(processes.lines, []);
  await processes.run(registration.close());
});

test("a second process with the same id is refused while the first one lives, and waits for a dead one", async () => {
  const processes = new StoreProcesses();
  const first = processes.registration(1);
  await processes.run(first.registration.register());
  await processes.run(first.registration.update({ internalEndpoint: "h:7" }));
  const second = processes.registration(1);
  await assert.rejects(processes.run(second.registration.register()), (thrown) => {
    assert.ok(hasCode(thrown, ErrorCode.INVALID_CONFIG));
    assert.match(String(thrown), /another process is broker 1 at h:7: stop it/);
    return true;
  });
  assert.equal((await processes.get(key))?.createRevision, first.registration.epoch);
  first.life.kill();
  await processes.run(second.registration.register());
  assert.ok(second.registration.epoch > first.registration.epoch);
});

test("the same incarnation keeps its epoch, under its new lease", async () => {
  const processes = new StoreProcesses();
  const record = create(BrokerRecordSchema, { brokerId: 1, incarnationId: Buffer.alloc(16, 7) });
  const first = processes.registration(1, { record });
  await processes.run(first.registration.register());
  first.life.kill();
  const again = processes.registration(1, { record });
  await processes.run(again.registration.register());
  assert.equal(again.registration.epoch, first.registration.epoch);
  await processes.pass(5000 * ttlSeconds);
  assert.equal((await processes.get(key))?.createRevision, first.registration.epoch);
});

/** A store that was restored, with one key. Its lease is known, too, with its old id. */
const restoredWith = async ({ kernel }: StoreProcesses, kv: KeyValue): Promise<EmbeddedStore> => {
  const state = { revision: 1_000_000, kvs: [kv] };
  const persistence = { load: () => state, commit: () => {}, close: () => {} };
  const ids = [Buffer.from(kv.lease ?? "", "hex")];
  const random = {
    ...meanRandom,
    bytes: (length: number) => ids.shift() ?? Buffer.alloc(length, 1),
  };
  const clock = new Incarnation(kernel, "restored store").clock();
  const store = new EmbeddedStore({ clock, random, persistence });
  await store.grantLease(ttlSeconds);
  return store;
};

test("a registration that a backup brings back is not taken up: epochs do not go back", async () => {
  for (const keepsLease of [true, false]) {
    const processes = new StoreProcesses();
    let store: MetadataStore = processes.store;
    const { registration } = processes.registration(1, {}, () => ({
      range: (...args) => store.range(...args),
      txn: (...args) => store.txn(...args),
      grantLease: (ttl) => store.grantLease(ttl),
      keepAlive: (...args) => store.keepAlive(...args),
    }));
    await processes.run(registration.register());
    const backup = (await processes.get(key)) ?? assert.fail();
    // Fenced, or without news of its lease for too long.
    if (keepsLease) await processes.run(store.txn([], [{ type: "delete", range: { key } }]));
    else await processes.run(store.revokeLease(backup.lease ?? ""));
    await processes.pass(1000 * ttlSeconds);
    const { epoch } = registration;
    assert.ok(epoch > backup.createRevision);
    store = await restoredWith(processes, backup);
    await processes.pass(1000 * ttlSeconds);
    assert.ok(registration.epoch > epoch, `${registration.epoch} is above ${epoch}`);
    const [kv] = (await processes.run(store.range({ key }))).kvs;
    assert.equal(kv?.createRevision, registration.epoch);
  }
});

test("an answer that is lost registers nobody twice, and nobody else", async () => {
  const processes = new StoreProcesses();
  let lost = 1;
  const { registration } = processes.registration(1, {}, ({ txn }) => ({
    txn: async (...args) => {
      const done = await txn(...args);
      lost -= 1;
      if (lost >= 0) throw new Error("the answer is lost");
      return done;
    },
  }));
  await assert.rejects(processes.run(registration.register()), /lost/);
  const taken = await processes.get(key);
  await processes.run(registration.register());
  assert.equal(registration.epoch, taken?.createRevision);
});

test("a broker does not give up while the store is silent", async () => {
  const processes = new StoreProcesses();
  let cut = false;
  const { registration } = processes.registration(1, {}, ({ keepAlive }) => ({
    keepAlive: (lease, options) =>
      cut ? Promise.reject(new Error("cut")) : keepAlive(lease, options),
  }));
  await processes.run(registration.register());
  const { epoch } = registration;
  cut = true;
  await processes.pass(10_000 * ttlSeconds);
  assert.equal(registration.epoch, epoch);
  cut = false;
  await processes.pass(1000 * ttlSeconds);
  assert.ok(registration.epoch > epoch, "the lease has ended meanwhile");
});

test("the key of a version that took no lease is replaced, under a new epoch", async () => {
  const processes = new StoreProcesses();
  const value = encodeRecord.broker(create(BrokerRecordSchema, { brokerId: 1 }));
  const old = await processes.run(processes.store.txn([], [{ type: "put", key, value }]));
  const { registration } = processes.registration(1);
  await processes.run(registration.register());
  assert.ok(registration.epoch > old.revision);
  assert.notEqual((await processes.get(key))?.lease, undefined);
});

test("a broker that stops is registered no more, at once", async () => {
  const processes = new StoreProcesses();
  const { registration } = processes.registration(1);
  await processes.run(registration.register());
  await processes.run(registration.close());
  assert.equal(await processes.get(key), undefined);
  await processes.pass(3000 * ttlSeconds);
  assert.equal(await processes.get(key), undefined);
});

const isCancelled = (thrown: unknown): boolean => hasCode(thrown, ErrorCode.CANCELLED);

test("a broker that stops while it waits for another process stays away", async () => {
  const processes = new StoreProcesses();
  const first = processes.registration(1);
  await processes.run(first.registration.register());
  const second = processes.registration(1, { waitMs: 1_000_000 });
  const refused = assert.rejects(second.registration.register(), isCancelled);
  await processes.pass(1000);
  await processes.run(second.registration.close());
  await processes.run(first.registration.close());
  const { revision } = await processes.run(processes.store.range({ key }));
  await processes.pass(5000 * ttlSeconds);
  await refused;
  assert.equal((await processes.run(processes.store.range({ key }))).revision, revision);
});

test("a broker that stops while it is registered stays away", async () => {
  const processes = new StoreProcesses();
  const answered = Promise.withResolvers<void>();
  const { registration } = processes.registration(1, {}, ({ txn }) => ({
    txn: async (...args) => {
      const done = await txn(...args);
      await answered.promise;
      return done;
    },
  }));
  const refused = assert.rejects(registration.register(), isCancelled);
  await processes.pass(100);
  assert.notEqual(await processes.get(key), undefined, "only its answer is on its way");
  await processes.run(registration.close());
  answered.resolve();
  await processes.pass(5000 * ttlSeconds);
  await refused;
  assert.equal(await processes.get(key), undefined);
});

test("a broker that stops while it registers anew stays away, and says nothing", async () => {
  const processes = new StoreProcesses();
  const first = processes.registration(1);
  await processes.run(first.registration.register());
  first.life.pause();
  const second = processes.registration(1);
  await processes.run(second.registration.register());
  first.life.resume();
  await processes.pass(1000 * ttlSeconds);
  assert.match(processes.lines.at(-1)?.message ?? "", /registering anew/);
  processes.lines.length = 0;
  await processes.run(first.registration.close());
  await processes.run(second.registration.close());
  await processes.pass(5000 * ttlSeconds);
  assert.equal(await processes.get(key), undefined);
  assert.deepEqual(processes.lines, []);
});
