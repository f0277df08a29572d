/** What a mirror does on any store. Every test opens a key space of its own. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "@millrace/env";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import { ErrorCode, hasCode } from "@millrace/errors";
import type { MetadataStore, Operation } from "../api.ts";
import { newGeneration, putGeneration, renewGeneration } from "../generation.ts";
import { keys } from "../keys.ts";
import { Mirror, type Reset } from "../mirror.ts";
import { clusterRecord, wiped } from "./records.ts";
import { steered } from "./steered.ts";

const clock = nodeClock();
const random = nodeRandom();
/** Resumes at once. */
const quick = { ...random, float: () => 0 };

const put = (key: string, value: string): Operation => ({
  ...{ type: "put", key, value: Buffer.from(value) },
});
const remove = (key: string): Operation => ({ type: "delete", range: { key } });
const text = (value: Uint8Array): string => Buffer.from(value).toString();

/** Mirrors of the running test: one that is left open keeps the process from ending. */
const opened = new Set<Mirror>();

/** A mirror, and what it has told. */
const mirrorOf = async (store: MetadataStore, relistIntervalMs: number, clusterId?: string) => {
  const lines: string[] = [];
  const say = (_: unknown, message: string): void => void lines.push(message);
  const logger = { ...silentLogger, info: say, error: say };
  const resets: Reset[] = [];
  const counts = { listed: 0, resumed: 0, missed: 0, reset: 0, refused: 0 };
  const mirror = new Mirror({
    ...{ store, clock, random: quick, logger, relistIntervalMs },
    ...(clusterId === undefined ? {} : { clusterId }),
    observer: {
      listed: () => {
        counts.listed += 1;
      },
      resumed: () => {
        counts.resumed += 1;
      },
      missed: (changes) => {
        counts.missed += changes;
      },
      reset: () => {
        counts.reset += 1;
      },
      refused: () => {
        counts.refused += 1;
      },
    },
  });
  opened.add(mirror);
  const told: string[] = [];
  /** What somebody knows who believes what is told. */
  const believed = new Map<string, string>();
  await mirror.start();
  for (const { key, value } of mirror.entries("")) believed.set(key, text(value));
  mirror.onChange((events) => {
    for (const { type, kv } of events) {
      told.push(`${type} ${kv.key} ${text(kv.value)}`.trim());
      if (type === "put") believed.set(kv.key, text(kv.value));
      else believed.delete(kv.key);
    }
  });
  mirror.onReset((reset) => resets.push(reset));
  const has = (wanted: string): boolean => told.includes(wanted);
  return { mirror, told, believed, resets, counts, lines, has };
};

const until = async (done: () => boolean): Promise<void> => {
  for (let i = 0; i < 1000 && !done(); i += 1) await clock.sleep(10);
  assert.ok(done(), "it never happened");
};

/** The copy, what was told, and the store say the same. */
const agree = async (
  { mirror, believed }: Awaited<ReturnType<typeof mirrorOf>>,
  store: MetadataStore,
): Promise<void> => {
  const { kvs, revision } = await store.range({ prefix: "" });
  assert.ok(await mirror.waitForRevision(revision, 10_000), "the mirror never caught up");
  const wanted = kvs.map(({ key, value, modRevision }) => [key, text(value), modRevision]);
  const copied = mirror.entries("").map((kv) => [kv.key, text(kv.value), kv.modRevision]);
  assert.deepEqual(copied, wanted);
  assert.deepEqual([...believed].sort(), wanted.map(([key, value]) => [key, value]).sort());
};

const never = 2 ** 30;

/** Registers the suite. `open` gives a store with an empty key space of its own. */
export const mirrorContract = (name: string, open: () => Promise<MetadataStore>): void => {
  const check = (what: string, body: (store: MetadataStore) => Promise<void>): void => {
    test(`mirror on ${name}: ${what}`, async () => {
      const store = await open();
      try {
        await body(store);
      } finally {
        for (const mirror of opened) mirror.close();
        opened.clear();
        await store.close();
      }
    });
  };

  check("it has what was there, and is told what changes", async (store) => {
    await store.txn([], [put("a", "1"), put("b", "1")]);
    const copy = await mirrorOf(store, never);
    assert.equal(copy.mirror.get("a")?.version, 1);
    await store.txn([], [put("a", "2"), put("c", "1"), remove("b")]);
    await agree(copy, store);
    assert.deepEqual(copy.told, ["put a 2", "put c 1", "delete b"]);
    assert.deepEqual(
      copy.mirror.entries("c").map(({ key }) => key),
      ["c"],
    );
    assert.equal(copy.mirror.listings, 1);
    copy.mirror.close();
    await store.txn([], [put("a", "3")]);
    await clock.sleep(20);
    assert.equal(copy.told.length, 3);
  });

  check(
    "a broken watch goes on after the last event: nothing is lost or told twice",
    async (store) => {
      const { store: shaky, cut } = steered(store);
      const copy = await mirrorOf(shaky, never);
      const wanted: string[] = [];
      for (let i = 0; i < 60; i += 1) {
        await store.txn([], [put(`k${i % 7}`, String(i))]);
        wanted.push(`put k${i % 7} ${i}`);
        if (i % 5 === 0) cut();
        if (i % 3 === 0) await clock.sleep(5);
      }
      await agree(copy, store);
      assert.deepEqual(copy.told, wanted);
      assert.equal(copy.counts.listed, 1, "no listing was needed");
      assert.ok(copy.counts.resumed > 0);
      copy.mirror.close();
    },
  );

  check("after a compaction it lists again, and tells of deletions, too", async (store) => {
    const { store: shaky, state, cut } = steered(store);
    await store.txn([], [put("gone", "1"), put("changed", "1"), put("same", "1")]);
    const copy = await mirrorOf(shaky, never);
    state.isDown = true;
    cut();
    await store.txn([], [remove("gone"), put("changed", "2"), put("new", "1")]);
    const { revision } = await store.txn([], [put("changed", "3")]);
    await store.compact(revision);
    state.isDown = false;
    await agree(copy, store);
    assert.deepEqual(copy.told.sort(), ["delete gone", "put changed 3", "put new 1"]);
    assert.equal(copy.counts.listed, 2);
    assert.deepEqual([copy.counts.missed, copy.resets.length], [0, 0]);
    await store.txn([], [put("after", "1")]);
    await agree(copy, store);
    copy.mirror.close();
  });

  check("a revision that changed nothing here is reached all the same", async (store) => {
    const copy = await mirrorOf(store, never);
    const lease = await store.grantLease(60);
    await store.txn([], [{ ...put("leased", "1"), lease: lease.id } as Operation]);
    await store.revokeLease(lease.id);
    await agree(copy, store);
    assert.deepEqual(copy.told, ["put leased 1", "delete leased"]);
    copy.mirror.close();
  });

  check("safety listings beside changes and breaks find no difference", async (store) => {
    const { store: shaky, cut } = steered(store);
    const copy = await mirrorOf(shaky, 20);
    for (let i = 0; i < 200; i += 1) {
      const key = `k${random.below(10)}`;
      await store.txn([], [random.below(3) === 0 ? remove(key) : put(key, String(i))]);
      if (i % 23 === 0) cut();
      if (i % 4 === 0) await clock.sleep(4);
    }
    await until(() => copy.counts.listed > 5);
    await agree(copy, store);
    assert.deepEqual([copy.mirror.missed, copy.counts.missed, copy.resets.length], [0, 0, 0]);
    copy.mirror.close();
  });

  check("a change that a watch has lost is counted, told and corrected", async (store) => {
    const { store: shaky, state } = steered(store);
    await store.txn([], [put("old", "1"), put("kept", "1")]);
    const copy = await mirrorOf(shaky, 50);
    state.drop = ({ kv }) => kv.key === "old" || kv.key === "lost";
    await store.txn([], [remove("old"), put("lost", "1"), put("kept", "2")]);
    await until(() => copy.has("put lost 1"));
    await agree(copy, store);
    assert.deepEqual(copy.told.sort(), ["delete old", "put kept 2", "put lost 1"]);
    assert.deepEqual([copy.mirror.missed, copy.counts.missed], [2, 2]);
    copy.mirror.close();
  });

  check(
    "a store of another generation behind a lost watch is told, and read anew",
    async (store) => {
      await store.txn([], [putGeneration("one"), put("a", "1"), put("b", "1")]);
      const other = await open();
      await other.txn([], [putGeneration("two"), put("b", "1"), put("c", "1")]);
      const shaky = steered(store);
      const copy = await mirrorOf(shaky.store, never);
      assert.equal(copy.mirror.generation, "one");
      const waiting = copy.mirror.waitForRevision(copy.mirror.revision + 1000, 10_000, "one");
      shaky.replace(other);
      await until(() => copy.resets.length === 1);
      assert.equal(await waiting, false, "nobody waits for a revision of another generation");
      await agree(copy, other);
      const [reset] = copy.resets;
      assert.deepEqual([reset?.before.generation, reset?.after.generation], ["one", "two"]);
      assert.equal(copy.mirror.generation, "two");
      assert.ok(copy.has("delete a") && copy.has("put c 1"));
      assert.deepEqual([copy.mirror.resets, copy.counts.reset, copy.counts.missed], [1, 1, 0]);
      copy.mirror.close();
      await other.close();
    },
  );

  check("a generation that is renewed under the mirror is told once", async (store) => {
    const copy = await mirrorOf(store, never);
    assert.equal(copy.mirror.generation, "");
    const first = newGeneration(random);
    await store.txn([], [putGeneration(first)]);
    await until(() => copy.mirror.generation === first);
    assert.equal(copy.resets.length, 0, "a store that gets its first one is no other store");
    await assert.rejects(renewGeneration(store, random), /no record of a cluster/);
    await store.txn([], [clusterRecord("c1")]);
    const second = await renewGeneration(store, random);
    assert.notEqual(second, first);
    await until(() => copy.resets.length === 1);
    assert.equal(copy.mirror.generation, second);
    assert.equal(await copy.mirror.waitForRevision(1, 0, first), false);
    assert.equal(await copy.mirror.waitForRevision(1, 0, second), true);
    await store.txn([], [put("a", "1")]);
    await agree(copy, store);
    assert.equal(copy.resets.length, 1);
    assert.ok(copy.has(`put ${keys.generation} ${second}`));
    copy.mirror.close();
  });

  foreignStores(check, open);
};

const holds = (found: string): string =>
  `the metadata store holds ${found}, not that of cluster ours: bring the right data back, or ` +
  "check the endpoints and the prefix of etcd; until then this process goes on with what it has read";
const isBack = "the metadata store holds this cluster's record again";
const restored = "the metadata store was restored, or is another one: everything is read anew";

/** What a mirror does while its store does not hold the record of its cluster. */
const foreignStores = (
  check: (what: string, body: (store: MetadataStore) => Promise<void>) => void,
  open: () => Promise<MetadataStore>,
): void => {
  const records = [clusterRecord("ours"), putGeneration("one"), put("a", "1"), put("b", "1")];

  check(
    "a store that is wiped under its watch changes nothing, until the data is back",
    async (store) => {
      await store.txn([], records);
      const copy = await mirrorOf(store, never);
      const { revision } = copy.mirror;
      await store.txn([], [wiped]);
      await until(() => copy.counts.refused > 1);
      await store.txn([], [put("a", "2"), put("new", "1")]);
      assert.deepEqual(
        [copy.told, copy.mirror.revision, copy.mirror.entries("").length],
        [[], revision, 4],
      );
      assert.deepEqual(copy.lines, [holds("no record of a cluster")]);
      await store.txn([], [clusterRecord("ours"), putGeneration("one")]);
      await agree(copy, store);
      assert.deepEqual(copy.lines, [holds("no record of a cluster"), isBack]);
      assert.deepEqual([copy.resets.length, copy.counts.missed], [0, 0]);
      assert.ok(copy.has("delete b") && copy.has("put a 2") && copy.has("put new 1"));
      await store.txn([], [put("after", "1")]);
      await agree(copy, store);
    },
  );

  check(
    "a record that becomes another cluster's is not believed, nor what comes with it",
    async (store) => {
      await store.txn([], records);
      const copy = await mirrorOf(store, never);
      await store.txn([], [clusterRecord("theirs"), put("a", "2")]);
      await until(() => copy.counts.refused > 1);
      await store.txn([], [put("b", "2")]);
      await store.txn([], [{ type: "put", key: keys.cluster, value: Buffer.from([255, 1]) }]);
      const broken = holds("a record that is damaged");
      await until(() => copy.lines.includes(broken));
      assert.deepEqual(copy.told, []);
      assert.deepEqual(copy.lines, [holds("the record of cluster theirs"), broken]);
      // Another level of the features is still the same cluster.
      await store.txn([], [clusterRecord("ours", 2)]);
      await agree(copy, store);
      assert.ok(copy.has("put a 2") && copy.has("put b 2"));
      const refused = copy.counts.refused;
      await store.txn([], [clusterRecord("ours", 3)]);
      await agree(copy, store);
      assert.equal(copy.counts.refused, refused);
    },
  );

  check(
    "an empty store behind a lost watch changes nothing: the right one goes on where it was",
    async (store) => {
      await store.txn([], records);
      const other = await open();
      const shaky = steered(store);
      const copy = await mirrorOf(shaky.store, never);
      shaky.replace(other);
      await until(() => copy.counts.refused > 1);
      // A cluster that begins in it is another one.
      await other.txn([], [clusterRecord("theirs"), putGeneration("two"), put("a", "9")]);
      await until(() => copy.lines.length === 2);
      assert.deepEqual([copy.told, copy.mirror.entries("").length], [[], 4]);
      await store.txn([], [put("a", "2")]);
      shaky.replace(store);
      await agree(copy, store);
      assert.deepEqual(copy.told, ["put a 2"]);
      assert.deepEqual([copy.counts.listed, copy.resets.length], [1, 0], "no listing was needed");
      await other.close();
    },
  );

  check(
    "the right record with another generation is a restore: all is read anew",
    async (store) => {
      await store.txn([], records);
      const [empty, backup] = [await open(), await open()];
      await backup.txn([], [clusterRecord("ours"), putGeneration("two"), put("a", "0")]);
      const shaky = steered(store);
      const copy = await mirrorOf(shaky.store, never);
      shaky.replace(empty);
      await until(() => copy.counts.refused > 0);
      shaky.replace(backup);
      await until(() => copy.resets.length === 1);
      await agree(copy, backup);
      assert.deepEqual(copy.lines, [holds("no record of a cluster"), isBack, restored]);
      assert.deepEqual([copy.resets.length, copy.mirror.generation], [1, "two"]);
      for (const one of [empty, backup]) await one.close();
    },
  );

  check("a safety listing of another cluster's store changes nothing", async (store) => {
    await store.txn([], records);
    const other = await open();
    await other.txn([], [clusterRecord("theirs"), putGeneration("one"), put("a", "9")]);
    for (let i = 0; i < 9; i += 1) await other.txn([], [put("c", `${i}`)]);
    const shaky = steered(store);
    const copy = await mirrorOf(shaky.store, 40);
    shaky.redirect(other);
    await until(() => copy.counts.refused > 1);
    assert.deepEqual(copy.told, []);
    assert.deepEqual(copy.lines, [holds("the record of cluster theirs")]);
    shaky.redirect(store);
    await store.txn([], [put("a", "2")]);
    await agree(copy, store);
    assert.deepEqual(copy.told, ["put a 2"]);
    await other.close();
  });

  check(
    "a mirror that knows its cluster does not begin with another one's store",
    async (store) => {
      const isForeign = (thrown: unknown): boolean => hasCode(thrown, ErrorCode.UNAVAILABLE);
      await assert.rejects(mirrorOf(store, never, "ours"), isForeign);
      await store.txn([], [clusterRecord("theirs")]);
      await assert.rejects(mirrorOf(store, never, "ours"), isForeign);
      await store.txn([], [clusterRecord("ours")]);
      await agree(await mirrorOf(store, never, "ours"), store);
    },
  );
};
