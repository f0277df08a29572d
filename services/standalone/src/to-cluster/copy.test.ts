import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import { ErrorCode } from "@millrace/errors";
import {
  type Compare,
  clusterOf,
  decodeRecord,
  EmbeddedStore,
  encodeRecord,
  keys,
  type MetadataStore,
  type Operation,
} from "@millrace/metadata";
import { ClusterRecordSchema, PartitionRecordSchema } from "@millrace/proto/storage";
import { copyMetadata } from "./copy.ts";

const env = { clock: nodeClock(), random: nodeRandom() };
const topicId = Buffer.alloc(16, 7);
const partitionCount = 250;

const put = (key: string, value: Uint8Array): Operation => ({ type: "put", key, value });

const clusterRecord = (clusterId: string): Operation =>
  put(
    keys.cluster,
    encodeRecord.cluster(create(ClusterRecordSchema, { clusterId, formatVersion: 1 })),
  );

const partition = (index: number): Operation =>
  put(
    keys.partition(topicId.toString("hex"), index),
    encodeRecord.partition(
      create(PartitionRecordSchema, {
        ...{ topicId, partition: index, replicas: [0], isr: [0], leader: 0, leaderEpoch: 3 },
        isrBrokerEpochs: [9n],
      }),
    ),
  );

/** The store of a standalone server that was stopped. */
const standalone = async (): Promise<EmbeddedStore> => {
  const store = new EmbeddedStore(env);
  const partitions = Array.from({ length: partitionCount }, (_, i) => partition(i));
  await store.txn([], partitions.slice(0, 125));
  await store.txn([], partitions.slice(125));
  await store.txn(
    [],
    [
      clusterRecord("cluster-a"),
      put(keys.generation, Buffer.from("0123456789abcdef0123456789abcdef")),
      put(keys.topic("events"), Buffer.from("topic")),
      put(keys.deletion("00"), Buffer.from("deletion")),
      put(keys.producerIds, Buffer.from("ids")),
      put(keys.placement, Buffer.from("placement")),
      put(keys.brokerIntent(0), Buffer.from("intent")),
      put(keys.maintenance, Buffer.from("")),
      put(keys.maintenanceLease(0), Buffer.from("lease")),
      put(keys.token("w", 0), Buffer.from("token")),
      put(keys.broker(0), Buffer.from("registration")),
      put(keys.controller, Buffer.from("controller")),
    ],
  );
  return store;
};

const valuesOf = async (store: MetadataStore): Promise<Map<string, Uint8Array>> =>
  new Map((await store.range({ prefix: "" })).kvs.map(({ key, value }) => [key, value]));

test("what describes topics is copied, what belongs to a process or a store is not", async () => {
  const from = await standalone();
  const to = new EmbeddedStore(env);
  const before = await valuesOf(from);
  assert.deepEqual(await copyMetadata(from, to, env.random), {
    ...{ clusterId: "cluster-a", topics: 1, partitions: partitionCount, isNew: true },
  });
  const after = await valuesOf(to);
  const leases = [keys.maintenance, keys.maintenanceLease(0)];
  const own = [keys.token("w", 0), keys.broker(0), keys.controller, ...leases];
  assert.deepEqual(
    [...after.keys()],
    [...before.keys()].filter((key) => !own.includes(key)),
  );
  const kept = [keys.cluster, keys.topic("events"), keys.deletion("00"), keys.producerIds];
  for (const key of [...kept, keys.placement, keys.brokerIntent(0)]) {
    assert.deepEqual(after.get(key), before.get(key), key);
  }
  assert.notDeepEqual(after.get(keys.generation), before.get(keys.generation));
  assert.deepEqual(await valuesOf(from), before, "the source is as it was");
});

test("no registration in the new store is one that an ISR names", async () => {
  const to = new EmbeddedStore(env);
  await copyMetadata(await standalone(), to, env.random);
  const { kvs } = await to.range({ prefix: keys.partitions });
  for (const kv of kvs) {
    const { isr, isrBrokerEpochs, leaderEpoch } = decodeRecord.partition(kv);
    assert.deepEqual([isr, isrBrokerEpochs, leaderEpoch], [[0], [0n], 3]);
  }
});

/** Passes everything on, but the transaction with this number fails. */
const failingAt = (store: MetadataStore, number: number): MetadataStore => {
  let calls = 0;
  return new Proxy(store, {
    get: (target, name) => {
      if (name !== "txn") return Reflect.get(target, name).bind(target);
      return (compares: readonly Compare[], then: readonly Operation[]) => {
        calls += 1;
        if (calls === number) return Promise.reject(new Error("cut off"));
        return target.txn(compares, then);
      };
    },
  });
};

test("there is no cluster before everything is there, and an attempt can be repeated", async () => {
  for (const number of [1, 2, 3, 4]) {
    const from = await standalone();
    const to = new EmbeddedStore(env);
    await assert.rejects(copyMetadata(from, failingAt(to, number), env.random), /cut off/);
    assert.equal(await clusterOf(to), undefined);
    assert.ok((await copyMetadata(from, to, env.random)).isNew);
    const once = await valuesOf(to);
    assert.equal((await copyMetadata(from, to, env.random)).isNew, false);
    assert.deepEqual(await valuesOf(to), once, "nothing is written again");
    assert.equal([...once.keys()].filter((key) => key.startsWith(keys.partitions)).length, 250);
  }
});

test("a store that holds something else is refused, and stays as it is", async () => {
  for (const [present, message] of [
    [clusterRecord("cluster-b"), /holds cluster cluster-b already/],
    [put(keys.topic("other"), Buffer.from("t")), /not empty, it has topics\/other/],
    [put(keys.topic("events"), Buffer.from("changed")), /not empty, it has topics\/events/],
  ] as const) {
    const to = new EmbeddedStore(env);
    await to.txn([], [present]);
    const before = await valuesOf(to);
    const copying = copyMetadata(await standalone(), to, env.random);
    await assert.rejects(copying, { code: ErrorCode.INVALID_REQUEST, message });
    assert.deepEqual(await valuesOf(to), before);
  }
});

test("a cluster that begins meanwhile stops the copy", async () => {
  const to = new EmbeddedStore(env);
  const racing = new Proxy<MetadataStore>(to, {
    get: (target, name) => {
      if (name !== "txn") return Reflect.get(target, name).bind(target);
      return async (compares: readonly Compare[], then: readonly Operation[]) => {
        await target.txn([], [clusterRecord("cluster-b")]);
        return target.txn(compares, then);
      };
    },
  });
  await assert.rejects(copyMetadata(await standalone(), racing, env.random), {
    message: /holds cluster cluster-b already/,
  });
  assert.deepEqual([...(await valuesOf(to)).keys()], [keys.cluster]);
});

test("a store without a cluster is no standalone server's", async () => {
  const store = new EmbeddedStore(env);
  await assert.rejects(copyMetadata(store, new EmbeddedStore(env), env.random), {
    code: ErrorCode.DATA_DIRECTORY_UNUSABLE,
  });
});
