/** AlterPartitions of a controller on a store, beside its control loop. */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { ErrorCode, errorTable, hasCode, MillraceError } from "@millrace/errors";
import {
  decodeRecord,
  encodeRecord,
  keys,
  type MetadataStore,
  type Operation,
  type TxnResult,
} from "@millrace/metadata";
import {
  type AlterPartitionsRequest,
  AlterPartitionsRequestSchema,
  ConfirmDeletionsRequestSchema,
  CreateTopicRequestSchema,
  DeleteTopicRequestSchema,
} from "@millrace/proto/controller";
import { BrokerRecordSchema } from "@millrace/proto/storage";
import { topicIdOf } from "@millrace/record";
import { Controller } from "./controller.ts";
import { replicaLimits } from "./limits.ts";
import { ProducerIdBlocks } from "./producer-ids.ts";
import { ReplicaHandlers } from "./replicas.ts";
import { TestCluster } from "./testing/cluster.ts";

type Txn = Parameters<MetadataStore["txn"]>;
/** Called in place of a transaction that writes partitions. */
type Hook = (send: () => Promise<TxnResult>, args: Txn) => Promise<TxnResult>;

const writesPartitions = ([, then]: Txn): boolean =>
  then.some((one: Operation) => one.type === "put" && one.key.startsWith(keys.partitions));

const code = (thrown: unknown): string => MillraceError.from(thrown).codeName;

/** Brokers 0, 1 and 2, a topic on all of them, and an active controller. */
const setUp = async (partitionCount = 1, minInsync = "2") => {
  const cluster = new TestCluster();
  for (const id of [0, 1, 2]) {
    const value = encodeRecord.broker(create(BrokerRecordSchema, { brokerId: id }));
    await cluster.run(cluster.store.txn([], [{ type: "put", key: keys.broker(id), value }]));
  }
  const hooks: Hook[] = [];
  const { process, mirror } = await cluster.controller(1, ({ txn }) => ({
    txn: async (...args) => {
      const hook = writesPartitions(args) ? hooks.shift() : undefined;
      return hook === undefined ? txn(...args) : hook(() => txn(...args), args);
    },
  }));
  await cluster.pass(100);
  const { life: _, ...shared } = cluster.process("admin");
  const admin = new Controller({ ...shared, active: process, defaultReplicationFactor: 3 });
  const configs = { "min.insync.replicas": minInsync };
  const request = create(CreateTopicRequestSchema, { name: "t", partitionCount, configs });
  const { topicId } = await cluster.run(admin.createTopic(request));
  await cluster.pass(100);
  const handlers = new ReplicaHandlers({
    ...{ clusterId: "c", clock: shared.clock, active: process },
    deletionDone: (id, brokerId) => admin.deletionDone(id, brokerId),
    removalsDone: (id, removals) => admin.removalsDone(id, removals),
    producerIds: new ProducerIdBlocks({ store: shared.store, active: process }),
  });
  return { cluster, process, mirror, admin, handlers, hooks, topicId };
};

type SetUp = Awaited<ReturnType<typeof setUp>>;

const epochOf = async ({ cluster }: Pick<SetUp, "cluster">, id: number): Promise<bigint> =>
  BigInt((await cluster.get(keys.broker(id)))?.createRevision ?? 0);

const partitionOf = async ({ cluster, topicId }: SetUp, partition: number) => {
  const kv = await cluster.get(keys.partition(topicIdOf(topicId), partition));
  assert.ok(kv !== undefined);
  return { record: decodeRecord.partition(kv), modRevision: BigInt(kv.modRevision) };
};

/** A request of `leader` for the ISR of partitions, whoever leads them, by the newest state. */
const asking = async (
  at: SetUp,
  leader: number,
  partitions: readonly number[],
  isr: readonly number[],
): Promise<AlterPartitionsRequest> => {
  const members = await Promise.all(
    isr.map(async (id) => ({ brokerId: id, brokerEpoch: await epochOf(at, id) })),
  );
  return create(AlterPartitionsRequestSchema, {
    ...{ brokerId: leader, brokerEpoch: await epochOf(at, leader) },
    partitions: await Promise.all(
      partitions.map(async (partition) => {
        const { record, modRevision } = await partitionOf(at, partition);
        const { leaderEpoch } = record;
        return { topicId: at.topicId, partition, leaderEpoch, modRevision, isr: members };
      }),
    ),
  });
};

/** The results in few words. */
const call = async ({ cluster, handlers }: SetUp, request: AlterPartitionsRequest) => {
  const { results } = await cluster.run(handlers.alterPartitions(request));
  return results.map(({ modRevision, error }) =>
    error === undefined ? `at ${modRevision}` : (errorTable.get(error.code)?.name ?? ""),
  );
};

const refusal = async (at: SetUp, request: AlterPartitionsRequest) => {
  const work = at.cluster.run(at.handlers.alterPartitions(request));
  return work.then(
    () => assert.fail("it was answered"),
    (thrown: unknown) => MillraceError.from(thrown),
  );
};

/** Partitions by who leads them. */
const ledBy = async (at: SetUp, leader: number): Promise<number[]> =>
  (await at.cluster.partitions())
    .filter((one) => one.leader === leader)
    .map(({ partition }) => partition);

const fence = async ({ cluster }: SetUp, broker: number): Promise<void> => {
  const range = { key: keys.broker(broker) };
  await cluster.store.txn([], [{ type: "delete", range }]);
};

const turns = (cluster: TestCluster, ms: number): Promise<void> =>
  new Promise((resolve) => void cluster.kernel.schedule(ms, resolve));

test("results come in the order of the request, with the revision of the transaction", async () => {
  const at = await setUp(6);
  const [first = -1, second = -1] = await ledBy(at, 1);
  const [other = -1] = await ledBy(at, 2);
  const request = await asking(at, 1, [second, other, first], [0, 1]);
  const some = request.partitions[0] ?? assert.fail();
  request.partitions.push({ ...some, partition: 99 });
  const results = await call(at, request);
  const { record, modRevision } = await partitionOf(at, first);
  const expected = [`at ${modRevision}`, "FENCED_LEADER_EPOCH", `at ${modRevision}`];
  assert.deepEqual(results, [...expected, "UNKNOWN_TOPIC_OR_PARTITION"]);
  assert.deepEqual(record.isr.toSorted(), [0, 1]);
  assert.equal(record.leaderEpoch, 1);
  assert.equal((await partitionOf(at, second)).modRevision, modRevision);
  assert.equal((await partitionOf(at, other)).record.isr.length, 3);
  // The answer was lost, and meanwhile nothing has changed.
  assert.deepEqual(await call(at, request), results);
  await at.cluster.pass(1000);
  assert.equal((await partitionOf(at, first)).modRevision, modRevision, "nothing is undone");
});

test("a call of a registration that is over, or of no registered broker, fails as a whole", async () => {
  const at = await setUp();
  const leader = (await partitionOf(at, 0)).record.leader ?? -1;
  const request = await asking(at, leader, [0], [leader]);
  for (const wrong of [
    { ...request, brokerEpoch: request.brokerEpoch + 1n },
    { ...request, brokerEpoch: 0n },
    { ...request, brokerId: 7 },
  ]) {
    assert.equal((await refusal(at, wrong)).codeName, "STALE_BROKER_EPOCH");
  }
  assert.equal((await partitionOf(at, 0)).record.isr.length, 3);
});

test("a controller that is not active refuses", async () => {
  const at = await setUp();
  const request = await asking(at, 0, [0], [0]);
  await at.cluster.run(at.process.close());
  for (const brokerEpoch of [request.brokerEpoch, 7n]) {
    assert.equal((await refusal(at, { ...request, brokerEpoch })).codeName, "NOT_CONTROLLER");
  }
});

test("a request that is malformed as a whole is refused", async () => {
  const at = await setUp();
  const leader = (await partitionOf(at, 0)).record.leader ?? -1;
  const request = await asking(at, leader, [0], [leader]);
  const one = request.partitions[0] ?? assert.fail();
  const many = Array.from({ length: replicaLimits.partitionsPerCallMax + 1 }, (_, partition) => ({
    ...{ ...one, partition },
  }));
  const wrongId = { ...one, topicId: one.topicId.subarray(1) };
  const old = { ...one, modRevision: 1n };
  for (const partitions of [many, [one, one], [old, old], [wrongId]]) {
    assert.equal((await refusal(at, { ...request, partitions })).codeName, "INVALID_REQUEST");
  }
  assert.equal((await partitionOf(at, 0)).record.isr.length, 3);
  const most = { ...request, partitions: many.slice(1) };
  assert.equal((await call(at, most)).length, replicaLimits.partitionsPerCallMax);
});

test("a late change does not bring back a broker that the control loop has taken out", async () => {
  const at = await setUp();
  const { cluster, hooks } = at;
  const leader = (await partitionOf(at, 0)).record.leader ?? -1;
  const [dead = -1, alive = -1] = [0, 1, 2].filter((id) => id !== leader);
  const asked = await asking(at, leader, [0], [leader, dead]);
  hooks.push(async (send) => {
    await fence(at, dead);
    // The control loop writes what follows from it before the change arrives.
    await turns(cluster, 500);
    return send();
  });
  assert.deepEqual(await call(at, asked), ["METADATA_STALE"]);
  const { record } = await partitionOf(at, 0);
  assert.deepEqual(record.isr.toSorted(), [leader, alive].toSorted());
});

test("a replica that is fenced, or registers anew, before the change is written is not in sync", async () => {
  for (const comesBack of [false, true]) {
    const at = await setUp();
    const { cluster, hooks } = at;
    const leader = (await partitionOf(at, 0)).record.leader ?? -1;
    const others = [0, 1, 2].filter((id) => id !== leader);
    assert.equal((await call(at, await asking(at, leader, [0], [leader]))).length, 1);
    const [dead = -1] = others;
    const request = await asking(at, leader, [0], [leader, dead]);
    let written: unknown;
    hooks.push(async (send) => {
      await fence(at, dead);
      if (comesBack) {
        const value = encodeRecord.broker(create(BrokerRecordSchema, { brokerId: dead }));
        await cluster.store.txn([], [{ type: "put", key: keys.broker(dead), value }]);
      }
      // At once: neither the mirror nor the control loop has read it.
      const result = await send();
      written = result.succeeded;
      return result;
    });
    assert.deepEqual(await call(at, request), ["METADATA_STALE"]);
    assert.equal(written, false);
    assert.deepEqual((await partitionOf(at, 0)).record.isr, [leader]);
  }
});

test("a conflict of one partition does not hold up the others of its call", async () => {
  const at = await setUp(300);
  const { cluster, hooks, topicId } = at;
  const led = await ledBy(at, 0);
  const request = await asking(at, 0, led, [0, 1]);
  const sizes: number[] = [];
  const victim = keys.partition(topicIdOf(topicId), led[3] ?? -1);
  hooks.push(async (send, [, then]) => {
    sizes.push(then.length);
    const kv = (await cluster.store.range({ key: victim })).kvs[0] ?? assert.fail();
    await cluster.store.txn([], [{ type: "put", key: victim, value: kv.value }]);
    return send();
  });
  const results = await call(at, request);
  assert.equal(results[3], "METADATA_STALE");
  assert.ok(results.every((result, i) => i === 3 || result.startsWith("at ")));
  assert.equal(led.length, 100);
  assert.deepEqual(sizes, [101], "with the token of the writer");
  for (const [i, partition] of led.entries()) {
    const { modRevision } = await partitionOf(at, partition);
    if (i !== 3) assert.equal(results[i], `at ${modRevision}`);
  }
});

const unknownOutcome = (): MillraceError =>
  new MillraceError(ErrorCode.CANCELLED, "the store is gone", { facts: { outcome: "unknown" } });
const full = (): MillraceError => new MillraceError(ErrorCode.ADMISSION_REJECTED, "etcd is full");

test("a call whose outcome is unknown, or that was done in part, fails with side effects", async () => {
  const failing =
    (error: MillraceError): Hook =>
    () =>
      Promise.reject(error);
  const passing: Hook = (send) => send();
  const outcomes: string[] = [];
  for (const { hooks, isGone } of [
    { hooks: [failing(full())], isGone: false },
    { hooks: [passing, failing(full())], isGone: false },
    // Nor can the writer find it out.
    { hooks: [failing(unknownOutcome())], isGone: true },
  ]) {
    const at = await setUp(360);
    const request = await asking(at, 0, await ledBy(at, 0), [0, 1]);
    at.hooks.push(...hooks);
    if (isGone) at.cluster.store.txn = () => Promise.reject(unknownOutcome());
    const { codeName, spec } = await refusal(at, request);
    outcomes.push(`${codeName} ${spec.retriable} ${spec.sideEffects}`);
  }
  assert.deepEqual(outcomes, [
    "ADMISSION_REJECTED true false",
    "UNAVAILABLE true true",
    "UNAVAILABLE true true",
  ]);
});

test("calls of one broker do not overtake each other; those of others go on", async () => {
  const at = await setUp(6);
  const { cluster, hooks, handlers } = at;
  const [partition = -1] = await ledBy(at, 1);
  const [other = -1] = await ledBy(at, 2);
  const order: string[] = [];
  const note = (name: string) => () => void order.push(name);
  const shrink = await asking(at, 1, [partition], [1]);
  const grow = await asking(at, 1, [partition], [0, 1]);
  const elsewhere = await asking(at, 2, [other], [2]);
  hooks.push(async (send) => {
    await turns(cluster, 500);
    return send();
  });
  const first = handlers.alterPartitions(shrink).then((answer) => {
    order.push("first");
    // What the leader asks next is by the record that it was told of.
    const [change] = grow.partitions;
    if (change !== undefined) change.modRevision = answer.results[0]?.modRevision ?? 0n;
  });
  const second = first.then(() => handlers.alterPartitions(grow));
  const stale = handlers.alterPartitions(await asking(at, 1, [partition], [1, 2]));
  const third = handlers.alterPartitions(elsewhere).then(note("elsewhere"));
  await cluster.run(Promise.all([first, stale.then(note("stale")), third]));
  assert.deepEqual(order, ["elsewhere", "first", "stale"]);
  assert.equal((await stale).results[0]?.error?.code, ErrorCode.METADATA_STALE);
  const { results } = await cluster.run(second);
  assert.equal(
    results[0]?.error,
    undefined,
    "the answer comes when the mirror has read the change",
  );
  assert.deepEqual((await partitionOf(at, partition)).record.isr.toSorted(), [0, 1]);
});

test("a broker has a bounded number of calls, and the next ones after them", async () => {
  const at = await setUp();
  const { cluster, hooks, handlers } = at;
  const leader = (await partitionOf(at, 0)).record.leader ?? -1;
  const request = await asking(at, leader, [0], [leader]);
  hooks.push(async (send) => {
    await turns(cluster, 500);
    return send();
  });
  const max = replicaLimits.callsPerBrokerMax;
  const calls = Array.from({ length: max + 2 }, () =>
    handlers.alterPartitions(request).then(() => "answered", code),
  );
  const outcomes = await cluster.run(Promise.all(calls));
  const refused = outcomes.filter((outcome) => outcome === "ADMISSION_REJECTED").length;
  assert.deepEqual([refused, outcomes.length - refused], [2, max]);
  assert.equal((await call(at, request)).length, 1);
});

test("a deletion is over when every broker has confirmed it", async () => {
  const at = await setUp();
  const { admin, cluster, handlers, topicId } = at;
  const key = keys.deletion(topicIdOf(topicId));
  await cluster.run(admin.deleteTopic(create(DeleteTopicRequestSchema, { name: "t" })));
  const pending = async (): Promise<number[] | undefined> => {
    const kv = await cluster.get(key);
    return kv === undefined ? undefined : decodeRecord.deletion(kv).pendingBrokerIds;
  };
  const confirm = (brokerId: number, topicIds: Uint8Array[]) =>
    cluster.run(
      handlers.confirmDeletions(create(ConfirmDeletionsRequestSchema, { brokerId, topicIds })),
    );
  await assert.rejects(confirm(0, [topicId, new Uint8Array(3)]), (thrown) =>
    hasCode(thrown, ErrorCode.INVALID_REQUEST),
  );
  const many = Array.from({ length: replicaLimits.topicsPerCallMax + 1 }, () => topicId);
  await assert.rejects(confirm(0, many), (thrown) => hasCode(thrown, ErrorCode.INVALID_REQUEST));
  assert.deepEqual(await pending(), [0, 1, 2], "a refused call has no effect");
  await confirm(1, [topicId]);
  await confirm(1, [topicId]);
  assert.deepEqual(await pending(), [0, 2]);
  await confirm(0, [topicId]);
  await confirm(2, [topicId]);
  assert.equal(await pending(), undefined);
});
