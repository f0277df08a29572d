/**
 * The contract of a metadata store, run by the test of each. Every test uses keys with a prefix of
 * its own.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { ErrorCode, hasCode } from "@millrace/errors";
import type { MetadataStore, Operation, WatchBatch, WatchEnd, WatchEvent } from "./api.ts";
import { requestBytesMax } from "./limits.ts";

const bytes = (text: string): Uint8Array => Buffer.from(text);
const text = (value: Uint8Array): string => Buffer.from(value).toString();
const put = (key: string, value: string, lease?: string) =>
  ({ type: "put", key, value: bytes(value), ...(lease === undefined ? {} : { lease }) }) as const;

/** Waits until `done` holds. */
const until = async (done: () => boolean): Promise<void> => {
  for (let i = 0; i < 1000 && !done(); i += 1) await sleep(10);
  assert.ok(done(), "it never happened");
};

const remove = (key: string): Operation => ({ type: "delete", range: { key } });

const refused = (code: ErrorCode) => (thrown: unknown) => hasCode(thrown, code);
const invalid = refused(ErrorCode.INVALID_REQUEST);

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
      [{ prefix: `${p}k`, target: "modRevision", below: made.revision + 1 }, true],
      [{ prefix: `${p}k`, target: "modRevision", below: made.revision }, false],
      [{ prefix: `${p}none`, target: "modRevision", below: 1 }, true],
    ] as const) {
      assert.equal((await store.txn([compare], [])).succeeded, holds, JSON.stringify(compare));
    }
  });

  check("a compare of a prefix sees what was put, and no deletion", async (store, p) => {
    const { revision } = await store.txn([], [put(`${p}a/1`, "1"), put(`${p}a/2`, "1")]);
    const compare = { prefix: `${p}a/`, target: "modRevision", below: revision + 1 } as const;
    const holds = async () => (await store.txn([compare], [])).succeeded;
    await store.txn([], [put(`${p}a`, "2"), put(`${p}b`, "2"), remove(`${p}a/1`)]);
    assert.equal(await holds(), true);
    await store.txn([], [put(`${p}a/2`, "1")]);
    assert.equal(await holds(), false, "also where the value is the same");
    await store.txn([], [remove(`${p}a/2`)]);
    assert.equal(await holds(), true);
    const all = { prefix: "", target: "modRevision", below: 1 } as const;
    await assert.rejects(store.txn([all], []), invalid);
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

  check("operations of a transaction see those before them", async (store, p) => {
    const range = { prefix: p };
    const { results } = await store.txn(
      [],
      [
        put(`${p}a`, "1"),
        { type: "range", range },
        { type: "delete", range: { prefix: `${p}x` } },
        put(`${p}b`, "2"),
        { type: "range", range },
      ],
    );
    const read = results.map((result) =>
      result.type === "range" ? result.kvs.map(({ key }) => key.slice(p.length)) : result.type,
    );
    assert.deepEqual(read, ["put", ["a"], "delete", "put", ["a", "b"]]);
  });

  check("of many who create one key, one succeeds", async (store, p) => {
    const absent = { key: `${p}k`, target: "version", equals: 0 } as const;
    const tries = Array.from({ length: 10 }, (_, i) =>
      store.txn([absent], [put(`${p}k`, String(i))]),
    );
    const winners = (await Promise.all(tries)).filter(({ succeeded }) => succeeded);
    assert.equal(winners.length, 1);
  });

  check("values and keys come back byte for byte", async (store, p) => {
    const all = Uint8Array.from({ length: 256 }, (_, i) => i);
    const names = ["ü", "\u0000", "\uffff", "😀", " ", "a\nb"];
    await store.txn(
      [],
      names.map((key, i) => ({
        type: "put",
        key: p + key,
        value: i === 0 ? new Uint8Array(0) : all,
      })),
    );
    const { kvs } = await store.range({ prefix: p });
    assert.deepEqual(new Set(kvs.map(({ key }) => key)), new Set(names.map((key) => p + key)));
    for (const { key, value } of kvs) {
      assert.deepEqual([...value], key === `${p}ü` ? [] : [...all], JSON.stringify(key));
    }
    assert.equal((await store.range({ prefix: `${p}\uffff` })).kvs.length, 1);
  });

  check("pages begin after any key, and hold at least one", async (store, p) => {
    await store.txn([], [put(`${p}a`, "1"), put(`${p}b`, "1"), put(`${p}c`, "1")]);
    const names = async (startAfter: string): Promise<string> => {
      const { kvs } = await store.range({ prefix: p }, { startAfter });
      return kvs.map(({ key }) => key.slice(p.length)).join("");
    };
    const cases = ["", p, `${p}a`, `${p}a0`, `${p}c`, "\u{10ffff}"];
    assert.deepEqual(await Promise.all(cases.map(names)), ["abc", "abc", "bc", "bc", "", ""]);
    const one = async (startAfter: string): Promise<number> =>
      (await store.range({ key: `${p}b` }, { startAfter })).kvs.length;
    assert.deepEqual(await Promise.all([`${p}a`, `${p}b`, `${p}c`].map(one)), [1, 0, 0]);
    for (const limit of [0, -1, 1.5]) {
      await assert.rejects(store.range({ prefix: p }, { limit }), invalid);
    }
  });

  check("a request at the limit is taken, one byte more is not", async (store, p) => {
    const bytesOf = (value: number) => [
      { type: "put", key: p, value: Buffer.alloc(value) } as const,
    ];
    let [low, high] = [0, requestBytesMax];
    // What is counted besides keys and values is the store's own affair.
    const isTaken = (size: number): Promise<boolean> =>
      store.txn([{ key: p, target: "version", equals: -1 }], bytesOf(size)).then(
        () => true,
        (thrown: unknown) => {
          assert.ok(invalid(thrown), String(thrown));
          return false;
        },
      );
    while (high - low > 1) {
      const middle = Math.floor((low + high) / 2);
      if (await isTaken(middle)) low = middle;
      else high = middle;
    }
    assert.ok(low > requestBytesMax - 4096 && low < requestBytesMax, `${low} bytes`);
    assert.ok((await store.txn([], bytesOf(low))).succeeded);
    assert.equal((await store.range({ key: p })).kvs[0]?.value.length, low);
  });

  check("128 of everything are taken, at their longest", async (store, p) => {
    const names = Array.from({ length: 128 }, (_, i) => p + String(i).padStart(60, "k"));
    const compares = names.map((key) => ({ key, target: "version", equals: 0 }) as const);
    const puts = names.map((key) => put(key, "x".repeat(11_000)));
    const reads = names.map((prefix): Operation => ({ type: "range", range: { prefix } }));
    assert.ok((await store.txn(compares, puts, reads)).succeeded);
    const { succeeded, results } = await store.txn(compares, puts, reads);
    assert.deepEqual([succeeded, results.length], [false, 128]);
  });

  check("text that is not well-formed is refused", async (store, p) => {
    const half = `${p}\ud800`;
    const value = new Uint8Array(0);
    await assert.rejects(store.txn([], [{ type: "put", key: half, value }]), invalid);
    await assert.rejects(store.txn([], [remove(half)]), invalid);
    const compare = { key: half, target: "version", equals: 0 } as const;
    await assert.rejects(store.txn([compare], []), invalid);
    await assert.rejects(store.range({ prefix: half }), invalid);
    assert.throws(
      () => store.watch({ prefix: half }, 1, { onBatch: () => {}, onEnd: () => {} }),
      invalid,
    );
  });

  check("history below a compaction is gone, that from it on is not", async (store, p) => {
    const first = await store.txn([], [put(`${p}a`, "1")]);
    const second = await store.txn([], [put(`${p}a`, "2")]);
    await store.txn([], [put(`${p}a`, "3")]);
    const at = async (revision: number): Promise<string> => {
      const [kv] = (await store.range({ key: `${p}a` }, { revision })).kvs;
      return kv === undefined ? "" : text(kv.value);
    };
    assert.equal(await at(first.revision), "1");
    await store.compact(second.revision);
    await store.compact(second.revision);
    await store.compact(first.revision);
    await assert.rejects(at(first.revision), invalid);
    assert.equal(await at(second.revision), "2");
    const { revision } = await store.range({ key: p });
    await assert.rejects(at(revision + 1), invalid);
    await assert.rejects(store.compact(revision + 1), invalid);
  });

  check("a deletion at the compaction's revision is still delivered", async (store, p) => {
    await store.txn([], [put(`${p}a`, "1")]);
    const gone = await store.txn([], [remove(`${p}a`)]);
    await store.txn([], [put(`${p}b`, "1")]);
    await store.compact(gone.revision);
    const seen = collect(store, p, gone.revision);
    await until(() => seen.events.length === 2);
    assert.deepEqual(
      seen.events.map(({ type, kv }) => [type, kv.key.slice(p.length), kv.modRevision]),
      [
        ["delete", "a", gone.revision],
        ["put", "b", gone.revision + 1],
      ],
    );
    seen.cancel();
  });

  check("a deletion is told without what was there", async (store, p) => {
    await store.txn([], [put(`${p}a`, "1")]);
    const { revision } = await store.txn([], [remove(`${p}a`)]);
    const seen = collect(store, p, revision);
    await until(() => seen.events.length === 1);
    const kv = { key: `${p}a`, createRevision: 0, modRevision: revision, version: 0 };
    assert.deepEqual(
      { ...seen.events[0], kv: { ...seen.events[0]?.kv, value: undefined } },
      { type: "delete", kv: { ...kv, value: undefined, lease: undefined } },
    );
    assert.equal(seen.events[0]?.kv.value.length, 0);
    seen.cancel();
  });

  check("a batch is one revision, whole, however large", async (store, p) => {
    const value = "x".repeat(300_000);
    const names = ["d", "a", "c", "b"];
    const puts = names.map((name) => put(p + name, value));
    const { revision: first } = await store.txn([], puts);
    for (let i = 0; i < 3; i += 1) await store.txn([], puts);
    await store.txn([], [put(`${p}z`, "1"), { type: "delete", range: { prefix: `${p}a` } }]);
    const seen = collect(store, p, first);
    await until(() => seen.events.length === 18);
    const told = seen.batches
      .filter(({ events }) => events.length > 0)
      .map(({ events, revision }) => {
        assert.ok(events.every(({ kv }) => kv.modRevision === revision));
        return `${revision - first} ${events.map(({ kv }) => kv.key.slice(p.length)).join("")}`;
      });
    assert.deepEqual(told, ["0 dacb", "1 dacb", "2 dacb", "3 dacb", "4 za"]);
    seen.cancel();
  });

  check("a watch tells how far it is when it is asked", async (store, p) => {
    const { revision } = await store.txn([], [put(`${p}a`, "1")]);
    const seen = collect(store, p, revision);
    const far = (): number => seen.batches.at(-1)?.revision ?? 0;
    // At once, before the watch is made.
    seen.handle.requestProgress();
    await until(() => far() >= revision);
    const elsewhere = await store.txn([], [put("elsewhere", "x")]);
    for (let i = 0; i < 100 && far() < elsewhere.revision; i += 1) {
      seen.handle.requestProgress();
      await sleep(20);
    }
    assert.equal(far(), elsewhere.revision);
    assert.deepEqual(seen.batches.at(-1)?.events, []);
    assert.equal(seen.events.length, 1);
    seen.cancel();
    seen.handle.requestProgress();
  });

  check("a watch from where the store has never been ends as diverged", async (store, p) => {
    const { revision } = await store.range({ key: p });
    const next = collect(store, p, revision + 1);
    const ahead = collect(store, p, revision + 10);
    await until(() => ahead.ends.length === 1);
    assert.equal(ahead.ends[0]?.reason, "diverged");
    await store.txn([], [put(`${p}a`, "1")]);
    await until(() => next.events.length === 1);
    assert.deepEqual([ahead.events.length, next.ends.length], [0, 0]);
    next.cancel();
  });

  check("a watch that is cancelled in a batch delivers no other", async (store, p) => {
    const { revision } = await store.txn([], [put(`${p}a`, "1")]);
    await store.txn([], [put(`${p}a`, "2")]);
    let batches = 0;
    const ended = new Promise<WatchEnd>((resolve) => {
      const handle = store.watch({ key: `${p}a` }, revision, {
        onBatch: () => {
          batches += 1;
          handle.cancel();
        },
        onEnd: resolve,
      });
    });
    assert.equal((await ended).reason, "cancelled");
    await sleep(30);
    assert.equal(batches, 1);
  });

  check("a key goes with the lease that it was last put under", async (store, p) => {
    const [one, two] = [await store.grantLease(60), await store.grantLease(60)];
    assert.notEqual(one.id, two.id);
    assert.ok(one.ttlSeconds >= 60);
    await store.txn([], [put(`${p}a`, "1", one.id), put(`${p}b`, "1", one.id)]);
    await store.txn([], [put(`${p}c`, "1", one.id), put(`${p}a`, "2", two.id)]);
    await store.txn([], [put(`${p}b`, "2")]);
    const { revision } = await store.range({ key: p });
    const seen = collect(store, p, revision + 1);
    await store.revokeLease(one.id);
    await store.revokeLease(two.id);
    await until(() => seen.events.length === 2);
    const told = seen.events.map(({ type, kv }) => `${type} ${kv.key.slice(p.length)}`);
    assert.deepEqual(told, ["delete c", "delete a"]);
    assert.deepEqual(
      (await store.range({ prefix: p })).kvs.map(({ lease }) => lease),
      [undefined],
    );
    for (const ttl of [0, -1, 1.5]) await assert.rejects(store.grantLease(ttl), invalid);
    for (const none of ["", "nothing", one.id]) {
      assert.equal(await store.keepAlive(none), false);
      await store.revokeLease(none);
      await assert.rejects(store.txn([], [put(`${p}x`, "1", none)]), invalid);
      const other = { key: `${p}b`, target: "version", equals: 0 } as const;
      await store.txn([other], [put(`${p}x`, "1", none)], []);
    }
    seen.cancel();
  });

  check("a closed store ends its watches, and takes nothing more", async (store, p) => {
    const seen = collect(store, p, (await store.range({ key: p })).revision + 1);
    await store.close();
    await until(() => seen.ends.length === 1);
    assert.equal(seen.ends[0]?.reason, "cancelled");
    const cancelled = refused(ErrorCode.CANCELLED);
    await assert.rejects(store.range({ key: p }), cancelled);
    await assert.rejects(store.txn([], []), cancelled);
    await assert.rejects(store.keepAlive("1"), cancelled);
    assert.throws(
      () => store.watch({ key: p }, 1, { onBatch: () => {}, onEnd: () => {} }),
      cancelled,
    );
  });
};
