/** Topics through everything that the harness can do to an operator and its servers. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { type Cluster, resourceTypes, schemaOf, type Topic } from "../../api/index.ts";
import { problemsOf } from "../../api/testing/admission.ts";
import { topicKind } from "../../api/topic.ts";
import { EventRecorder } from "../../runtime/events.ts";
import { isBeingDeleted } from "../../runtime/finalizers.ts";
import { Informer } from "../../runtime/informer.ts";
import type { KubernetesApi } from "../../runtime/kubernetes.ts";
import { Manager } from "../../runtime/manager.ts";
import {
  crashAtEveryWrite,
  type Process,
  runScenario,
  type Scenario,
  survivesFaults,
} from "../../runtime/testing/crash-points.ts";
import { manyFaults } from "../../runtime/testing/fake-api/faults.ts";
import type { FakeServer } from "../../runtime/testing/fake-api/server.ts";
import type { ClusterTopics } from "./cluster-topics.ts";
import { TopicReconciler, topicFinalizer } from "./reconciler.ts";
import {
  partitionsAt,
  type StoredTopic,
  storedId,
  storedTopic,
  storedTopics,
  storedTopicType,
} from "./testing.ts";

const schema = schemaOf(topicKind);
/** A part of what there is, for `npm test`; mutants get all of it. */
const faultSeeds = Number(process.env["MILLRACE_OPERATOR_SEEDS"] ?? 10);
const killEvery = Number(process.env["MILLRACE_OPERATOR_KILL_EVERY"] ?? 4);

const start = (
  { api, clock, identity, logger, random }: Omit<Process, "exit">,
  relistMs: number,
): void => {
  const shared = { api, clock, random, logger, relistMs };
  const clusters = new Informer<Cluster>({ ...shared, type: resourceTypes.Cluster });
  const controller = "millrace.dev/operator";
  const topics = new TopicReconciler({
    ...shared,
    clusters,
    events: new EventRecorder({ api, clock, logger, controller, instance: identity }),
    connect: ({ metadata, spec }) =>
      spec.listeners === undefined ? undefined : storedTopics(api, metadata.name, clock),
  });
  const manager = new Manager([clusters, topics.topics], [topics.controller]);
  manager.watch();
  void manager.reconcile();
};

const keyOf = (name: string) => ({ namespace: "n", name });

/** One without listeners cannot be reached. */
const cluster = (name: string, spec: object = { listeners: [] }): Cluster =>
  ({
    ...{ apiVersion: "millrace.dev/v1alpha1", kind: "Cluster", metadata: keyOf(name) },
    spec,
  }) as unknown as Cluster;

const topic = (name: string, spec: Partial<Topic["spec"]> = {}): Topic => ({
  ...{ apiVersion: "millrace.dev/v1alpha1", kind: "Topic", metadata: keyOf(name) },
  spec: {
    ...{ clusterRef: { name: "events" }, partitions: 1 },
    ...{ deletionPolicy: "Retain", adopt: "IfMatches" },
    ...spec,
  },
});

const edit = (server: FakeServer, name: string, spec: Partial<Topic["spec"]>): void => {
  const known = server.get(resourceTypes.Topic, keyOf(name));
  assert.ok(known !== undefined, name);
  server.replace(resourceTypes.Topic, { ...known, spec: { ...known.spec, ...spec } });
};

const stored = (server: FakeServer, name: string, of = "events"): StoredTopic | undefined =>
  server.get(storedTopicType, { namespace: of, name });

const store = (server: FakeServer, name: string, partitions: number, records = 0): void => {
  const about = { name, partitions, replicationFactor: 2, configs: { "retention.ms": "9" } };
  server.create(storedTopicType, storedTopic("events", about, records));
};

/** Somebody changes configs of a topic by other means. */
const tamper = (server: FakeServer, name: string): void => {
  const known = stored(server, name);
  assert.ok(known !== undefined, name);
  const spec = { ...known.spec, configs: { "flush.ms": "5" } };
  server.replace(storedTopicType, { ...known, spec });
};

const nine = { config: { "retention.ms": 9 } };

const conditionOf = ({ status }: Topic, type: string) =>
  status?.conditions?.find((one) => one.type === type);

/** Whether each Topic says this reason of its present generation. */
const isSettled = (server: FakeServer, expected: Readonly<Record<string, string>>): boolean =>
  Object.entries(expected).every(([name, reason]) => {
    const one = server.get(resourceTypes.Topic, keyOf(name));
    const ready = one && conditionOf(one, "Ready");
    return ready?.reason === reason && ready.observedGeneration === one?.metadata.generation;
  });

/** What people do, and what happens to the cluster. */
const drive: Scenario["drive"] = async (server, sleep) => {
  for (const name of ["match", "differs", "taken", "never", "seized"]) store(server, name, 3);
  store(server, "full", 1, 7);
  server.create(resourceTypes.Cluster, cluster("events"));
  server.create(resourceTypes.Cluster, cluster("silent", {}));
  const made = { partitions: 2, replicationFactor: 2, ...nine };
  server.create(resourceTypes.Topic, topic("made", { ...made, topicName: "Made_1" }));
  await sleep(2000);
  server.create(
    resourceTypes.Topic,
    topic("twin", { ...made, topicName: "Made_1", partitions: 4 }),
  );
  server.create(resourceTypes.Topic, topic("match", { partitions: 3, ...nine }));
  server.create(resourceTypes.Topic, topic("differs", { partitions: 4, ...nine }));
  server.create(resourceTypes.Topic, topic("taken", { partitions: 4, adopt: "Always" }));
  server.create(resourceTypes.Topic, topic("never", { partitions: 3, ...nine, adopt: "Never" }));
  server.create(resourceTypes.Topic, topic("lost", { clusterRef: { name: "later" } }));
  server.create(resourceTypes.Topic, topic("waits", { clusterRef: { name: "silent" } }));
  server.create(resourceTypes.Topic, topic("refused", { config: { "flush.ms": 13 } }));
  for (const name of ["gone", "kept"]) server.create(resourceTypes.Topic, topic(name));
  server.create(resourceTypes.Topic, topic("full", { ...nine, deletionPolicy: "DeleteIfEmpty" }));
  server.create(resourceTypes.Topic, topic("empty", { deletionPolicy: "DeleteIfEmpty" }));
  const settled = async (expected: Readonly<Record<string, string>>): Promise<void> => {
    while (!isSettled(server, expected)) await sleep(1000);
  };
  server.create(resourceTypes.Topic, topic("fresh", { adopt: "Never" }));
  server.create(resourceTypes.Topic, topic("brief", { deletionPolicy: "Delete" }));
  while (stored(server, "brief") === undefined) await sleep(20);
  // It may not be known yet whose it is.
  server.delete(resourceTypes.Topic, keyOf("brief"), {});
  const seized = { partitions: 4, adopt: "Always", deletionPolicy: "Delete" } as const;
  server.create(resourceTypes.Topic, topic("seized", seized));
  while (stored(server, "seized")?.spec.partitions.length !== 4) await sleep(20);
  server.delete(resourceTypes.Topic, keyOf("seized"), {});
  await settled({
    ...{ made: "AsSpecified", twin: "Blocked", match: "AsSpecified", differs: "Blocked" },
    ...{ gone: "AsSpecified", kept: "AsSpecified", full: "AsSpecified", empty: "AsSpecified" },
  });
  edit(server, "made", { partitions: 3, replicationFactor: 3, config: { "retention.ms": 10 } });
  edit(server, "gone", { deletionPolicy: "Delete" });
  await settled({ made: "AsSpecified", gone: "AsSpecified" });
  tamper(server, "match");
  for (const name of ["gone", "kept", "full", "empty", "differs"]) {
    server.delete(resourceTypes.Topic, keyOf(name), {});
  }
  server.create(resourceTypes.Cluster, cluster("later"));
  // Longer than from one look to the next.
  await sleep(200_000);
  // The next of the name has it now, with four partitions.
  edit(server, "twin", { replicationFactor: 3, adopt: "Always" });
  server.delete(resourceTypes.Topic, keyOf("made"), {});
  await sleep(20_000);
};

const wanted: Readonly<Record<string, string>> = {
  ...{
    fresh: "AsSpecified",
    twin: "AsSpecified",
    match: "AsSpecified",
    taken: "AsSpecified",
    never: "Blocked",
  },
  ...{ lost: "AsSpecified", waits: "ClusterNotReady", refused: "Failed" },
};

const isDone: Scenario["isDone"] = (server) =>
  ["made", "gone", "kept", "full", "empty", "differs", "brief", "seized"].every(
    (name) => server.get(resourceTypes.Topic, keyOf(name)) === undefined,
  ) && isSettled(server, wanted);

/** Versions of objects that were held against the schema. */
const admitted = new WeakSet<object>();

/** What must hold after every write of anybody. */
const check: Scenario["check"] = (server) => {
  const topics = [...server.objects.values()].filter(({ kind }) => kind === "Topic") as Topic[];
  for (const [name, partitions] of [
    ["differs", 3],
    ["never", 3],
    ["full", 1],
  ] as const) {
    const one = stored(server, name);
    // Those of "full" begin to be there before the Topic of it.
    if (one === undefined && topics.length > 0) throw new Error(`${name} was deleted`);
    if (one !== undefined && one.spec.partitions.length !== partitions) {
      throw new Error(`${name} was changed`);
    }
  }
  for (const one of topics) {
    const { generation = 0, name } = one.metadata;
    if ((one.status?.observedGeneration ?? 0) > generation) throw new Error(`${name} runs ahead`);
    if (admitted.has(one)) continue;
    admitted.add(one);
    const problems = problemsOf(schema, { ...one, status: one.status ?? {} });
    if (problems.length > 0) throw new Error(`the status of ${name}: ${problems.join(", ")}`);
    const isOwner = one.status?.topicId !== undefined && !isBeingDeleted(one);
    if (isOwner && one.metadata.finalizers?.includes(topicFinalizer) !== true) {
      throw new Error(`nobody would be asked about the topic of ${name}`);
    }
  }
};

const state: Scenario["state"] = (server) =>
  [...server.objects.entries()]
    .filter(([id]) => !id.startsWith("leases.") && !id.startsWith("events."))
    .sort(([a], [b]) => (a < b ? -1 : 1))
    .map(([id, object]) => {
      if (object.kind === "StoredTopic") {
        const known = object as StoredTopic;
        const partitions = partitionsAt(known, Number.POSITIVE_INFINITY);
        const { movedAtMs: _, ...spec } = { ...known.spec, partitions };
        return { id, spec };
      }
      if (object.kind !== "Topic") return { id };
      const { metadata, spec, status } = object as Topic;
      const { topicId, createdAt: _, conditions = [], ...rest } = status ?? {};
      const own = stored(server, spec.topicName ?? metadata.name, spec.clusterRef.name);
      const isOwn = own !== undefined && storedId(own) === topicId;
      const { finalizers, generation } = metadata;
      const said = conditions.map(({ lastTransitionTime: _time, ...one }) => one);
      return { id, finalizers, generation, isOwn, ...rest, said };
    });

const scenarioOf = (relistMs: number): Scenario => ({
  start: (process) => start(process, relistMs),
  ...{ drive, isDone, check, state },
});
const scenario = scenarioOf(120_000);

test("in peace: every Topic says what it is, and nothing is written any more", async () => {
  const run = await runScenario(scenario, { seed: 1, steadyMs: 1_800_000 });
  assert.deepEqual(run.steadyWrites, []);
  const all = run.state as { id: string; isOwn?: boolean; said?: Topic["status"] }[];
  const owners = all.filter(({ isOwn }) => isOwn === true).map(({ id }) => id.split("/")[1]);
  assert.deepEqual(owners, ["fresh", "lost", "match", "taken", "twin"]);
  const topics = all.filter(({ id }) => id.startsWith("storedtopics")).map(({ id }) => id);
  assert.deepEqual(topics.map((id) => id.replace(/^\S+ /, "")).sort(), [
    ...["events/Made_1", "events/differs", "events/fresh", "events/full", "events/kept"],
    ...["events/match", "events/never", "events/taken", "later/lost"],
  ]);
});

test("what is tampered with is put back, and what was adopted is as its spec says", async () => {
  // No list tells of it, and no watch.
  const run = await runScenario(scenarioOf(3_600_000), { seed: 2 });
  const all = run.state as { id: string; spec?: StoredTopic["spec"] }[];
  const specOf = (name: string) => all.find(({ id }) => id.endsWith(` events/${name}`))?.spec;
  assert.deepEqual(specOf("match")?.configs, { "retention.ms": "9" });
  assert.deepEqual(specOf("taken")?.configs, {});
  assert.equal(specOf("taken")?.partitions.length, 4);
  assert.deepEqual(specOf("differs")?.configs, { "retention.ms": "9" });
  const made = specOf("Made_1");
  assert.equal(made?.partitions.length, 4);
  assert.ok(made?.partitions.every(({ replicas }) => replicas.length === 3));
});

test("killed right before or after its writes, it ends in the same state", async () => {
  const writes = await crashAtEveryWrite(scenario, 3, killEvery);
  assert.ok(writes > 60, `${writes} writes`);
});

test("faults of every kind, and it ends in the same state", async () => {
  const seeds = Array.from({ length: faultSeeds }, (_, i) => 100 + i);
  await survivesFaults(scenario, manyFaults, seeds);
});

test("a topic that wants more brokers than there are is made once they have come", async () => {
  let said: string | undefined;
  const run = await runScenario(
    {
      ...{ ...scenario, check: () => {}, state: (of: FakeServer) => stored(of, "wide") },
      start: ({ api, clock, identity, logger, random }) => {
        const shared = { api, clock, random, logger, relistMs: 3_600_000 };
        const clusters = new Informer<Cluster>({ ...shared, type: resourceTypes.Cluster });
        const controller = "millrace.dev/operator";
        const events = new EventRecorder({ ...shared, controller, instance: identity });
        const connect = ({ metadata }: Cluster): ClusterTopics => ({
          ...storedTopics(api, metadata.name, clock),
          create: async (topic, how) => {
            if (clock.monoMs() > 60_000) {
              return storedTopics(api, metadata.name, clock).create(topic, how);
            }
            const text = "no broker takes new replicas: start one";
            throw new MillraceError(ErrorCode.INVALID_REPLICATION_FACTOR, text);
          },
        });
        const topics = new TopicReconciler({ ...shared, clusters, events, connect });
        const manager = new Manager([clusters, topics.topics], [topics.controller]);
        void manager.reconcile();
      },
      drive: async (server, sleep) => {
        server.create(resourceTypes.Cluster, cluster("events"));
        server.create(resourceTypes.Topic, topic("wide"));
        await sleep(30_000);
        const found = server.get(resourceTypes.Topic, keyOf("wide"));
        said = found && conditionOf(found, "Ready")?.reason;
        assert.equal(found && conditionOf(found, "Stalled")?.status, "False");
        await sleep(50_000);
      },
      isDone: (server) => isSettled(server, { wide: "AsSpecified" }),
    },
    { seed: 5 },
  );
  assert.equal(said, "Blocked");
  assert.notEqual(run.state, undefined);
});

/** An API server whose watches say nothing any more once they have told of a deletion. */
const silentAfterDeletion = (api: KubernetesApi): KubernetesApi => ({
  get: (type, key) => api.get(type, key),
  list: (type, options) => api.list(type, options),
  async *watch(type, options, signal) {
    for await (const event of api.watch(type, options, signal)) {
      yield event;
      const isLast = event.type !== "BOOKMARK" && isBeingDeleted(event.object);
      if (isLast) await new Promise((resolve) => signal.addEventListener("abort", resolve));
    }
  },
  create: (type, object) => api.create(type, object),
  apply: (type, object, options) => api.apply(type, object, options),
  applyStatus: (type, object, options) => api.applyStatus(type, object, options),
  replace: (type, object) => api.replace(type, object),
  delete: (type, key, preconditions) => api.delete(type, key, preconditions),
});

test("whoever changes his mind while a deletion waits is heard by a cache that is behind", async () => {
  const cases = { ...scenario, check: () => {}, state: (of: FakeServer) => stored(of, "waits") };
  const run = await runScenario(
    {
      ...cases,
      start: (process) => start({ ...process, api: silentAfterDeletion(process.api) }, 3_600_000),
      drive: async (server, sleep) => {
        server.create(resourceTypes.Cluster, cluster("events"));
        server.create(resourceTypes.Topic, topic("waits", { deletionPolicy: "Delete" }));
        while (!isSettled(server, { waits: "AsSpecified" })) await sleep(100);
        const known = server.get(resourceTypes.Cluster, keyOf("events"));
        assert.ok(known !== undefined);
        const spec = { ...known.spec, paused: true };
        server.replace(resourceTypes.Cluster, { ...known, spec });
        await sleep(1000);
        server.delete(resourceTypes.Topic, keyOf("waits"), {});
        await sleep(1000);
        edit(server, "waits", { deletionPolicy: "Retain" });
        const paused = server.get(resourceTypes.Cluster, keyOf("events"));
        assert.ok(paused !== undefined);
        server.replace(resourceTypes.Cluster, { ...paused, spec: known.spec });
      },
      isDone: (server) => server.get(resourceTypes.Topic, keyOf("waits")) === undefined,
    },
    { seed: 4 },
  );
  assert.notEqual(run.state, undefined);
});
