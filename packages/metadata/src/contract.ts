/**
 * The contract of a metadata store, run by the test of each. Every test uses keys with a prefix of
 * its own.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ErrorCode, hasCode } from "@millrace/errors";
import type { MetadataStore, WatchBatch, WatchEnd, WatchEvent } from "./api.ts";

const bytes = (text: string): Uint8Array => Buffer.from(text);
const text = (value: Uint8Array): string => Buffer.from(value).toString();
const put = (key: string, value: string, lease?: string) =>
  ({ type: "put", key, value: bytes(value), ...(lease === undefined ? {} : { lease }) }) as const;

/** Waits until `done` holds. */
const until = async (done: () => boolean): Promise<void> => {
  for (let i = 0; i < 1000 && !done(); i += 1) await sleep(10);
  assert.ok(done(), "it never happened");
};

/** Events of a watch, and its end. */
const collect = (store: MetadataStore, prefix: string, from: number) => {
  const events: WatchEvent[] = [];
  const batches: WatchBatch[] = [];
  const ends: WatchEnd[] = [];
  const handle = store.watch({ prefix }, from, {
    onBatch: (batch) => {
      batches.push(batch);
      events.push(...batch.events);
    },
    onEnd: (end) => ends.push(end),
  });
  return { events, batches, ends, cancel: () => handle.cancel(), handle };
};

/** Registers the suite. `open` gives a store, maybe shared; `prefix` must be new for every test. */
export const metadataContract = (
  name: string,
  open: () => Promise<MetadataStore>,
  prefixOf: () => string,
): void => {
  const check = (what: string, body: (store: MetadataStore, p: string) => Promise<void>): void => {
    test(`${name}: ${what}`, async () => {
      const store = await open();
      try {
        await body(store, prefixOf());
      } finally {
        await store.close();
      }
    });
  };

  check("put, read, change, delete keep etcd's revisions and versions", async (store, p) => {
    const first = await store.txn([], [put(`${p}a`, "1")]);
    const second = await store.txn([], [put(`${p}a`, "2"), put(`${p}b`, "x")]);
    assert.equal(second.revision, first.revision + 1);
    const { kvs, revision, more } = await store.range({ prefix: p });
    assert.deepEqual([kvs.length, revision, more], [2, second.revision, false]);
    const a = kvs[0];
    assert.deepEqual(
      [a?.key, a && text(a.value), a?.createRevision, a?.modRevision, a?.version],
      [`${p}a`, "2", first.revision, second.revision, 2],
    );
    const gone = await store.txn([], [{ type: "delete", range: { prefix: p } }]);
    assert.deepEqual(gone.results, [{ type: "delete", deleted: 2 }]);
    assert.equal((await store.range({ prefix: p })).kvs.length, 0);
    const again = await store.txn([], [put(`${p}a`, "3")]);
    const [kv] = (await store.range({ key: `${p}a` })).kvs;
    assert.deepEqual([kv?.version, kv?.createRevision], [1, again.revision]);
  });

  check("a transaction does one branch, as a whole", async (store, p) => {
    const absent = { key: `${p}k`, target: "createRevision", equals: 0 } as const;
    const made = await store.txn([absent], [put(`${p}k`, "1")], [put(`${p}k`, "no")]);
    assert.ok(made.succeeded);
    const refused = await store.txn(
      [absent],
      [put(`${p}k`, "2")],
      [{ type: "range", range: { key: `${p}k` } }],
    );
    assert.equal(refused.succeeded, false);
    assert.equal(refused.revision, made.revision);
    const [read] = refused.results;
    assert.equal(read?.type === "range" && read.kvs[0] && text(read.kvs[0].value), "1");
    for (const [compare, holds] of [
      [{ key: `${p}k`, target: "value", equals: bytes("1") }, true],
      [{ key: `${p}k`, target: "value", equals: bytes("2") }, false],
      [{ key: `${p}k`, target: "modRevision", equals: made.revision }, true],
      [{ key: `${p}k`, target: "version", equals: 2 }, false],
      [{ key: `${p}none`, target: "value", equals: bytes("") }, false],
      [{ key: `${p}none`, target: "version", equals: 0 }, true],
    ] as const) {
      assert.equal((await store.txn([compare], [])).succeeded, holds, JSON.stringify(compare));
    }
  });

  check("ranges are ordered, paged, and can be read in the past", async (store, p) => {
    const names = ["b", "a", "ä", "a/", "Z", "aa"];
    const made = await store.txn(
      [],
      names.map((key) => put(p + key, key)),
    );
    const { kvs } = await store.range({ prefix: p });
    const sorted = names
      .map((key) => p + key)
      .sort((x, y) => Buffer.compare(Buffer.from(x), Buffer.from(y)));
    assert.deepEqual(
      kvs.map(({ key }) => key),
      sorted,
    );
    const page = await store.range({ prefix: p }, { limit: 2 });
    assert.ok(page.more);
    const rest = await store.range({ prefix: p }, { startAfter: page.kvs[1]?.key ?? "" });
    assert.deepEqual(
      [...page.kvs, ...rest.kvs].map(({ key }) => key),
      sorted,
    );
    await store.txn([], [{ type: "delete", range: { key: `${p}a` } }, put(`${p}b`, "new")]);
    const past = await store.range({ prefix: p }, { revision: made.revision });
    assert.deepEqual(
      past.kvs.map(({ value }) => text(value)),
      kvs.map(({ value }) => text(value)),
    );
  });

  check("limits are enforced before any effect", async (store, p) => {
    const many = Array.from({ length: 129 }, (_, i) => put(`${p}${i}`, "x"));
    for (const operations of [
      many,
      [put(`${p}a`, "1"), put(`${p}a`, "2")],
      [put(`${p}big`, "x".repeat(1_600_000))],
    ]) {
      await assert.rejects(store.txn([], operations), (thrown) =>
        hasCode(thrown, ErrorCode.INVALID_REQUEST),
      );
    }
    assert.equal((await store.range({ prefix: p })).kvs.length, 0);
  });

  check("a watch delivers every change from its revision, in order", async (store, p) => {
    const first = await store.txn([], [put(`${p}a`, "1")]);
    await store.txn([], [put(`${p}a`, "2"), put(`${p}b`, "1")]);
    const seen = collect(store, p, first.revision);
    await store.txn([], [put("elsewhere", "x")]);
    await store.txn([], [{ type: "delete", range: { key: `${p}a` } }]);
    await until(() => seen.events.length === 4);
    const told = seen.events.map(
      ({ type, kv }) => `${type} ${kv.key.slice(p.length)} ${text(kv.value)}`,
    );
    assert.deepEqual(told, ["put a 1", "put a 2", "put b 1", "delete a "]);
    const revisions = seen.batches.map(({ revision }) => revision);
    assert.deepEqual(
      revisions,
      revisions.toSorted((x, y) => x - y),
    );
    seen.cancel();
    await until(() => seen.ends.length === 1);
    assert.equal(seen.ends[0]?.reason, "cancelled");
    await store.txn([], [put(`${p}late`, "x")]);
    await sleep(30);
    assert.equal(seen.events.length, 4);
  });

  check("a watch from before the compaction ends as compacted", async (store, p) => {
    const first = await store.txn([], [put(`${p}a`, "1")]);
    const second = await store.txn([], [put(`${p}a`, "2")]);
    await store.compact(second.revision);
    const seen = collect(store, p, first.revision);
    await until(() => seen.ends.length === 1);
    assert.equal(seen.ends[0]?.reason, "compacted");
    const live = collect(store, p, second.revision);
    await until(() => live.events.length === 1);
    live.cancel();
  });

  check("a lease takes its keys with it", async (store, p) => {
    const lease = await store.grantLease(1);
    await store.txn([], [put(`${p}leased`, "x", lease.id), put(`${p}stays`, "x")]);
    const seen = collect(store, p, (await store.range({ key: p })).revision + 1);
    assert.equal(await store.keepAlive(lease.id), true);
    await until(() => seen.events.some(({ type }) => type === "delete"));
    assert.deepEqual(
      (await store.range({ prefix: p })).kvs.map(({ key }) => key),
      [`${p}stays`],
    );
    assert.equal(await store.keepAlive(lease.id), false);
    const other = await store.grantLease(60);
    await store.txn([], [put(`${p}other`, "x", other.id)]);
    await store.revokeLease(other.id);
    await store.revokeLease(other.id);
    assert.equal((await store.range({ key: `${p}other` })).kvs.length, 0);
    await assert.rejects(store.txn([], [put(`${p}dead`, "x", other.id)]));
    seen.cancel();
  });
};
