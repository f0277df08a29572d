import assert from "node:assert/strict";
import { test } from "node:test";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import type { MetadataStore } from "./api.ts";
import { ClusterStore } from "./cluster-store.ts";
import { EmbeddedStore } from "./embedded.ts";
import { clusterStoreContract } from "./testing/cluster-store-contract.ts";
import { clusterRecord } from "./testing/records.ts";

const clock = nodeClock();
const random = nodeRandom();

clusterStoreContract("memory", async () => new EmbeddedStore({ clock, random }));

test("the check costs no call, but one at the beginning", async () => {
  const store = new EmbeddedStore({ clock, random });
  await store.txn([], [clusterRecord("ours")]);
  let calls = 0;
  const count =
    <A extends unknown[], R>(call: (...args: A) => R) =>
    (...args: A): R => {
      calls += 1;
      return call(...args);
    };
  const counted: MetadataStore = Object.assign(Object.create(store), {
    range: count(store.range.bind(store)),
    txn: count(store.txn.bind(store)),
    keepAlive: count(store.keepAlive.bind(store)),
  });
  const ours = new ClusterStore(counted, "ours");
  const absent = { key: "k", target: "version", equals: 0 } as const;
  const put = { type: "put", key: "k", value: Buffer.from("v") } as const;
  await ours.txn([absent], [put]);
  assert.equal(calls, 2);
  const lease = await store.grantLease(60);
  await ours.txn([absent], [put]);
  await ours.range({ prefix: "" });
  await ours.keepAlive(lease.id);
  assert.equal(calls, 5);
  await store.close();
});
