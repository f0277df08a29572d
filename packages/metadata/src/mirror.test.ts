import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { type Clock, silentLogger } from "@millrace/env";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import type { KeyValue, MetadataStore, Operation, WatchEvent, WatchHandlers } from "./api.ts";
import { EmbeddedStore } from "./embedded.ts";
import { keys } from "./keys.ts";
import { Mirror, type Reset } from "./mirror.ts";
import { mirrorContract } from "./testing/mirror-contract.ts";
import { steered } from "./testing/steered.ts";

const clock = nodeClock();
const random = nodeRandom();

mirrorContract("memory", async () => new EmbeddedStore({ clock, random }));

/** Waits until `done` holds. */
const until = async (done: () => boolean): Promise<void> => {
  for (let i = 0; i < 3000 && !done(); i += 1) await clock.sleep(1);
  assert.ok(done(), "it never happened");
};

const kvAt = (modRevision: number): KeyValue => ({
  ...{ key: "k", value: Buffer.from(`at ${modRevision}`), createRevision: 1, modRevision },
  ...{ version: modRevision, lease: undefined },
});

/** A store whose answers the test gives. */
const scripted = (relistIntervalMs = 10, time = clock) => {
  const listings: PromiseWithResolvers<{ kvs: KeyValue[]; revision: number; more: boolean }>[] = [];
  const watches: { from: number; handlers: WatchHandlers }[] = [];
  const asked = { times: 0 };
  const store = {
    txn: async (_: unknown, reads: readonly Operation[]) => ({
      ...{ succeeded: true, revision: mirror.revision },
      results: reads.map(() => ({ type: "range", kvs: [] })),
    }),
    range: async () => {
      const listing = Promise.withResolvers<{ kvs: KeyValue[]; revision: number; more: boolean }>();
      listings.push(listing);
      return listing.promise;
    },
    watch: (_range: unknown, from: number, handlers: WatchHandlers) => {
      watches.push({ from, handlers });
      const requestProgress = (): void => {
        asked.times += 1;
      };
      return { cancel: () => {}, requestProgress };
    },
  };
  const mirror: Mirror = new Mirror({
    store: store as unknown as MetadataStore,
    ...{ clock: time, random, logger: silentLogger, relistIntervalMs },
  });
  return { mirror, listings, watches, asked };
};

test("a listing that the watch has overtaken changes nothing", async (context) => {
  const { mirror, listings, watches } = scripted();
  context.after(() => mirror.close());
  const started = mirror.start();
  const old = [kvAt(5), { ...kvAt(4), key: "deleted" }];
  listings[0]?.resolve({ kvs: old, revision: 5, more: false });
  await started;
  assert.equal(watches[0]?.from, 6);
  await until(() => listings.length >= 2);
  // The safety listing is under way: it saw revision 5, and the watch delivers 6 before it answers.
  const events: WatchEvent[] = [
    { type: "put", kv: kvAt(6) },
    { type: "put", kv: { ...kvAt(6), key: "new" } },
    { type: "delete", kv: { ...kvAt(6), key: "deleted" } },
  ];
  watches[0]?.handlers.onBatch({ events, revision: 6 });
  listings[1]?.resolve({ kvs: old, revision: 5, more: false });
  await clock.sleep(5);
  assert.equal(mirror.revision, 6);
  assert.deepEqual(
    mirror.entries("").map(({ key, modRevision }) => [key, modRevision]),
    [
      ["k", 6],
      ["new", 6],
    ],
  );
  assert.equal(mirror.missed, 0);
});

test("a change that is known already is told to nobody, and undoes nothing", async (context) => {
  const { mirror, listings, watches } = scripted(2 ** 30);
  context.after(() => mirror.close());
  const started = mirror.start();
  listings[0]?.resolve({ kvs: [kvAt(5)], revision: 6, more: false });
  await started;
  const told: number[] = [];
  mirror.onChange((events) => told.push(...events.map(({ kv }) => kv.modRevision)));
  for (const revision of [4, 5, 6, 7, 7]) {
    watches[0]?.handlers.onBatch({ events: [{ type: "put", kv: kvAt(revision) }], revision });
  }
  assert.deepEqual(told, [7]);
  assert.deepEqual([mirror.get("k")?.modRevision, mirror.revision], [7, 7]);
});

test("what the watch has missed is counted and corrected by the next listing", async (context) => {
  const { mirror, listings } = scripted();
  context.after(() => mirror.close());
  const started = mirror.start();
  listings[0]?.resolve({ kvs: [], revision: 5, more: false });
  await started;
  await until(() => listings.length >= 2);
  listings[1]?.resolve({ kvs: [kvAt(5)], revision: 5, more: false });
  await clock.sleep(5);
  assert.equal(mirror.missed, 1);
  assert.equal(mirror.get("k")?.modRevision, 5);
});

test("a safety listing that another listing has overtaken proves nothing", async (context) => {
  const { mirror, listings, watches } = scripted();
  context.after(() => mirror.close());
  const started = mirror.start();
  listings[0]?.resolve({ kvs: [], revision: 5, more: false });
  await started;
  await until(() => listings.length >= 2);
  // At revision 10 the key was there. The watch never came so far: it is compacted away, and the
  // next listing, at 20, finds the key deleted.
  listings[1]?.resolve({ kvs: [kvAt(8)], revision: 10, more: false });
  watches[0]?.handlers.onEnd({ reason: "compacted", compactRevision: 15 });
  await until(() => listings.length >= 3);
  listings[2]?.resolve({ kvs: [], revision: 20, more: false });
  await until(() => watches.length >= 2);
  await clock.sleep(5);
  assert.equal(mirror.missed, 0);
  assert.equal(mirror.get("k"), undefined);
});

test("waiting for a revision ends in time, at the revision, or with the mirror", async (context) => {
  const { mirror, listings, watches, asked } = scripted();
  context.after(() => mirror.close());
  const started = mirror.start();
  listings[0]?.resolve({ kvs: [], revision: 5, more: false });
  await started;
  const within = <T>(promise: Promise<T>): Promise<T | "timeout"> =>
    Promise.race([promise, clock.sleep(1000).then(() => "timeout" as const)]);
  assert.equal(await mirror.waitForRevision(5, 0), true);
  assert.equal(await within(mirror.waitForRevision(6, 10)), false);
  assert.equal(asked.times, 1, "the change may be one that no event tells of");
  const reached = mirror.waitForRevision(6, 10_000);
  watches[0]?.handlers.onBatch({ events: [], revision: 6 });
  assert.equal(await within(reached), true);
  const closed = mirror.waitForRevision(7, 10_000);
  mirror.close();
  assert.equal(await within(closed), false);
});

test("a watch that is compacted away is replaced by a listing, a lost one by a watch", async (context) => {
  const { mirror, listings, watches } = scripted(100_000);
  context.after(() => mirror.close());
  const started = mirror.start();
  listings[0]?.resolve({ kvs: [kvAt(4)], revision: 5, more: false });
  await started;
  watches[0]?.handlers.onEnd({ reason: "lost", error: new Error("cut") });
  await until(() => watches.length >= 2);
  assert.equal(watches[1]?.from, 6);
  assert.equal(listings.length, 1);
  watches[1]?.handlers.onEnd({ reason: "compacted", compactRevision: 20 });
  await until(() => listings.length >= 2 || watches.length >= 3);
  assert.equal(watches.length, 2, "nothing is watched before the listing");
  const told: string[] = [];
  mirror.onChange((events) => told.push(...events.map(({ type, kv }) => `${type} ${kv.key}`)));
  listings[1]?.resolve({ kvs: [], revision: 30, more: false });
  await until(() => watches.length >= 3);
  assert.equal(watches[2]?.from, 31);
  assert.deepEqual(told, ["delete k"]);
});

const put = (key: string, value: string) =>
  ({ type: "put", key, value: Buffer.from(value) }) as const;

/** A mirror on a store that has gone further than another one, which then takes its place. */
const movedBack = async (context: TestContext, relistIntervalMs: number) => {
  const [before, after] = [0, 1].map(() => new EmbeddedStore({ clock, random }));
  assert.ok(before !== undefined && after !== undefined);
  for (let i = 0; i < 5; i += 1) await before.txn([], [put("k", `before ${i}`)]);
  await after.txn([], [put("k", "after")]);
  const shaky = steered(before);
  const errors: string[] = [];
  const logger = { ...silentLogger, error: (_: unknown, message: string) => errors.push(message) };
  const mirror = new Mirror({
    ...{ store: shaky.store, clock, random, logger, relistIntervalMs },
  });
  context.after(() => mirror.close());
  const resets: Reset[] = [];
  mirror.onReset((reset) => resets.push(reset));
  await mirror.start();
  return { mirror, resets, errors, shaky, after };
};

test("a store whose revision has gone back is told, and read anew", async (context) => {
  const { mirror, resets, errors, shaky, after } = await movedBack(context, 2 ** 30);
  shaky.replace(after);
  await until(() => resets.length > 0);
  assert.deepEqual(resets, [
    { before: { generation: "", revision: 6 }, after: { generation: "", revision: 2 } },
  ]);
  assert.equal(mirror.revision, 2);
  assert.equal(Buffer.from(mirror.get("k")?.value ?? []).toString(), "after");
  assert.equal(errors.length, 1);
  await after.txn([], [put("k", "later")]);
  assert.equal(await mirror.waitForRevision(3, 5000), true);
  assert.equal(Buffer.from(mirror.get("k")?.value ?? []).toString(), "later");
  mirror.close();
});

test("a safety listing notices a store that has gone back under a watch that is not lost", async (context) => {
  const { mirror, resets, shaky, after } = await movedBack(context, 30);
  shaky.redirect(after);
  await until(() => resets.length > 0);
  await after.txn([], [put("k", "later")]);
  assert.equal(await mirror.waitForRevision(3, 5000), true);
  assert.deepEqual([mirror.resets, mirror.missed, mirror.revision], [1, 0, 3]);
  mirror.close();
});

test("equal revisions of different stores are not taken for equal values", async (context) => {
  const [one, two] = [0, 1].map(() => new EmbeddedStore({ clock, random }));
  assert.ok(one !== undefined && two !== undefined);
  await one.txn([], [put(keys.generation, "one"), put("k", "1")]);
  await two.txn([], [put(keys.generation, "two"), put("k", "2")]);
  const shaky = steered(one);
  const mirror = new Mirror({ store: shaky.store, clock, random, logger: silentLogger });
  context.after(() => mirror.close());
  await mirror.start();
  shaky.replace(two);
  await until(() => mirror.resets > 0);
  assert.equal(Buffer.from(mirror.get("k")?.value ?? []).toString(), "2");
  mirror.close();
});

test("a watch that is silent is replaced by another one", async (context) => {
  const store = new EmbeddedStore({ clock, random });
  let watches = 0;
  const silent: MetadataStore = Object.create(store, {
    range: { value: store.range.bind(store) },
    txn: { value: store.txn.bind(store) },
    watch: {
      value: (...[range, from, handlers]: Parameters<MetadataStore["watch"]>) => {
        watches += 1;
        if (watches > 1) return store.watch(range, from, handlers);
        return { cancel: () => {}, requestProgress: () => {} };
      },
    },
  });
  // A hundred times as fast.
  const fast = { ...clock, timer: (ms: number, run: () => void) => clock.timer(ms / 100, run) };
  const mirror = new Mirror({
    ...{ store: silent, clock: fast, random, logger: silentLogger, relistIntervalMs: 1000 },
  });
  context.after(() => mirror.close());
  await mirror.start();
  await store.txn([], [put("k", "1")]);
  await until(() => mirror.get("k") !== undefined);
  assert.equal(watches, 2);
  assert.equal(mirror.missed, 0, "the watch was late, and has lost nothing");
  mirror.close();
});

test("breaks without an end are met with longer and longer pauses, until something comes", async (context) => {
  const pauses: number[] = [];
  const recorded: Clock = {
    ...clock,
    timer: (ms, run) => {
      pauses.push(ms);
      return clock.timer(ms / 100, run);
    },
  };
  const { mirror, listings, watches } = scripted(2 ** 30, recorded);
  context.after(() => mirror.close());
  const started = mirror.start();
  listings[0]?.resolve({ kvs: [], revision: 5, more: false });
  await started;
  pauses.length = 0;
  for (let i = 0; i < 9; i += 1) {
    watches.at(-1)?.handlers.onEnd({ reason: "lost", error: new Error("cut") });
    await until(() => watches.length > i + 1);
    if (i === 7) watches.at(-1)?.handlers.onBatch({ events: [], revision: 6 });
  }
  assert.equal(pauses.length, 9);
  // Half to one and a half of it.
  for (const [i, ms] of [50, 100, 200, 400, 800, 1600, 3200, 5000, 50].entries()) {
    const pause = pauses[i] ?? 0;
    assert.ok(pause >= ms / 2 && pause <= ms * 1.5, `${pause} ms for ${ms}`);
  }
});
