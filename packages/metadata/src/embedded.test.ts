import assert from "node:assert/strict";
import { test } from "node:test";
import { nodeRandom } from "@millrace/env/node";
import { manualClock } from "@millrace/env/testing";
import type { Operation } from "./api.ts";
import { EmbeddedStore, historyBytesMax } from "./embedded.ts";
import { isOutcomeUnknown } from "./outcome.ts";

const put = (key: string, lease?: string): Operation => ({
  type: "put",
  key,
  value: Buffer.from("v"),
  ...(lease === undefined ? {} : { lease }),
});

test("a lease lives for its time after the last keep-alive, and not longer", async () => {
  const { clock, advance } = manualClock();
  const store = new EmbeddedStore({ clock, random: nodeRandom() });
  const { id } = await store.grantLease(10);
  await store.txn([], [put("k", id)]);
  const there = async () => (await store.range({ key: "k" })).kvs.length === 1;
  await advance(9000);
  assert.equal(await store.keepAlive(id), true);
  await advance(9999);
  assert.equal(await there(), true);
  await advance(1);
  assert.equal(await there(), false);
  assert.equal(await store.keepAlive(id), false);
});

test("a watch that is served change by change sees each revision once, together", async () => {
  const { clock, turn } = manualClock();
  const store = new EmbeddedStore({ clock, random: nodeRandom() });
  const seen: string[] = [];
  const { revision } = await store.range({ key: "a" });
  store.watch({ prefix: "" }, revision + 1, {
    onBatch: ({ events, revision: at }) =>
      seen.push(
        `${at - revision}: ${events.map(({ type, kv }) => `${type} ${kv.key}`).join(", ")}`,
      ),
    onEnd: () => seen.push("end"),
  });
  await turn();
  await store.txn([], [put("a")]);
  await turn();
  await store.txn([], [put("b"), { type: "delete", range: { key: "a" } }]);
  await turn();
  await store.txn([], [put("c")]);
  await store.txn([], [put("d")]);
  await turn();
  assert.deepEqual(seen, ["1: put a", "2: put b, delete a", "3: put c", "4: put d"]);
});

test("a call ends in time when the disk does not answer, its outcome unknown", async () => {
  const { clock, turn, advance } = manualClock();
  const disk = Promise.withResolvers<void>();
  const store = new EmbeddedStore({
    ...{ clock, random: nodeRandom() },
    persistence: {
      load: () => ({ revision: 1, kvs: [] }),
      commit: () => disk.promise,
      close: () => {},
    },
  });
  const failures: unknown[] = [];
  const note = (thrown: unknown): void => {
    failures.push(thrown);
  };
  store.txn([], [put("a")], [], { timeoutMs: 100 }).catch(note);
  store.txn([], [put("b")]).catch(note);
  await turn();
  await advance(99);
  assert.equal(failures.length, 0);
  await advance(1);
  assert.deepEqual(failures.map(isOutcomeUnknown), [true]);
  await advance(4900);
  assert.deepEqual(failures.map(isOutcomeUnknown), [true, true]);
  disk.resolve();
  await turn();
  assert.equal((await store.range({ prefix: "" })).kvs.length, 2, "both have happened in the end");
});

test("a value stays what it was put as, whatever becomes of its maker's memory", async () => {
  const { clock } = manualClock();
  const store = new EmbeddedStore({ clock, random: nodeRandom() });
  const pool = Buffer.alloc(1024, "a");
  await store.txn([], [{ type: "put", key: "k", value: pool.subarray(0, 4) }]);
  pool.fill("b");
  const [kv] = (await store.range({ key: "k" })).kvs;
  assert.equal(Buffer.from(kv?.value ?? []).toString(), "aaaa");
  assert.equal(kv?.value.buffer.byteLength, 4, "it holds no more memory than its own");
});

test("the past is kept within its bytes, and is told to be gone behind them", async () => {
  const { clock } = manualClock();
  const store = new EmbeddedStore({ clock, random: nodeRandom() });
  const mib = 1024 * 1024;
  const revisions: number[] = [];
  for (let i = 0; i < 64; i += 1) {
    const value = Buffer.alloc(mib, i);
    revisions.push((await store.txn([], [{ type: "put", key: "k", value }])).revision);
  }
  const readable: number[] = [];
  for (const [i, revision] of revisions.entries()) {
    const read = await store.range({ key: "k" }, { revision }).catch((thrown) => {
      assert.match(String(thrown), /is compacted/);
    });
    if (read === undefined) continue;
    readable.push(i);
    assert.equal(read.kvs[0]?.value[0], i);
  }
  // Each change holds its value and the one before. The newest is there without any history.
  const most = historyBytesMax / (2 * mib) + 1;
  assert.ok(
    readable.length >= Math.floor(most / 2) && readable.length <= most,
    `${readable.length} revisions`,
  );
  assert.equal(readable.at(-1), 63);
  const [first = 0] = readable;
  assert.deepEqual(
    readable,
    Array.from({ length: 64 - first }, (_, i) => first + i),
  );
});
