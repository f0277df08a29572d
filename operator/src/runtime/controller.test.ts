import assert from "node:assert/strict";
import { test } from "node:test";
import { Controller, type ControllerOptions } from "./controller.ts";
import { TerminalError } from "./errors.ts";
import { Informer } from "./informer.ts";
import { ApiError } from "./kubernetes.ts";
import { Manager } from "./manager.ts";
import { noRuntimeMetrics } from "./metrics.ts";
import { controllerReference, isControlledBy } from "./owners.ts";
import { type ConfigMap, configMapType } from "./testing/demo.ts";
import { simulated, type Thing, thing, thingKey, thingType } from "./testing/simulated.ts";

const setUp = (options: Partial<ControllerOptions<Thing>> = {}) => {
  const world = simulated();
  const log: string[] = [];
  const results: string[] = [];
  let overdue = 0;
  const metrics = {
    ...noRuntimeMetrics,
    onReconcile: (_name: string, result: string) => void results.push(result),
    onOverdue: () => {
      overdue += 1;
    },
  };
  const process = world.process("operator");
  const { api, clock, random, logger } = process;
  const shared = { api, clock, random, logger };
  const primary = new Informer({ ...shared, type: thingType });
  const children = new Informer({ ...shared, type: configMapType });
  const controller = new Controller<Thing>({
    ...{ ...shared, name: "things", metrics, primary },
    reconcile: async ({ name }) => {
      log.push(`${Math.round(clock.monoMs())} ${name}`);
      return {};
    },
    ...options,
  });
  const manager = new Manager([primary, children], [controller]);
  const names = (): string[] => log.splice(0).map((line) => line.split(" ")[1] ?? "");
  return {
    ...{ ...world, ...process, controller, manager, primary, children, log, names, results },
    overdue: () => overdue,
  };
};

const child = (name: string, metadata: Partial<ConfigMap["metadata"]>): ConfigMap => ({
  ...{ apiVersion: "v1", kind: "ConfigMap" },
  metadata: { ...thingKey(name), ...metadata },
  data: { a: "b" },
});

test("nothing is reconciled before every cache is complete", async () => {
  const { server, controller, manager, primary, children, pass, names, api } = setUp();
  controller.owns(children);
  server.create(thingType, thing("a"));
  const list = api.list.bind(api);
  let isRefused = true;
  // Of the second kind alone.
  api.list = (type, options) => {
    if (isRefused && type.kind === "ConfigMap") throw new ApiError("not now", { status: 500 });
    return list(type, options);
  };
  void manager.reconcile();
  await pass(10_000);
  assert.equal(primary.hasSynced, true);
  assert.equal(manager.hasSynced, false);
  assert.deepEqual(names(), []);
  isRefused = false;
  await pass(60_000);
  assert.equal(manager.hasSynced, true);
  assert.deepEqual(names(), ["a"]);
});

test("what waits for its caches ends when it is stopped", async () => {
  const { kernel, manager, fail, pass, server, names } = setUp();
  server.create(thingType, thing("a"));
  fail({ refuse: 1 });
  const reconciling = manager.reconcile();
  await pass(1000);
  await kernel.run(manager.stop(), 60_000);
  await kernel.run(reconciling, 1000);
  fail({});
  await pass(60_000);
  assert.deepEqual(names(), []);
});

test("a change of a child is its owner's, and a change of another kind is whom it is about", async () => {
  const { server, controller, manager, children, pass, names } = setUp();
  controller.owns(children).maps(children, ({ metadata }) => {
    const about = metadata.labels?.["about"];
    return about === undefined ? [] : [thingKey(about)];
  });
  const owner = server.create(thingType, thing("a"));
  void manager.reconcile();
  await pass(1000);
  names();
  const ownerReferences = [controllerReference(thingType, owner)];
  const owned = server.create(configMapType, child("x", { ownerReferences }));
  assert.equal(isControlledBy(owned, owner), true);
  await pass(1000);
  assert.deepEqual(names(), ["a"]);
  // Of another kind's, of one that is no controller, of none.
  const foreign = { ...controllerReference(thingType, owner), kind: "Other" };
  const otherGroup = { ...controllerReference(thingType, owner), apiVersion: "other.dev/v1" };
  const lesser = { ...controllerReference(thingType, owner), controller: false };
  for (const [i, reference] of [foreign, otherGroup, lesser].entries()) {
    server.create(configMapType, child(`y${i}`, { ownerReferences: [reference] }));
  }
  await pass(1000);
  assert.deepEqual(names(), []);
  const about = server.create(configMapType, child("z", { labels: { about: "b" } }));
  await pass(1000);
  assert.deepEqual(names(), ["b"]);
  // The one it was about before hears of it, too.
  const labels = { about: "c" };
  server.replace(configMapType, { ...about, metadata: { ...about.metadata, labels } });
  await pass(1000);
  assert.deepEqual(names(), ["b", "c"]);
  server.delete(configMapType, thingKey("z"), {});
  await pass(1000);
  assert.deepEqual(names(), ["c"]);
});

test("what fails is tried again ever more seldom, and the server's wish counts", async () => {
  let tries = 0;
  const { server, manager, pass, results } = setUp({
    reconcile: async () => {
      tries += 1;
      if (tries === 1) throw new Error("broken");
      if (tries === 2) throw new ApiError("changed", { status: 409 });
      if (tries === 3) throw new ApiError("slow down", { status: 429, retryAfterMs: 30_000 });
      return {};
    },
  });
  server.create(thingType, thing("a"));
  void manager.reconcile();
  await pass(29_000);
  assert.deepEqual(results, ["failed", "conflict", "failed"]);
  await pass(10_000);
  assert.deepEqual(results, ["failed", "conflict", "failed", "done"]);
});

test("what no repetition mends is said once, and tried again when the object changes", async () => {
  const said: string[] = [];
  const errors = [
    new ApiError("spec.size: must be positive", { status: 422, reason: "Invalid" }),
    new TerminalError("TooSmall", "the size is too small: raise it"),
  ];
  let runs = 0;
  const { server, manager, pass, results } = setUp({
    reconcile: async () => {
      runs += 1;
      throw errors[Math.min(runs, 2) - 1] ?? new Error("none");
    },
    onTerminal: async (_key, { reason, message }) => void said.push(`${reason}: ${message}`),
  });
  const made = server.create(thingType, thing("a"));
  void manager.reconcile();
  await pass(300_000);
  assert.deepEqual(said, ["Invalid: spec.size: must be positive"]);
  server.replace(thingType, { ...made, spec: { size: 2 } });
  await pass(1000);
  assert.equal(said[1], "TooSmall: the size is too small: raise it");
  assert.deepEqual(results, ["terminal", "terminal"]);
});

test("a condition that could not be written is a failure like any other", async () => {
  let runs = 0;
  const { server, manager, pass, results } = setUp({
    reconcile: async () => {
      throw new TerminalError("Wrong", "wrong: change it");
    },
    onTerminal: async () => {
      runs += 1;
      if (runs === 1) throw new ApiError("not now", { status: 500 });
    },
  });
  server.create(thingType, thing("a"));
  void manager.reconcile();
  await pass(10_000);
  assert.deepEqual(results, ["failed", "terminal"]);
});

test("a reconcile beyond its deadline writes nothing more, and never runs twice at once", async () => {
  let active = 0;
  let wrote = 0;
  const world = setUp({
    deadlineMs: 5000,
    reconcile: async (_key, { api, signal }) => {
      active += 1;
      assert.equal(active, 1);
      await world.clock.sleep(20_000);
      active -= 1;
      assert.equal(signal.aborted, true);
      await api.create(thingType, thing(`late-${wrote}`));
      wrote += 1;
      return {};
    },
  });
  const made = world.server.create(thingType, thing("a"));
  void world.manager.reconcile();
  await world.pass(1000);
  world.server.replace(thingType, { ...made, spec: { size: 2 } });
  await world.pass(18_000);
  assert.equal(world.overdue(), 1);
  assert.equal(world.controller.aliveWithin(10_000), false);
  assert.equal(world.manager.aliveWithin(30_000), true);
  await world.pass(20_000);
  assert.equal(wrote, 0);
  assert.equal(world.results[0], "failed");
});

test("it comes again when it asked to, and stops when what is under way has ended", async () => {
  const world = setUp({
    reconcile: async ({ name }) => {
      world.log.push(`0 ${name}`);
      await world.clock.sleep(100);
      return { requeueAfterMs: 10_000 };
    },
  });
  world.server.create(thingType, thing("a"));
  void world.manager.reconcile();
  await world.pass(25_000);
  assert.deepEqual(world.names(), ["a", "a", "a"]);
  await world.kernel.run(world.manager.stop(), 1000);
  await world.pass(60_000);
  assert.deepEqual(world.names(), []);
});
