import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { silentLogger } from "@millrace/env";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import { ErrorCode, hasCode } from "@millrace/errors";
import {
  decodeRecord,
  EmbeddedStore,
  encodeRecord,
  keys,
  type MetadataStore,
} from "@millrace/metadata";
import {
  AdminService,
  AlterConfigsRequestSchema,
  CreatePartitionsRequestSchema,
  CreateTopicRequestSchema,
  DeleteTopicRequestSchema,
  ListTopicsRequestSchema,
} from "@millrace/proto/controller";
import { BrokerRecordSchema, ClusterRecordSchema } from "@millrace/proto/storage";
import { methodOf } from "@millrace/rpc";
import { Incarnation, Kernel, SimNetwork } from "@millrace/sim";
import fc from "fast-check";
import { assignReplicas } from "./assignment.ts";
import { Controller } from "./controller.ts";
import { notController } from "./reign.ts";

const clock = nodeClock();
const random = nodeRandom();

const setUp = async (brokers = 1) => {
  const store = new EmbeddedStore({ clock, random });
  const controller = new Controller({
    store,
    clock,
    random,
    logger: silentLogger,
    defaultReplicationFactor: 1,
  });
  await controller.bootstrapCluster();
  for (let brokerId = 0; brokerId < brokers; brokerId += 1) {
    const value = encodeRecord.broker(create(BrokerRecordSchema, { brokerId }));
    await store.txn([], [{ type: "put", key: keys.broker(brokerId), value }]);
  }
  return { store, controller };
};

const refused = (work: Promise<unknown>, code: ErrorCode): Promise<void> =>
  assert.rejects(work, (thrown) => hasCode(thrown, code));

const topic = (fields: Parameters<typeof create<typeof CreateTopicRequestSchema>>[1]) =>
  create(CreateTopicRequestSchema, fields);

test("topics are made, grown, changed and deleted; nothing is left over", async () => {
  const { store, controller } = await setUp();
  const made = await controller.createTopic(topic({ name: "t", partitionCount: 300 }));
  assert.equal(made.topicId.length, 16);
  const partitions = async () => (await store.range({ prefix: keys.partitions })).kvs.length;
  assert.equal(await partitions(), 300);
  await refused(controller.createTopic(topic({ name: "t" })), ErrorCode.TOPIC_ALREADY_EXISTS);
  assert.equal(await partitions(), 300);
  await controller.createPartitions(
    create(CreatePartitionsRequestSchema, { name: "t", partitionCount: 310 }),
  );
  assert.equal(await partitions(), 310);
  const same = create(CreatePartitionsRequestSchema, { name: "t", partitionCount: 310 });
  await refused(controller.createPartitions(same), ErrorCode.INVALID_PARTITIONS);
  const fewer = create(CreatePartitionsRequestSchema, { name: "t", partitionCount: 5 });
  await refused(controller.createPartitions(fewer), ErrorCode.INVALID_PARTITIONS);
  const set = { "retention.ms": "1000", "segment.bytes": "1MiB" };
  await controller.alterConfigs(create(AlterConfigsRequestSchema, { topic: "t", set }));
  await controller.alterConfigs(
    create(AlterConfigsRequestSchema, { topic: "t", remove: ["retention.ms"] }),
  );
  const [kv] = (await store.range({ key: keys.topic("t") })).kvs;
  assert.deepEqual(kv && decodeRecord.topic(kv).configs, { "segment.bytes": "1MiB" });
  const other = create(DeleteTopicRequestSchema, { name: "t", topicId: new Uint8Array(16) });
  await refused(controller.deleteTopic(other), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION);
  for (const length of [1, 15, 17]) {
    const odd = create(DeleteTopicRequestSchema, { name: "t", topicId: Buffer.alloc(length) });
    await refused(controller.deleteTopic(odd), ErrorCode.INVALID_REQUEST);
  }
  await controller.deleteTopic(create(DeleteTopicRequestSchema, { name: "t" }));
  assert.equal(await partitions(), 0);
  const gone = create(DeleteTopicRequestSchema, { name: "t" });
  await refused(controller.deleteTopic(gone), ErrorCode.UNKNOWN_TOPIC_OR_PARTITION);
});

test("bad input is refused before anything is written", async () => {
  const { store, controller } = await setUp();
  const before = (await store.range({ prefix: "" })).revision;
  const names = ["", ".", "..", "a/b", "a b", "ä", "名", "a\u0000", "x".repeat(250)];
  for (const name of names)
    await refused(controller.createTopic(topic({ name })), ErrorCode.INVALID_TOPIC);
  const cases: [Parameters<typeof topic>[0], ErrorCode][] = [
    [{ name: "t", partitionCount: 10_001 }, ErrorCode.INVALID_PARTITIONS],
    [{ name: "t", replicationFactor: 2 }, ErrorCode.INVALID_REPLICATION_FACTOR],
    [{ name: "t", configs: { "retention.mss": "1" } }, ErrorCode.INVALID_CONFIG],
    [{ name: "t", configs: { "retention.ms": "-2" } }, ErrorCode.INVALID_CONFIG],
    [{ name: "t", configs: { "compression.type": "zstd" } }, ErrorCode.INVALID_CONFIG],
  ];
  for (const [fields, code] of cases) await refused(controller.createTopic(topic(fields)), code);
  await controller.createTopic(topic({ name: "t", validateOnly: true }));
  assert.equal((await store.range({ prefix: "" })).revision, before);
  await controller.createTopic(topic({ name: "t" }));
  const both = create(AlterConfigsRequestSchema, {
    topic: "t",
    set: { "flush.ms": "5" },
    remove: ["flush.ms"],
  });
  await refused(controller.alterConfigs(both), ErrorCode.INVALID_REQUEST);
  const unknown = create(AlterConfigsRequestSchema, { topic: "t", remove: ["no.such"] });
  await refused(controller.alterConfigs(unknown), ErrorCode.INVALID_CONFIG);
});

test("of many who create one topic, one succeeds", async () => {
  const { store, controller } = await setUp();
  const results = await Promise.allSettled(
    Array.from({ length: 10 }, () =>
      controller.createTopic(topic({ name: "t", partitionCount: 3 })),
    ),
  );
  assert.equal(results.filter(({ status }) => status === "fulfilled").length, 1);
  assert.equal((await store.range({ prefix: keys.partitions })).kvs.length, 3);
});

test("new partitions name the epochs of their replicas, and grow only from what is there", async () => {
  const { store, controller } = await setUp(3);
  await controller.createTopic(topic({ name: "t", partitionCount: 2, replicationFactor: 3 }));
  const epochs = new Map(
    (await store.range({ prefix: keys.brokers })).kvs.map((kv) => [
      decodeRecord.broker(kv).brokerId,
      BigInt(kv.createRevision),
    ]),
  );
  for (const kv of (await store.range({ prefix: keys.partitions })).kvs) {
    const { isr, isrBrokerEpochs } = decodeRecord.partition(kv);
    assert.deepEqual(
      isrBrokerEpochs,
      isr.map((id) => epochs.get(id)),
    );
  }
  // Both calls see two partitions. The later one must not write over what the first has made.
  const grow = (by: Controller, partitionCount: number) =>
    by.createPartitions(create(CreatePartitionsRequestSchema, { name: "t", partitionCount }));
  const slow = controllerOf(interrupted(store, () => grow(controller, 4)));
  const before = async () => (await store.range({ prefix: keys.partitions })).kvs.length;
  await grow(slow, 6);
  assert.equal(await before(), 6);
  const versions = (await store.range({ prefix: keys.partitions })).kvs.map((kv) => kv.version);
  assert.deepEqual(versions, [1, 1, 1, 1, 1, 1]);
});

test("a change of min.insync.replicas, and no other, makes every ELR worthless", async () => {
  const { store, controller } = await setUp();
  await controller.createTopic(topic({ name: "t" }));
  const alter = async (fields: { set?: Record<string, string>; remove?: string[] }) => {
    await controller.alterConfigs(create(AlterConfigsRequestSchema, { topic: "t", ...fields }));
    const [kv] = (await store.range({ key: keys.topic("t") })).kvs;
    return kv && decodeRecord.topic(kv).minIsrEpoch;
  };
  assert.equal(await alter({ set: { "flush.ms": "7" } }), 0);
  assert.equal(await alter({ set: { "min.insync.replicas": "2" } }), 1);
  assert.equal(await alter({ set: { "min.insync.replicas": "2" } }), 1);
  assert.equal(await alter({ remove: ["min.insync.replicas"] }), 2);
});

/** A store in which something else happens right before the next transaction. */
const interrupted = (store: EmbeddedStore, meanwhile: () => Promise<unknown>): MetadataStore => {
  let pending: (() => Promise<unknown>) | undefined = meanwhile;
  const intercepted: MetadataStore = Object.create(store, {
    txn: {
      value: async (...args: Parameters<MetadataStore["txn"]>) => {
        const first = pending;
        pending = undefined;
        await first?.();
        return store.txn(...args);
      },
    },
    range: { value: store.range.bind(store) },
  });
  return intercepted;
};

test("a topic that changes under a call is read again, or the call is refused; nothing is overwritten", async () => {
  const { store, controller } = await setUp();
  const options = { clock, random, logger: silentLogger, defaultReplicationFactor: 1 };
  await controller.createTopic(topic({ name: "t" }));
  const alter = (by: Controller, set: Record<string, string>) =>
    by.alterConfigs(create(AlterConfigsRequestSchema, { topic: "t", set }));
  const slow = new Controller({
    ...options,
    store: interrupted(store, () => alter(controller, { "flush.ms": "7" })),
  });
  await alter(slow, { "segment.ms": "9" });
  const [kv] = (await store.range({ key: keys.topic("t") })).kvs;
  assert.deepEqual(kv && decodeRecord.topic(kv).configs, { "flush.ms": "7", "segment.ms": "9" });

  const deleting = new Controller({
    ...options,
    store: interrupted(store, () => alter(controller, { "flush.ms": "8" })),
  });
  const request = create(DeleteTopicRequestSchema, { name: "t" });
  await refused(deleting.deleteTopic(request), ErrorCode.UNAVAILABLE);
  assert.equal((await store.range({ key: keys.topic("t") })).kvs.length, 1);
  assert.equal((await store.range({ prefix: keys.deletions })).kvs.length, 0);
});

test("CreateTopic and CreatePartitions wait for the brokers, and are answered if those fail", async () => {
  const { store } = await setUp();
  const waits: number[] = [];
  const controller = new Controller({
    ...{ store, clock, random, logger: silentLogger, defaultReplicationFactor: 1 },
    untilServed: async (revision, timeoutMs) => {
      waits.push(revision);
      assert.ok(timeoutMs > 0 && timeoutMs <= 10_000);
      throw new Error("a broker has failed");
    },
  });
  const made = await controller.createTopic(topic({ name: "t" }));
  const grown = create(CreatePartitionsRequestSchema, { name: "t", partitionCount: 2 });
  const { revision } = await controller.createPartitions(grown);
  await controller.createPartitions({ ...grown, partitionCount: 3, validateOnly: true });
  assert.deepEqual(waits, [Number(made.revision), Number(revision)]);
});

test("what is not the active controller writes nothing, and answers nothing", async () => {
  const { store } = await setUp();
  const refusal = notController("another one is");
  const requireActive = (): never => {
    throw refusal;
  };
  const active = {
    write: async () => requireActive(),
    writeOfReign: requireActive,
    requireActive,
  };
  const stale = new Controller({
    ...{ store, clock, random, logger: silentLogger, defaultReplicationFactor: 1, active },
  });
  await refused(stale.createTopic(topic({ name: "t" })), ErrorCode.NOT_CONTROLLER);
  assert.equal((await store.range({ prefix: keys.topics })).kvs.length, 0);
  const kernel = new Kernel(1);
  const network = new SimNetwork(kernel);
  const { listener } = network.attach("s", new Incarnation(kernel, "s"));
  await kernel.run(listener.listen("s:1", stale.bindings()));
  const channel = network.attach("c", new Incarnation(kernel, "c")).dialer.dial("s:1");
  const list = channel.unary(
    methodOf(AdminService.method.listTopics),
    create(ListTopicsRequestSchema),
  );
  await refused(kernel.run(list), ErrorCode.NOT_CONTROLLER);
});

test("replicas are distinct, leaders spread evenly, racks differ", () => {
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 9 }),
      fc.integer({ min: 1, max: 40 }),
      fc.nat(20),
      (count, factor, partitions, start) => {
        const brokers = Array.from({ length: count }, (_, brokerId) => ({
          brokerId,
          rack: `r${brokerId % 3}`,
        }));
        if (factor > count) {
          assert.throws(() => assignReplicas(brokers, factor, 0, partitions, start));
          return;
        }
        const assigned = assignReplicas(brokers, factor, 0, partitions, start);
        const leaders = new Map<number, number>();
        for (const replicas of assigned) {
          assert.equal(new Set(replicas).size, factor);
          const [leader = -1] = replicas;
          leaders.set(leader, (leaders.get(leader) ?? 0) + 1);
        }
        const counts = brokers.map(({ brokerId }) => leaders.get(brokerId) ?? 0);
        assert.ok(Math.max(...counts) - Math.min(...counts) <= 1);
      },
    ),
  );
});

/** The cluster's record as it is stored. */
const clusterRecord = async (store: MetadataStore) => {
  const [kv] = (await store.range({ key: keys.cluster })).kvs;
  assert.ok(kv !== undefined);
  return { record: decodeRecord.cluster(kv), kv };
};

const generationOf = async (store: MetadataStore): Promise<string> => {
  const [kv] = (await store.range({ key: keys.generation })).kvs;
  return Buffer.from(kv?.value ?? []).toString();
};

const controllerOf = (store: MetadataStore): Controller =>
  new Controller({ store, clock, random, logger: silentLogger, defaultReplicationFactor: 1 });

test("a cluster is made with a generation, and keeps it", async () => {
  const { store, controller } = await setUp();
  const { record, kv } = await clusterRecord(store);
  const generation = await generationOf(store);
  assert.match(generation, /^[0-9a-f]{32}$/);
  assert.equal(await controller.bootstrapCluster(), record.clusterId);
  assert.equal((await clusterRecord(store)).kv.modRevision, kv.modRevision);
  assert.equal(await generationOf(store), generation);
  const other = await setUp();
  assert.notEqual(await generationOf(other.store), generation);
});

test("a cluster of before gets a generation once, whoever starts first", async () => {
  const store = new EmbeddedStore({ clock, random });
  const old = create(ClusterRecordSchema, { clusterId: "old", formatVersion: 1, featureLevel: 1 });
  const put = { type: "put", key: keys.cluster, value: encodeRecord.cluster(old) } as const;
  await store.txn([], [put]);
  // Both find no generation before either has written one.
  const reads = Promise.withResolvers<void>();
  let readers = 0;
  const together: MetadataStore = Object.assign(Object.create(store) as EmbeddedStore, {
    range: async (...args: Parameters<MetadataStore["range"]>) => {
      const found = await store.range(...args);
      const [range] = args;
      if (!("key" in range) || range.key !== keys.generation) return found;
      readers += 1;
      if (readers === 2) reads.resolve();
      await reads.promise;
      return found;
    },
    txn: (...args: Parameters<MetadataStore["txn"]>) => store.txn(...args),
  });
  const starts = [controllerOf(together), controllerOf(together)];
  const ids = await Promise.all(starts.map((one) => one.bootstrapCluster("another")));
  assert.deepEqual(ids, ["old", "old"]);
  const { record } = await clusterRecord(store);
  assert.deepEqual(record, old);
  const [kv] = (await store.range({ key: keys.generation })).kvs;
  assert.equal(kv?.version, 1);
});

test("metadata of a newer version is refused, and not touched", async () => {
  const store = new EmbeddedStore({ clock, random });
  const newer = create(ClusterRecordSchema, { clusterId: "new", formatVersion: 2 });
  const put = { type: "put", key: keys.cluster, value: encodeRecord.cluster(newer) } as const;
  await store.txn([], [put]);
  await refused(controllerOf(store).bootstrapCluster(), ErrorCode.DATA_DIRECTORY_UNUSABLE);
  assert.equal((await clusterRecord(store)).kv.version, 1);
});

test("nothing is done to the topic of consumer groups that would lose them", async () => {
  const { controller } = await setUp();
  const name = "__group_state";
  await controller.createTopic(topic({ name, partitionCount: 2 }));
  const code = ErrorCode.POLICY_VIOLATION;
  await refused(controller.deleteTopic(create(DeleteTopicRequestSchema, { name })), code);
  const more = create(CreatePartitionsRequestSchema, { name, partitionCount: 3 });
  await refused(controller.createPartitions(more), code);
  const alter = (set: Record<string, string>, remove: string[] = []) =>
    controller.alterConfigs(create(AlterConfigsRequestSchema, { topic: name, set, remove }));
  for (const key of ["cleanup.policy", "retention.ms", "retention.bytes"]) {
    await refused(alter({}, [key]), code);
  }
  await refused(alter({ "retention.ms": "1" }), code);
  await refused(alter({ "cleanup.policy": "compact,delete" }), code);
  await alter({ "cleanup.policy": "compact" });
  await alter({ "min.insync.replicas": "1" });
});
