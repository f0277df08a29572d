import assert from "node:assert/strict";
import { test } from "node:test";
import { silentLogger } from "@millrace/env";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import type { KeyRange, KeyValue, MetadataStore, WatchHandlers } from "./api.ts";
import { Mirror } from "./mirror.ts";

const clock = nodeClock();
const random = nodeRandom();

const kvAt = (modRevision: number): KeyValue => ({
  ...{ key: "k", value: Buffer.from(`at ${modRevision}`), createRevision: 1, modRevision },
  ...{ version: modRevision, lease: undefined },
});

/** A store whose answers the test gives. */
const scripted = (relistIntervalMs = 10) => {
  const listings: PromiseWithResolvers<{ kvs: KeyValue[]; revision: number; more: boolean }>[] = [];
  const watches: { from: number; handlers: WatchHandlers }[] = [];
  const store = {
    range: async (range: KeyRange) => {
      if ("key" in range) return { kvs: [], revision: mirror.revision, more: false };
      const listing = Promise.withResolvers<{ kvs: KeyValue[]; revision: number; more: boolean }>();
      listings.push(listing);
      return listing.promise;
    },
    watch: (_range: unknown, from: number, handlers: WatchHandlers) => {
      watches.push({ from, handlers });
      return { cancel: () => {}, requestProgress: () => {} };
    },
  };
  const mirror: Mirror = new Mirror({
    store: store as unknown as MetadataStore,
    ...{ clock, random, logger: silentLogger, relistIntervalMs },
  });
  return { mirror, listings, watches };
};

test("a listing that the watch has overtaken changes nothing", async (context) => {
  const { mirror, listings, watches } = scripted();
  context.after(() => mirror.close());
  const started = mirror.start();
  listings[0]?.resolve({ kvs: [kvAt(5)], revision: 5, more: false });
  await started;
  assert.equal(watches[0]?.from, 6);
  while (listings.length < 2) await clock.sleep(1);
  // The safety listing is under way: it saw revision 5, and the watch delivers 6 before it answers.
  watches[0]?.handlers.onBatch({ events: [{ type: "put", kv: kvAt(6) }], revision: 6 });
  listings[1]?.resolve({ kvs: [kvAt(5)], revision: 5, more: false });
  await clock.sleep(5);
  assert.equal(mirror.revision, 6);
  assert.equal(mirror.get("k")?.modRevision, 6);
  assert.equal(mirror.missed, 0);
});

test("what the watch has missed is counted and corrected by the next listing", async (context) => {
  const { mirror, listings } = scripted();
  context.after(() => mirror.close());
  const started = mirror.start();
  listings[0]?.resolve({ kvs: [], revision: 5, more: false });
  await started;
  while (listings.length < 2) await clock.sleep(1);
  listings[1]?.resolve({ kvs: [kvAt(5)], revision: 5, more: false });
  await clock.sleep(5);
  assert.equal(mirror.missed, 1);
  assert.equal(mirror.get("k")?.modRevision, 5);
});

test("waiting for a revision ends in time, at the revision, or with the mirror", async (context) => {
  const { mirror, listings, watches } = scripted();
  context.after(() => mirror.close());
  const started = mirror.start();
  listings[0]?.resolve({ kvs: [], revision: 5, more: false });
  await started;
  const within = <T>(promise: Promise<T>): Promise<T | "timeout"> =>
    Promise.race([promise, clock.sleep(1000).then(() => "timeout" as const)]);
  assert.equal(await mirror.waitForRevision(5, 0), true);
  assert.equal(await within(mirror.waitForRevision(6, 10)), false);
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
  while (watches.length < 2) await clock.sleep(1);
  assert.equal(watches[1]?.from, 6);
  assert.equal(listings.length, 1);
  watches[1]?.handlers.onEnd({ reason: "compacted", compactRevision: 20 });
  while (listings.length < 2 && watches.length < 3) await clock.sleep(1);
  assert.equal(watches.length, 2, "nothing is watched before the listing");
  const told: string[] = [];
  mirror.onChange((events) => told.push(...events.map(({ type, kv }) => `${type} ${kv.key}`)));
  listings[1]?.resolve({ kvs: [], revision: 30, more: false });
  while (watches.length < 3) await clock.sleep(1);
  assert.equal(watches[2]?.from, 31);
  assert.deepEqual(told, ["delete k"]);
});
