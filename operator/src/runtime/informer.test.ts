import assert from "node:assert/strict";
import { test } from "node:test";
import type { Change } from "./cache.ts";
import { Informer, type InformerOptions } from "./informer.ts";
import { noRuntimeMetrics } from "./metrics.ts";
import { simulated, type Thing, thing, thingKey, thingType } from "./testing/simulated.ts";

const setUp = (options: Partial<InformerOptions<Thing>> = {}) => {
  const world = simulated();
  const restarts: string[] = [];
  let handlerErrors = 0;
  const reports: string[] = [];
  const metrics = {
    ...noRuntimeMetrics,
    onCache: (kind: string, objects: number, staleMs: number) =>
      void reports.push(`${kind} ${objects} ${Math.round(staleMs)}`),
    onWatchRestart: (_kind: string, reason: string) => void restarts.push(reason),
    onHandlerError: () => {
      handlerErrors += 1;
    },
  };
  const { api, clock, random, logger } = world.process("operator");
  const informer = new Informer({
    api,
    clock,
    random,
    logger,
    metrics,
    type: thingType,
    ...options,
  });
  const log: string[] = [];
  const tell = ({ type, object }: Change<Thing>): void =>
    void log.push(`${type} ${object.metadata.name} ${object.spec.size}`);
  informer.onChange(tell);
  const resize = (name: string, size: number): void => {
    const found = world.server.get(thingType, thingKey(name));
    if (found !== undefined) world.server.replace(thingType, { ...found, spec: { size } });
  };
  return { ...world, api, informer, log, restarts, reports, resize, errors: () => handlerErrors };
};

test("it lists in pages, says when it is complete, and tells what comes", async () => {
  const { server, informer, log, pass, resize } = setUp({ pageLimit: 2 });
  for (const name of ["a", "b", "c"]) server.create(thingType, thing(name));
  assert.equal(informer.hasSynced, false);
  informer.start();
  await pass(100);
  assert.equal(informer.hasSynced, true);
  assert.deepEqual(log.splice(0), ["added a 1", "added b 1", "added c 1"]);
  resize("a", 2);
  server.delete(thingType, thingKey("b"), {});
  await pass(100);
  assert.deepEqual(log.splice(0), ["updated a 2", "deleted b 1"]);
  assert.equal(informer.get(thingKey("a"))?.spec.size, 2);
  assert.equal(informer.list().length, 2);
});

test("what no watch told is noticed by the next list, deletions as well", async () => {
  const { server, informer, log, pass, fail, resize } = setUp({ relistMs: 60_000 });
  for (const name of ["a", "b", "c"]) server.create(thingType, thing(name));
  informer.start();
  await pass(100);
  log.splice(0);
  fail({ loseEvent: 1 });
  resize("a", 2);
  server.delete(thingType, thingKey("b"), {});
  // Deleted and made anew: another object of that name.
  server.delete(thingType, thingKey("c"), {});
  server.create(thingType, thing("c", 7));
  await pass(10_000);
  assert.deepEqual(log, []);
  await pass(70_000);
  assert.deepEqual(log, ["deleted b 1", "updated a 2", "deleted c 1", "added c 7"]);
});

test("every further list hands on what has not changed: whoever missed it looks again", async () => {
  const { server, informer, log, pass } = setUp({ relistMs: 60_000 });
  server.create(thingType, thing("a"));
  informer.start();
  await pass(70_000);
  assert.deepEqual(log, ["added a 1", "unchanged a 1"]);
});

for (const fault of ["watchBreaks", "watchExpires", "watchEnds"] as const) {
  test(`it goes on after ${fault}, however often`, async () => {
    const { server, informer, pass, fail, restarts, resize } = setUp();
    server.create(thingType, thing("a"));
    informer.start();
    await pass(100);
    fail({ [fault]: 1 });
    for (let size = 2; size < 30; size += 1) {
      resize("a", size);
      await pass(5000);
    }
    fail({});
    await pass(60_000);
    assert.equal(informer.get(thingKey("a"))?.spec.size, 29);
    const reason = { watchBreaks: "failed", watchExpires: "expired", watchEnds: "ended" }[fault];
    assert.ok(restarts.includes(reason), restarts.join());
  });
}

test("it lists for as long as lists are refused, ever more seldom", async () => {
  const { server, informer, pass, fail, restarts } = setUp();
  server.create(thingType, thing("a"));
  fail({ refuse: 1 });
  informer.start();
  await pass(600_000);
  assert.equal(informer.hasSynced, false);
  assert.ok(restarts.length > 15, `${restarts.length}`);
  assert.ok(restarts.length < 60, `${restarts.length}`);
  fail({});
  await pass(40_000);
  assert.equal(informer.hasSynced, true);
});

test("a list that expires between its pages begins anew, and asks for one page in the end", async () => {
  const limits: (number | undefined)[] = [];
  const { server, informer, pass, api } = setUp({ pageLimit: 1 });
  const list = api.list.bind(api);
  api.list = (type, options) => {
    limits.push(options.limit);
    if (options.continueToken !== undefined) server.compact();
    return list(type, options);
  };
  for (const name of ["a", "b"]) server.create(thingType, thing(name));
  informer.start();
  await pass(60_000);
  assert.equal(informer.list().length, 2);
  assert.deepEqual(limits, [1, 1, 1, 1, 1, 1, undefined]);
});

test("a watch that stands still is ended, and its silence is seen", async () => {
  const { server, informer, pass, fail, restarts, resize, reports } = setUp({ watchMs: 120_000 });
  server.create(thingType, thing("a"));
  informer.start();
  await pass(100);
  fail({ watchHangs: 1 });
  resize("a", 2);
  await pass(100_000);
  assert.equal(informer.aliveWithin(90_000), false);
  assert.equal(informer.aliveWithin(101_000), true);
  informer.report();
  assert.match(reports.at(-1) ?? "", /^Thing 1 100\d{3}$/);
  fail({});
  await pass(60_000);
  assert.equal(informer.get(thingKey("a"))?.spec.size, 2);
  assert.ok(restarts.includes("failed"));
});

test("a server that cannot be reached is no reason to begin anew", async () => {
  const { server, informer, pass, fail } = setUp();
  server.create(thingType, thing("a"));
  informer.start();
  await pass(100);
  fail({ cut: 1 });
  await pass(1_800_000);
  assert.ok(informer.staleMs > 1_000_000);
  assert.equal(informer.aliveWithin(400_000), true);
});

test("bookmarks are signs of life, and a quiet kind is watched on without a list", async () => {
  const { server, informer, pass, restarts, log } = setUp({ relistMs: 3_000_000 });
  server.create(thingType, thing("a"));
  informer.start();
  await pass(100);
  for (let i = 0; i < 30; i += 1) {
    await pass(60_000);
    assert.ok(informer.aliveWithin(70_000), `${informer.staleMs}`);
  }
  assert.deepEqual(new Set(restarts), new Set(["ended"]));
  assert.deepEqual(log, ["added a 1"]);
});

test("handlers that throw are counted, and end nothing", async () => {
  const { server, informer, pass, log, errors, resize } = setUp();
  informer.onChange(() => {
    throw new Error("broken");
  });
  server.create(thingType, thing("a"));
  informer.start();
  await pass(100);
  resize("a", 2);
  await pass(100);
  assert.deepEqual(log, ["added a 1", "updated a 2"]);
  assert.equal(errors(), 2);
});

test("nobody changes what is in the cache", async () => {
  const { server, informer, pass } = setUp();
  server.create(thingType, thing("a"));
  informer.start();
  await pass(100);
  const found = informer.get(thingKey("a")) as unknown as { spec: { size: number } };
  assert.throws(() => {
    found.spec.size = 3;
  }, TypeError);
});

test("objects are found by their owner and by what a function says, and moved when it changes", async () => {
  const { server, informer, pass, resize } = setUp({
    indexes: { size: ({ spec }) => [String(spec.size)] },
  });
  const owner = { apiVersion: "v1", kind: "Owner", name: "o", uid: "uid-1", controller: true };
  // The server of the tests numbers its objects: the owner is the first.
  server.create(thingType, thing("owner"));
  server.create(thingType, thing("a", 1, { ownerReferences: [owner] }));
  server.create(thingType, thing("b", 2));
  informer.start();
  await pass(100);
  const names = (found: readonly Thing[]): string[] => found.map(({ metadata }) => metadata.name);
  assert.deepEqual(names(informer.ownedBy("uid-1")), ["a"]);
  assert.deepEqual(names(informer.find("size", "2")), ["b"]);
  resize("a", 2);
  await pass(100);
  assert.deepEqual(names(informer.find("size", "2")), ["b", "a"]);
  assert.deepEqual(names(informer.find("size", "1")), ["owner"]);
  server.delete(thingType, thingKey("a"), {});
  await pass(100);
  assert.deepEqual(names(informer.ownedBy("uid-1")), []);
});

test("what does not match the labels any more is gone", async () => {
  const { server, informer, pass, log } = setUp({ labelSelector: "app=x" });
  server.create(thingType, thing("a", 1, { labels: { app: "x" } }));
  server.create(thingType, thing("b", 1, { labels: { app: "y" } }));
  informer.start();
  await pass(100);
  const found = server.get(thingType, thingKey("a")) as Thing;
  const metadata = { ...found.metadata, labels: { app: "y" } };
  server.replace(thingType, { ...found, metadata });
  await pass(100);
  assert.deepEqual(log, ["added a 1", "deleted a 1"]);
});

test("it stops in the middle of a watch", async () => {
  const { informer, pass, kernel } = setUp();
  informer.start();
  await pass(100);
  await kernel.run(informer.stop(), 1000);
});
