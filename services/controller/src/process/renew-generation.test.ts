import assert from "node:assert/strict";
import { test } from "node:test";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import { ErrorCode, hasCode } from "@millrace/errors";
import { EmbeddedStore, keys } from "@millrace/metadata";
import { clusterRecord } from "@millrace/metadata/testing";
import { renew } from "./renew-generation.ts";

const [clock, random] = [nodeClock(), nodeRandom()];

test("a generation is renewed in a store of the cluster, and in no other one", async () => {
  const store = new EmbeddedStore({ clock, random });
  const isRefused = (thrown: unknown): boolean => hasCode(thrown, ErrorCode.UNAVAILABLE);
  for (const wanted of [undefined, "ours"]) {
    await assert.rejects(renew(store, random, wanted), isRefused);
  }
  assert.equal((await store.range({ prefix: "" })).kvs.length, 0);
  await store.txn([], [clusterRecord("ours")]);
  await assert.rejects(renew(store, random, "theirs"), isRefused);
  assert.equal((await store.range({ key: keys.generation })).kvs.length, 0);
  for (const wanted of [undefined, "ours"]) {
    const { clusterId, generation } = await renew(store, random, wanted);
    const [kv] = (await store.range({ key: keys.generation })).kvs;
    assert.deepEqual([clusterId, Buffer.from(kv?.value ?? []).toString()], ["ours", generation]);
  }
  await store.close();
});
