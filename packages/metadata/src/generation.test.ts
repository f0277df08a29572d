/** What a restored store is given before anybody reads it. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { nodeRandom } from "@millrace/env/node";
import { manualClock } from "@millrace/env/testing";
import { ClusterRecordSchema, PartitionRecordSchema } from "@millrace/proto/storage";
import type { Operation } from "./api.ts";
import { EmbeddedStore } from "./embedded.ts";
import { epochsPerGeneration, renewGeneration } from "./generation.ts";
import { decodeRecord, encodeRecord, keys } from "./keys.ts";

const topicId = Buffer.alloc(16, 7);
const keyOf = (partition: number): string => keys.partition(topicId.toString("hex"), partition);

const partitionPut = (partition: number, leaderEpoch: number): Operation => ({
  ...{ type: "put", key: keyOf(partition) },
  value: encodeRecord.partition(
    create(PartitionRecordSchema, { topicId, partition, leaderEpoch, replicas: [0, 1], isr: [1] }),
  ),
});

/** A restored store of a cluster with partitions in the epochs 1, 2 and so on. */
const restored = async (count: number) => {
  const random = nodeRandom();
  const store = new EmbeddedStore({ clock: manualClock().clock, random });
  const record = create(ClusterRecordSchema, { clusterId: "c" });
  await store.txn([], [{ type: "put", key: keys.cluster, value: encodeRecord.cluster(record) }]);
  for (let i = 0; i < count; i += 1) await store.txn([], [partitionPut(i, i + 1)]);
  const epochs = async (): Promise<number[]> => {
    const { kvs } = await store.range({ prefix: keys.partitions });
    return kvs.map((kv) => decodeRecord.partition(kv).leaderEpoch);
  };
  const generation = async () => (await store.range({ key: keys.generation })).kvs[0]?.value;
  return { store, random, epochs, generation };
};

test("a new generation begins above every leader epoch that may have been given", async () => {
  const count = 300;
  const { store, random, epochs, generation } = await restored(count);
  const before = (await store.range({ key: keyOf(4) })).kvs[0] ?? assert.fail();
  const given = await renewGeneration(store, random);
  assert.equal(Buffer.from((await generation()) ?? []).toString(), given);
  const expected = Array.from({ length: count }, (_, i) => i + 1 + epochsPerGeneration);
  assert.deepEqual(await epochs(), expected);
  const after = (await store.range({ key: keyOf(4) })).kvs[0] ?? assert.fail();
  const leaderEpoch = 5 + epochsPerGeneration;
  assert.deepEqual(
    decodeRecord.partition(after),
    { ...decodeRecord.partition(before), leaderEpoch },
    "nothing else changes",
  );
  await renewGeneration(store, random);
  assert.equal((await epochs())[0], 1 + 2 * epochsPerGeneration);
});

test("nobody sees the new generation with an old epoch, and one that was broken off is run again", async () => {
  const { store, random, epochs, generation } = await restored(100);
  const { txn } = store;
  let calls = 0;
  store.txn = async (...args) => {
    calls += 1;
    // Somebody else writes between the two transactions that the epochs take.
    if (calls === 2) await txn.call(store, [], [partitionPut(99, 5)]);
    return txn.apply(store, args);
  };
  await assert.rejects(renewGeneration(store, random), /stop the controllers, and retry/);
  assert.equal(await generation(), undefined);
  await renewGeneration(store, random);
  const all = await epochs();
  assert.ok(all.every((epoch) => epoch > epochsPerGeneration));
  assert.equal(all[99], 5 + epochsPerGeneration);
});

test("a record that is damaged, or has no epoch left, stays as it is", async () => {
  const { store, random, generation } = await restored(3);
  const value = Buffer.from("damaged");
  await store.txn([], [{ type: "put", key: keyOf(1), value }, partitionPut(2, 0x7fff_ffff)]);
  await renewGeneration(store, random);
  assert.ok((await generation()) !== undefined);
  const recordOf = async (partition: number) =>
    (await store.range({ key: keyOf(partition) })).kvs[0] ?? assert.fail();
  assert.deepEqual(Buffer.from((await recordOf(1)).value), value);
  assert.equal(decodeRecord.partition(await recordOf(2)).leaderEpoch, 0x7fff_ffff);
  assert.equal(decodeRecord.partition(await recordOf(0)).leaderEpoch, 1 + epochsPerGeneration);
});
