import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import {
  decodeRecord,
  GuardedWriter,
  isOutcomeUnknown,
  type KeyValue,
  keys,
  Mirror,
  type Persistence,
} from "@millrace/metadata";
import { Election } from "./election.ts";
import { Reign } from "./reign.ts";
import { type Interpose, isActive, TestCluster, ttlSeconds } from "./testing/cluster.ts";

const put = (key: string) => ({ type: "put", key, value: Buffer.from("x") }) as const;
const isRefused = (thrown: unknown): boolean => hasCode(thrown, ErrorCode.NOT_CONTROLLER);

const silent = () => ({ cancel() {}, requestProgress() {} });

/** An elected candidate, without a loop. */
const elected = async (cluster: TestCluster, interpose?: Interpose) => {
  const { life, ...shared } = cluster.process("candidate", interpose);
  const mirror = new Mirror(shared);
  await cluster.run(mirror.start());
  const election = new Election({ ...shared, mirror, controllerId: 1, ttlSeconds });
  const reign = await cluster.run(election.campaign());
  assert.ok(reign !== undefined);
  return { life, election, reign };
};

test("one controller is active; the next follows when its lease ends, under a higher epoch", async () => {
  const cluster = new TestCluster();
  const first = await cluster.controller(1);
  await cluster.pass(100);
  const second = await cluster.controller(2);
  const epoch = (await cluster.get(keys.controller))?.createRevision ?? 0;
  await cluster.pass(10_000 * ttlSeconds);
  assert.deepEqual([isActive(first.process), isActive(second.process)], [true, false]);
  await assert.rejects(cluster.run(second.process.write([], [put("partitions/x")])), isRefused);
  assert.equal(await cluster.get("partitions/x"), undefined);
  first.life.kill();
  await cluster.pass(500);
  assert.equal(isActive(second.process), false, "a lease is waited for");
  await cluster.pass(1000 * ttlSeconds + 100);
  assert.equal(isActive(second.process), true);
  assert.ok(((await cluster.get(keys.controller))?.createRevision ?? 0) > epoch);
});

const addressesIn = async (cluster: TestCluster): Promise<string[]> => {
  const kv = await cluster.get(keys.controller);
  if (kv === undefined) return [];
  const { clientEndpoint, internalEndpoint } = decodeRecord.controller(kv);
  return [clientEndpoint, internalEndpoint];
};

test("the key tells where the active controller is, whenever it was told so", async () => {
  const cluster = new TestCluster();
  const { election, reign } = await elected(cluster);
  assert.deepEqual(await addressesIn(cluster), ["", ""]);
  const first = { clientEndpoint: "c1:7400", internalEndpoint: "c1:7401" };
  await cluster.run(election.announce(first));
  assert.deepEqual(await addressesIn(cluster), ["c1:7400", "c1:7401"]);
  assert.equal((await cluster.get(keys.controller))?.createRevision, reign.epoch);
  const second = await cluster.controller(2);
  await cluster.run(
    second.process.announce({ clientEndpoint: "c2:7400", internalEndpoint: "c2:7401" }),
  );
  assert.deepEqual(await addressesIn(cluster), ["c1:7400", "c1:7401"], "it is not active");
  await cluster.run(election.close());
  await cluster.pass(100);
  assert.deepEqual(await addressesIn(cluster), ["c2:7400", "c2:7401"]);
});

test("an address that was told during an attempt is in the key", async () => {
  const cluster = new TestCluster();
  const told = Promise.withResolvers<void>();
  const { life: _, ...shared } = cluster.process("candidate", ({ txn }) => ({
    txn: async (...args) => {
      const result = await txn(...args);
      await told.promise;
      return result;
    },
  }));
  const mirror = new Mirror(shared);
  await cluster.run(mirror.start());
  const election = new Election({ ...shared, mirror, controllerId: 1, ttlSeconds });
  const campaign = election.campaign();
  await cluster.pass(10);
  const announced = election.announce({ clientEndpoint: "c:1", internalEndpoint: "c:2" });
  told.resolve();
  await cluster.run(announced);
  assert.ok((await cluster.run(campaign)) !== undefined);
  assert.deepEqual(await addressesIn(cluster), ["c:1", "c:2"]);
});

test("the key of a process that died with its embedded store holds up nobody", async () => {
  const kvs = new Map<string, KeyValue>();
  let revision = 1;
  const persistence: Persistence = {
    load: () => ({ revision, kvs: [...kvs.values()] }),
    commit: (change) => {
      for (const kv of change.puts) kvs.set(kv.key, kv);
      for (const key of change.deletes) kvs.delete(key);
      revision = change.revision;
    },
    close() {},
  };
  const first = new TestCluster(persistence);
  const { reign } = await elected(first);
  const second = new TestCluster(persistence);
  const next = await elected(second);
  assert.ok(second.kernel.nowMs < 100, "no lease is waited for");
  assert.ok(next.reign.epoch > reign.epoch);
});

test("a controller that stops gives up its key at once", async () => {
  const cluster = new TestCluster();
  const first = await cluster.controller(1);
  await cluster.pass(100);
  const second = await cluster.controller(2);
  cluster.lines.length = 0;
  await cluster.run(first.process.close());
  assert.deepEqual(cluster.lines, [], "a stop is no news");
  await cluster.pass(10);
  assert.equal(isActive(second.process), true);
});

test("a controller has given up its key once its stop is over", async () => {
  const cluster = new TestCluster();
  let isRevoked = false;
  const { election } = await elected(cluster, ({ revokeLease }) => ({
    revokeLease: async (...args) => {
      await new Promise((resolve) => void cluster.kernel.schedule(50, () => resolve(0), "store"));
      await revokeLease(...args);
      isRevoked = true;
    },
  }));
  await cluster.run(election.close());
  assert.equal(isRevoked, true);
  assert.equal(await cluster.get(keys.controller), undefined);
});

test("a controller whose key is gone stops at once, says so, and is elected again", async () => {
  const cluster = new TestCluster();
  const { election, reign } = await elected(cluster);
  const ends: string[] = [];
  reign.onEnd((why) => ends.push(why));
  await cluster.run(cluster.store.txn([], [{ type: "delete", range: { key: keys.controller } }]));
  await cluster.pass(10);
  assert.deepEqual(ends, ["its key is gone"]);
  assert.equal(reign.isActive, false);
  await assert.rejects(cluster.run(reign.write([], [put("partitions/x")])), isRefused);
  const next = await cluster.run(election.campaign());
  assert.ok((next?.epoch ?? 0) > reign.epoch);
  // It has a life of its own: the end of the one before does not take its key.
  await cluster.pass(3000 * ttlSeconds);
  assert.equal(next?.isActive, true);
  assert.deepEqual(ends, ["its key is gone"]);
});

test("a candidate whose answer is lost finds out that it was elected", async () => {
  const cluster = new TestCluster();
  let isLost = true;
  await elected(cluster, ({ txn }) => ({
    txn: async (...args) => {
      const done = await txn(...args);
      if (!isLost) return done;
      isLost = false;
      throw new Error("the answer is lost");
    },
  }));
  assert.ok(cluster.kernel.nowMs < 1000 * ttlSeconds, "before the lease of that attempt has ended");
});

test("a store that fails is what the refusal names", async () => {
  const cluster = new TestCluster();
  let attempts = 0;
  const { process } = await cluster.controller(1, () => ({
    txn: () => {
      attempts += 1;
      return Promise.reject(new MillraceError(ErrorCode.UNAVAILABLE, "the disk is gone"));
    },
  }));
  await cluster.pass(60_000);
  assert.throws(() => process.requireActive(), /not the active one: the disk is gone/);
  assert.ok(attempts >= 3 && attempts <= 10, `${attempts} attempts in a minute`);
  const lines = cluster.lines.filter(({ message }) => /cannot be held/.test(message));
  assert.equal(lines.length, 1, "it is said once");
});

test("a key that becomes free during an attempt that fails is taken at once", async () => {
  const cluster = new TestCluster();
  const first = await elected(cluster);
  let isBroken = false;
  let attempts = 0;
  const { process } = await cluster.controller(2, ({ range }) => ({
    range: async (...args) => {
      const [asked] = args;
      if (!isBroken || !("key" in asked) || asked.key !== keys.controller) return range(...args);
      attempts += 1;
      await new Promise<void>((resolve) => void cluster.kernel.schedule(500, resolve));
      throw new MillraceError(ErrorCode.UNAVAILABLE, "no answer");
    },
  }));
  isBroken = true;
  // Long enough for long pauses.
  await cluster.pass(120_000);
  for (const before = attempts; attempts === before; ) await cluster.pass(100);
  isBroken = false;
  await cluster.run(first.election.close());
  await cluster.pass(1000);
  assert.equal(isActive(process), true);
});

test("a mirror that is behind the election says nothing about it", async () => {
  const cluster = new TestCluster();
  const { reign } = await elected(cluster, ({ watch, grantLease }) => ({
    watch: (range, from, { onBatch, onEnd }) =>
      watch(range, from, {
        onBatch: (batch) => void cluster.kernel.schedule(300, () => onBatch(batch)),
        onEnd,
      }),
    grantLease: async (...args) => {
      await cluster.store.txn([], [put("before")]);
      return grantLease(...args);
    },
  }));
  await cluster.pass(500);
  assert.equal(reign.isActive, true);
});

test("no news of the lease is the end of a reign", async () => {
  const cluster = new TestCluster();
  let cut = false;
  // Nor of anything else.
  const { reign } = await elected(cluster, ({ keepAlive }) => ({
    watch: silent,
    keepAlive: (lease, options) => (cut ? new Promise(() => {}) : keepAlive(lease, options)),
  }));
  await cluster.pass(5000 * ttlSeconds);
  assert.equal(reign.isActive, true);
  cut = true;
  await cluster.pass(1000 * ttlSeconds);
  assert.equal(reign.isActive, false);
});

for (const [name, cutAfterMs] of [
  ["of its election", 0],
  ["of a renewal", 4000 * ttlSeconds],
] as const) {
  test(`a reign is over before its lease, however late the answer ${name} was`, async () => {
    const cluster = new TestCluster();
    let cut = false;
    const late = () =>
      new Promise<void>((resolve) => void cluster.kernel.schedule(300 * ttlSeconds, resolve));
    const { reign } = await elected(cluster, ({ grantLease, keepAlive }) => ({
      watch: silent,
      grantLease: async (...args) => {
        const lease = await grantLease(...args);
        await late();
        return lease;
      },
      keepAlive: async (...args) => {
        if (cut) return new Promise(() => {});
        const isAlive = await keepAlive(...args);
        await late();
        return isAlive;
      },
    }));
    let endMs = Number.POSITIVE_INFINITY;
    let freeMs = 0;
    reign.onEnd(() => {
      endMs = cluster.kernel.nowMs;
    });
    cluster.store.watch({ key: keys.controller }, reign.epoch + 1, {
      onBatch: () => {
        freeMs = cluster.kernel.nowMs;
      },
      onEnd() {},
    });
    await cluster.pass(cutAfterMs);
    assert.equal(reign.isActive, true);
    cut = true;
    await cluster.pass(2000 * ttlSeconds);
    assert.ok(freeMs > 0, "the lease has ended");
    assert.ok(endMs <= freeMs, `active until ${endMs}, and the key was free at ${freeMs}`);
  });
}

test("an election whose answer comes after its lease counts for nothing", async () => {
  const cluster = new TestCluster();
  let lateMs = 1100 * ttlSeconds;
  const { reign } = await elected(cluster, ({ txn }) => ({
    txn: async (...args) => {
      const done = await txn(...args);
      await new Promise<void>((resolve) => void cluster.kernel.schedule(lateMs, resolve));
      lateMs = 0;
      return done;
    },
  }));
  assert.equal(reign.epoch, (await cluster.get(keys.controller))?.createRevision);
});

test("a reign outlives a renewal that is not answered", async () => {
  const cluster = new TestCluster();
  let renewals = 0;
  const { reign } = await elected(cluster, ({ keepAlive }) => ({
    keepAlive: async (lease, { timeoutMs = 0 } = {}) => {
      renewals += 1;
      if (renewals % 2 === 0) return keepAlive(lease);
      await new Promise<void>((resolve) => void cluster.kernel.schedule(timeoutMs, resolve));
      throw new MillraceError(ErrorCode.UNAVAILABLE, "no answer");
    },
  }));
  await cluster.pass(20_000 * ttlSeconds);
  assert.equal(reign.isActive, true);
});

test("a write that the guard refuses ends the reign; one that another compare refuses does not", async () => {
  const cluster = new TestCluster();
  // Its watch is silent, so nothing but the write can tell.
  const { reign } = await elected(cluster, () => ({ watch: silent }));
  const conflict = { key: "x", target: "modRevision", equals: 77 } as const;
  assert.equal((await cluster.run(reign.write([conflict], [put("x")]))).succeeded, false);
  assert.equal(reign.isActive, true);
  assert.equal((await cluster.run(reign.write([], [put("x")]))).succeeded, true);
  await cluster.run(cluster.store.txn([], [{ type: "delete", range: { key: keys.controller } }]));
  await assert.rejects(cluster.run(reign.write([], [put("y")])), isRefused);
  assert.equal(reign.isActive, false);
  assert.equal(await cluster.get("y"), undefined);
});

for (const [name, isAnswerLost] of [
  ["refused", false],
  ["of an unknown outcome", true],
] as const) {
  test(`a write that is ${name} when the next reign has removed its token ends the reign`, async () => {
    const cluster = new TestCluster();
    const depose = async (): Promise<void> => {
      await cluster.store.txn([], [{ type: "delete", range: { key: keys.controller } }]);
      await cluster.store.txn([], [put(keys.controller)]);
      await cluster.store.txn([], [{ type: "delete", range: { prefix: keys.tokens } }]);
    };
    const { reign } = await elected(cluster, ({ txn }) => ({
      watch: silent,
      txn: async (...args) => {
        const done = await txn(...args);
        const [, then] = args;
        if (!isAnswerLost || !then.some((one) => one.type === "put" && one.key === "y"))
          return done;
        await depose();
        throw new Error("the answer is lost");
      },
    }));
    await cluster.run(reign.write([], [put("x")]));
    if (!isAnswerLost) await cluster.run(depose());
    await assert.rejects(cluster.run(reign.write([], [put("y")])), (thrown) =>
      isAnswerLost ? isOutcomeUnknown(thrown) : isRefused(thrown),
    );
    assert.equal(reign.isActive, false);
    assert.equal((await cluster.get("y")) !== undefined, isAnswerLost);
  });
}

test("nothing is asked of the store after the end of a reign", async () => {
  const cluster = new TestCluster();
  let writes = 0;
  const { store, clock, random } = cluster.process("p", ({ txn }) => ({
    txn: (...args) => {
      writes += 1;
      return txn(...args);
    },
  }));
  const reign = new Reign(1, store, new GuardedWriter({ store, clock, random, writer: "w" }));
  reign.end("over");
  await assert.rejects(reign.write([], [put("x")]), isRefused);
  assert.equal(writes, 0);
});

test("tokens of earlier controllers are removed, by a guarded transaction", async () => {
  const cluster = new TestCluster();
  const { reign, election } = await elected(cluster);
  await cluster.run(reign.write([], [put("x")]));
  const tokens = async () =>
    (await cluster.run(cluster.store.range({ prefix: keys.tokens }))).kvs.map(({ key }) => key);
  assert.equal((await tokens()).length, 1);
  await cluster.run(election.close());
  const next = await elected(cluster);
  assert.deepEqual(await tokens(), [keys.token(`controller-1.${next.reign.epoch}`, 1)]);
});
