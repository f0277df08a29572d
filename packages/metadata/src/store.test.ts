import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { create } from "@bufbuild/protobuf";
import { silentLogger } from "@millrace/env";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import { ErrorCode, hasCode } from "@millrace/errors";
import { TopicRecordSchema } from "@millrace/proto/storage";
import fc from "fast-check";
import type { MetadataStore, WatchHandlers } from "./api.ts";
import { metadataContract } from "./contract.ts";
import { EmbeddedStore } from "./embedded.ts";
import { decodeRecord, encodeRecord, keys } from "./keys.ts";
import { Mirror } from "./mirror.ts";
import { openSqliteStore } from "./node/sqlite.ts";
import { isOutcomeUnknown } from "./outcome.ts";

const clock = nodeClock();
const random = nodeRandom();
const directory = mkdtempSync(join(tmpdir(), "millrace-metadata-"));
after(() => rmSync(directory, { recursive: true }));

let tests = 0;
const prefix = (): string => `t${++tests}/`;

metadataContract("memory", async () => new EmbeddedStore({ clock, random }), prefix);
metadataContract(
  "sqlite",
  async () => openSqliteStore({ path: join(directory, `${tests}.sqlite`), clock, random }),
  prefix,
);

test("what was committed is there after a reopening, leased keys are not", async () => {
  const path = join(directory, "reopen.sqlite");
  const store = openSqliteStore({ path, clock, random });
  const lease = await store.grantLease(60);
  const value = Buffer.from("v");
  await store.txn([], [{ type: "put", key: "gone", value }]);
  await store.txn(
    [],
    [
      { type: "put", key: "kept", value },
      { type: "put", key: "leased", value, lease: lease.id },
      { type: "delete", range: { key: "gone" } },
    ],
  );
  const before = await store.range({ prefix: "" });
  await store.close();
  const again = openSqliteStore({ path, clock, random });
  const now = await again.range({ prefix: "" });
  assert.equal(now.revision, before.revision);
  assert.deepEqual(
    now.kvs.map(({ key, createRevision, version }) => [key, createRevision, version]),
    [["kept", before.revision, 1]],
  );
  await again.close();
});

test("after a commit of unknown outcome the store shows nothing of it, and takes nothing more", async () => {
  let fails = false;
  const store = new EmbeddedStore({
    clock,
    random,
    persistence: {
      load: () => ({ revision: 1, kvs: [] }),
      commit: () => {
        if (fails) throw new Error("EIO");
      },
      close: () => {},
    },
  });
  const put = (key: string) =>
    store.txn([], [{ type: "put", key, value: Buffer.from("v") } as const]);
  const unavailable = (thrown: unknown): boolean => hasCode(thrown, ErrorCode.UNAVAILABLE);
  await put("a");
  fails = true;
  await assert.rejects(put("b"), (thrown) => unavailable(thrown) && isOutcomeUnknown(thrown));
  fails = false;
  await assert.rejects(put("c"), (thrown) => unavailable(thrown) && !isOutcomeUnknown(thrown));
  await assert.rejects(store.range({ prefix: "" }), unavailable);
  await assert.rejects(store.grantLease(1), unavailable);
});

test("a damaged file is refused", () => {
  const path = join(directory, "damaged.sqlite");
  writeFileSync(path, Buffer.alloc(5000, 7));
  assert.throws(
    () => openSqliteStore({ path, clock, random }),
    (thrown) => hasCode(thrown, ErrorCode.DATA_DIRECTORY_UNUSABLE),
  );
});

const command = fc.record({
  key: fc.constantFrom("a", "b", "c"),
  value: fc.string({ maxLength: 3 }),
  expected: fc.integer({ min: 0, max: 3 }),
  remove: fc.boolean(),
});

test("random transactions do what a map would", async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(command, { maxLength: 30 }), async (commands) => {
      const store = new EmbeddedStore({ clock, random });
      const model = new Map<string, { value: string; version: number }>();
      for (const { key, value, expected, remove } of commands) {
        const then = remove
          ? ({ type: "delete", range: { key } } as const)
          : ({ type: "put", key, value: Buffer.from(value) } as const);
        const result = await store.txn([{ key, target: "version", equals: expected }], [then]);
        const known = model.get(key);
        assert.equal(result.succeeded, (known?.version ?? 0) === expected);
        if (!result.succeeded) continue;
        if (remove) model.delete(key);
        else model.set(key, { value, version: (known?.version ?? 0) + 1 });
      }
      const { kvs } = await store.range({ prefix: "" });
      const found = kvs.map(({ key, value, version }) => [
        key,
        Buffer.from(value).toString(),
        version,
      ]);
      const wanted = [...model].sort(([a], [b]) => (a < b ? -1 : 1));
      assert.deepEqual(
        found,
        wanted.map(([key, { value, version }]) => [key, value, version]),
      );
      await store.close();
    }),
    { numRuns: 200 },
  );
});

/** Breaks watches and compacts now and then. */
const unreliable = (store: MetadataStore): MetadataStore & { trouble(): void } => {
  const live = new Set<() => void>();
  return Object.assign(Object.create(store), {
    range: store.range.bind(store),
    txn: store.txn.bind(store),
    watch: (range: { prefix: string }, from: number, handlers: WatchHandlers) => {
      let over = false;
      const handle = store.watch(range, from, {
        onBatch: (batch) => {
          if (!over) handlers.onBatch(batch);
        },
        onEnd: (end) => {
          if (!over) handlers.onEnd(end);
          over = true;
        },
      });
      const lose = (): void => {
        if (over) return;
        over = true;
        handle.cancel();
        handlers.onEnd({ reason: "lost", error: new Error("cut") });
      };
      live.add(lose);
      return handle;
    },
    trouble: () => {
      for (const lose of live) lose();
      live.clear();
    },
  });
};

test("a mirror ends up with what the store has, whatever breaks", async (context) => {
  const store = new EmbeddedStore({ clock, random });
  const shaky = unreliable(store);
  const quick = { float: () => 0, below: random.below, bytes: random.bytes };
  const mirror = new Mirror({
    store: shaky,
    clock,
    random: quick,
    logger: silentLogger,
    relistIntervalMs: 500,
  });
  context.after(async () => {
    mirror.close();
    await store.close();
  });
  await mirror.start();
  const told = new Map<string, string>();
  mirror.onChange((events) => {
    for (const { type, kv } of events) {
      if (type === "put") told.set(kv.key, Buffer.from(kv.value).toString());
      else told.delete(kv.key);
    }
  });
  for (let i = 0; i < 300; i += 1) {
    const key = `k${random.below(20)}`;
    const operation =
      random.below(3) === 0
        ? ({ type: "delete", range: { key } } as const)
        : ({ type: "put", key, value: Buffer.from(String(i)) } as const);
    const { revision } = await store.txn([], [operation]);
    if (i % 17 === 0) shaky.trouble();
    if (i % 41 === 0) await store.compact(revision);
    if (i % 10 === 0) await sleep(2);
  }
  const end = await store.range({ prefix: "" });
  assert.ok(await mirror.waitForRevision(end.revision, 20_000), "the mirror never caught up");
  const wanted = end.kvs.map(({ key, value }) => [key, Buffer.from(value).toString()]);
  const found = mirror.entries("").map(({ key, value }) => [key, Buffer.from(value).toString()]);
  assert.deepEqual(found, wanted);
  assert.deepEqual([...told].sort(), wanted.toSorted());
  assert.equal(mirror.missed, 0);
  assert.equal(await mirror.waitForRevision(end.revision + 5, 20), false);
});

test("a value under another's key is refused", () => {
  const record = create(TopicRecordSchema, { name: "a", topicId: new Uint8Array(16) });
  const value = encodeRecord.topic(record);
  assert.equal(decodeRecord.topic({ key: keys.topic("a"), value }).name, "a");
  for (const kv of [
    { key: keys.topic("b"), value },
    { key: keys.topic("a"), value: Buffer.from([0xff]) },
  ]) {
    assert.throws(
      () => decodeRecord.topic(kv),
      (thrown) => hasCode(thrown, ErrorCode.CORRUPT_MESSAGE),
    );
  }
  assert.equal(keys.partition("ab", 12), "partitions/ab#00012");
});
