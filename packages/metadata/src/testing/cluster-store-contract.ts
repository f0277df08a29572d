/** What the store of a cluster does on any store. Every test opens a key space of its own. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import type { MetadataStore, Operation } from "../api.ts";
import { ClusterStore } from "../cluster-store.ts";
import { GuardedWriter } from "../guarded-writer.ts";
import { keys } from "../keys.ts";
import { LeasedKey } from "../leased-key.ts";
import { isOutcomeUnknown } from "../outcome.ts";
import { clusterRecord, wiped } from "./records.ts";

const clock = nodeClock();
const random = nodeRandom();

const put = (key: string, value: string): Operation => ({
  ...{ type: "put", key, value: Buffer.from(value) },
});
const read = (key: string): Operation => ({ type: "range", range: { key } });

/** The error of a store that is not the cluster's: nothing was done, and it may be tried again. */
const isForeign =
  (found: string) =>
  (thrown: unknown): boolean => {
    assert.ok(hasCode(thrown, ErrorCode.UNAVAILABLE), String(thrown));
    assert.ok(MillraceError.from(thrown).spec.retriable && !isOutcomeUnknown(thrown));
    const text = `the metadata store holds ${found}, not that of cluster ours: bring the right data back`;
    assert.ok(MillraceError.from(thrown).message.startsWith(text), String(thrown));
    return true;
  };

/** Registers the suite. `open` gives a store with an empty key space of its own. */
export const clusterStoreContract = (name: string, open: () => Promise<MetadataStore>): void => {
  const check = (
    what: string,
    body: (store: MetadataStore, ours: ClusterStore) => Promise<void>,
  ): void => {
    test(`cluster store on ${name}: ${what}`, async () => {
      const store = await open();
      try {
        await store.txn([], [clusterRecord("ours"), put("a", "1")]);
        await body(store, new ClusterStore(store, "ours"));
      } finally {
        await store.close();
      }
    });
  };

  check("with the record, every call answers as the store does", async (store, ours) => {
    const absent = { key: "b", target: "version", equals: 0 } as const;
    const made = await ours.txn([absent], [put("b", "1"), read("a")], [read("b")]);
    const refused = await ours.txn([absent], [put("b", "2")], [read("b"), read("a")]);
    assert.deepEqual([made.succeeded, made.results.length], [true, 2]);
    assert.deepEqual([refused.succeeded, refused.results.length], [false, 2]);
    assert.equal(refused.revision, made.revision);
    for (const [range, options] of [
      [{ prefix: "" }, {}],
      [{ key: "b" }, {}],
      [{ prefix: "" }, { limit: 1 }],
      [{ prefix: "" }, { startAfter: "a", limit: 1 }],
      [{ prefix: "" }, { revision: made.revision }],
    ] as const) {
      assert.deepEqual(await ours.range(range, options), await store.range(range, options));
    }
    const lease = await ours.grantLease(60);
    assert.equal(await ours.keepAlive(lease.id), true);
    await ours.revokeLease(lease.id);
    assert.equal(await ours.keepAlive(lease.id), false);
  });

  check("a record that changes, and stays the cluster's, refuses nothing", async (store, ours) => {
    await ours.txn([], [put("a", "2")]);
    await store.txn([], [clusterRecord("ours", 2)]);
    assert.equal((await ours.txn([], [put("a", "3")])).succeeded, true);
    await store.txn([], [clusterRecord("ours", 3)]);
    const { kvs } = await ours.range({ key: "a" });
    assert.deepEqual(kvs, (await store.range({ key: "a" })).kvs);
    assert.equal(kvs.length, 1);
  });

  for (const [found, operation] of [
    ["no record of a cluster", wiped],
    ["the record of cluster theirs", clusterRecord("theirs")],
    ["a record that is damaged", put(keys.cluster, "\u0000\u0001")],
  ] as const) {
    check(
      `nothing is written to a store with ${found}, and nothing is read`,
      async (store, ours) => {
        const lease = await ours.grantLease(60);
        await ours.txn([], [put("a", "2")]);
        await store.revokeLease(lease.id);
        await store.txn([], [operation]);
        const { kvs, revision } = await store.range({ prefix: "" });
        const absent = { key: "a", target: "version", equals: 0 } as const;
        for (const one of [ours, new ClusterStore(store, "ours")]) {
          for (const call of [
            () => one.txn([], [put("a", "3")]),
            () => one.txn([absent], [put("a", "3")], [read("a")]),
            () => one.txn([], []),
            () => one.range({ key: "a" }),
            () => one.range({ prefix: "" }, { limit: 1 }),
            () => one.keepAlive(lease.id),
          ]) {
            await assert.rejects(call, isForeign(found));
          }
        }
        assert.deepEqual(await store.range({ prefix: "" }), { kvs, revision, more: false });
        await store.txn([], [clusterRecord("ours")]);
        assert.equal((await ours.txn([], [put("a", "3")])).succeeded, true);
      },
    );
  }

  check("what would be written when a condition fails is refused", async (_, ours) => {
    const absent = { key: "a", target: "version", equals: 0 } as const;
    for (const write of [put("a", "2"), { type: "delete", range: { key: "a" } } as const]) {
      await assert.rejects(ours.txn([absent], [], [write]), (thrown) =>
        hasCode(thrown, ErrorCode.INVALID_REQUEST),
      );
    }
  });

  check("a guarded writer fails, is not replaced, and goes on", async (store, ours) => {
    const writer = new GuardedWriter({ store: ours, clock, random, writer: "w" });
    await writer.txn([], [put("a", "2")]);
    await store.txn([], [clusterRecord("theirs")]);
    await assert.rejects(
      writer.txn([], [put("a", "3")], { timeoutMs: 100 }),
      isForeign("the record of cluster theirs"),
    );
    await store.txn([], [clusterRecord("ours")]);
    assert.equal((await writer.txn([], [put("a", "4")])).succeeded, true);
    assert.deepEqual([writer.isReplaced, writer.resolved], [false, 0]);
  });

  check("a key that is held under a lease is not lost, and not taken", async (store, ours) => {
    const held = new LeasedKey({ store: ours, clock, key: "k", ttlSeconds: 1 });
    const { createRevision } = await held.tryTake(Buffer.from("v"));
    assert.ok(createRevision !== undefined);
    const losses: string[] = [];
    const stop = held.keep(createRevision, {
      unknownMsMax: Number.POSITIVE_INFINITY,
      onLost: (why) => losses.push(why),
    });
    await store.txn([], [wiped]);
    const late = new LeasedKey({ store: ours, clock, key: "late", ttlSeconds: 1 });
    await assert.rejects(late.tryTake(Buffer.from("v")), isForeign("no record of a cluster"));
    await assert.rejects(
      held.replace(createRevision, Buffer.from("w")),
      isForeign("no record of a cluster"),
    );
    await clock.sleep(1500);
    assert.deepEqual(losses, []);
    assert.equal((await store.range({ prefix: "" })).kvs.length, 0);
    stop();
    await store.txn([], [clusterRecord("ours")]);
    const again = await held.tryTake(Buffer.from("w"));
    assert.ok(again.createRevision !== undefined);
    await held.release();
  });
};
