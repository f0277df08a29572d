/**
 * Random histories of the metadata: what is decided from what was touched is what a look at
 * everything would decide, also where changes before it were not made.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { silentLogger } from "@millrace/env";
import { encodeRecord, type KeyValue, keys, type WatchEvent } from "@millrace/metadata";
import { BrokerIntent } from "@millrace/proto/common";
import {
  BrokerIntentRecordSchema,
  BrokerRecordSchema,
  DeletionRecordSchema,
  PartitionRecordSchema,
  TopicRecordSchema,
} from "@millrace/proto/storage";
import { topicIdBytes, topicIdOf } from "@millrace/record";
import fc from "fast-check";
import { StateMirror } from "./cluster-state.ts";
import { Decisions } from "./decisions.ts";
import { type Change, desired } from "./desired.ts";

/** Of the reign: some records are older, some newer. */
const epoch = 8;
const idOf = (topic: number) => topicIdOf(Buffer.alloc(16, topic + 1));
const directoryOf = (disk: number): Uint8Array =>
  disk === 0 ? new Uint8Array(0) : Buffer.alloc(16, disk);

/** The metadata, as a mirror shows them. */
class Metadata {
  revision = 1;
  readonly #kvs = new Map<string, KeyValue>();
  #listen: (events: readonly WatchEvent[]) => void = () => {};
  #events: WatchEvent[] = [];

  entries(): KeyValue[] {
    return [...this.#kvs.values()];
  }

  onChange(listener: (events: readonly WatchEvent[]) => void): () => void {
    this.#listen = listener;
    return () => {};
  }

  get(key: string): KeyValue | undefined {
    return this.#kvs.get(key);
  }

  put(key: string, value: Uint8Array, isNew = false): void {
    const before = isNew ? undefined : this.#kvs.get(key);
    const modRevision = this.revision + 1;
    const { createRevision = modRevision, version = 0 } = before ?? {};
    const kv = { key, value, createRevision, modRevision, version: version + 1, lease: undefined };
    this.#kvs.set(key, kv);
    this.#events.push({ type: "put", kv });
  }

  delete(key: string): void {
    const kv = this.#kvs.get(key);
    if (!this.#kvs.delete(key) || kv === undefined) return;
    this.#events.push({ type: "delete", kv: { ...kv, value: new Uint8Array(0) } });
  }

  /** One revision, or one listing. */
  commit(steps: readonly Step[]): void {
    for (const step of steps) step(this);
    this.revision += 1;
    const events = this.#events;
    this.#events = [];
    if (events.length > 0) this.#listen(events);
  }
}

type Step = (metadata: Metadata) => void;

const brokerIds = [0, 1, 2, 3];
const broker = fc.constantFrom(...brokerIds);
const topic = fc.nat(2);
const seldom = fc.integer({ min: 0, max: 3 }).map((n) => n === 0);
const disk = fc.constantFrom(0, 0, 0, 1, 2);

const register =
  (id: number, { disk = 0, isNew = true, shuttingDown = false } = {}): Step =>
  (metadata) => {
    const fields = { brokerId: id, shuttingDown, directoryId: directoryOf(disk) };
    const value = encodeRecord.broker(create(BrokerRecordSchema, fields));
    metadata.put(keys.broker(id), value, isNew);
  };

const registers = fc
  .record({
    id: broker,
    ...{ disk, isNew: fc.boolean(), shuttingDown: fc.boolean() },
  })
  .map(({ id, ...fields }) => register(id, fields));

const { ACTIVE, CORDONED, DRAINING } = BrokerIntent;

const want =
  (id: number, intent: BrokerIntent): Step =>
  (metadata) => {
    const record = create(BrokerIntentRecordSchema, { brokerId: id, intent });
    metadata.put(keys.brokerIntent(id), encodeRecord.brokerIntent(record));
    metadata.put(keys.placement, new Uint8Array(0));
  };

const intents = fc
  .tuple(broker, fc.constantFrom(ACTIVE, CORDONED, DRAINING, DRAINING))
  .map(([id, intent]) => want(id, intent));

/** No broker is drained any more. */
const endIntents: Step = (metadata) => {
  for (const id of brokerIds) metadata.delete(keys.brokerIntent(id));
};

const makeTopic =
  (name: number, id: number, { partitionCount = 4, min = 1, minIsrEpoch = 0 } = {}): Step =>
  (metadata) => {
    const record = create(TopicRecordSchema, {
      ...{ name: `t${name}`, topicId: topicIdBytes(idOf(id)), partitionCount, minIsrEpoch },
      ...{ configs: { "min.insync.replicas": String(min) }, replicationFactor: 3 },
    });
    metadata.put(keys.topic(record.name), encodeRecord.topic(record));
  };

const topics = fc
  .record({
    ...{ name: fc.nat(1), topic, partitionCount: fc.nat(4) },
    ...{ min: fc.integer({ min: 1, max: 3 }), minIsrEpoch: fc.nat(1) },
  })
  .map(({ name, topic: id, ...fields }) => makeTopic(name, id, fields));

const deletions = fc
  .record({ topic, pending: fc.subarray(brokerIds) })
  .map(({ pending, topic: id }): Step => {
    const record = create(DeletionRecordSchema, {
      topic: { name: "t", topicId: topicIdBytes(idOf(id)) },
      pendingBrokerIds: pending,
    });
    return (metadata) => metadata.put(keys.deletion(idOf(id)), encodeRecord.deletion(record));
  });

const makePartition =
  (at: { readonly topic: number; readonly partition: number }, fields: object): Step =>
  (metadata) => {
    const { partition, topic: id } = at;
    const topicId = topicIdBytes(idOf(id));
    const record = create(PartitionRecordSchema, { topicId, partition, leaderEpoch: 3, ...fields });
    metadata.put(keys.partition(idOf(id), partition), encodeRecord.partition(record));
  };

const partitions = fc
  .record({
    ...{ topic, partition: fc.nat(3), replicas: fc.shuffledSubarray(brokerIds, { minLength: 1 }) },
    ...{ inSync: fc.nat(4), elr: fc.nat(2), leads: fc.nat(4), minIsrEpoch: fc.nat(1) },
    ...{ isOld: seldom, disk, adds: seldom, removes: seldom },
  })
  .map((drawn): Step => {
    const { adds, elr, inSync, isOld, leads, removes, replicas } = drawn;
    const isr = replicas.slice(0, Math.max(1, inSync));
    const leader = isr[leads];
    return (metadata) => {
      const epochOf = (id: number): bigint =>
        BigInt((!isOld && metadata.get(keys.broker(id))?.createRevision) || 1);
      const fields = {
        ...{ replicas, isr, isrBrokerEpochs: isr.map(epochOf), minIsrEpoch: drawn.minIsrEpoch },
        elr: replicas.slice(isr.length, isr.length + elr),
        adding: adds ? replicas.slice(0, 1) : [],
        removing: removes ? replicas.slice(1).slice(-1) : [],
        ...(drawn.disk === 0 ? {} : { directoryIds: replicas.map(() => directoryOf(drawn.disk)) }),
        ...(leader === undefined ? {} : { leader }),
      };
      makePartition(drawn, fields)(metadata);
    };
  });

const key = fc.oneof(
  broker.map(keys.broker),
  broker.map(keys.brokerIntent),
  fc.nat(1).map((name) => keys.topic(`t${name}`)),
  topic.map((id) => keys.deletion(idOf(id))),
  fc.tuple(topic, fc.nat(3)).map(([id, partition]) => keys.partition(idOf(id), partition)),
);
const removes = key.map(
  (one): Step =>
    (metadata) =>
      metadata.delete(one),
);
const damages = key.map(
  (one): Step =>
    (metadata) =>
      metadata.put(one, Buffer.from([0xff])),
);

const steps = fc.array(
  fc.oneof(
    { weight: 4, arbitrary: registers },
    { weight: 3, arbitrary: intents },
    { weight: 2, arbitrary: fc.constant(endIntents) },
    { weight: 3, arbitrary: topics },
    { weight: 2, arbitrary: deletions },
    { weight: 8, arbitrary: partitions },
    { weight: 3, arbitrary: removes },
    { weight: 1, arbitrary: damages },
  ),
  // Several at once are a listing.
  { minLength: 1, maxLength: 3 },
);

/** A partition that is as it should be: brokers that register in its commit have its revision. */
const leads =
  (leader: number, replicas: readonly number[]): Step =>
  (metadata) => {
    const isrBrokerEpochs = replicas.map(() => BigInt(metadata.revision + 1));
    const fields = { leader, replicas: [...replicas], isr: [...replicas], isrBrokerEpochs };
    makePartition({ topic: 0, partition: 0 }, fields)(metadata);
  };

/** Where most histories have something to lose. */
const populated: readonly Step[] = [
  ...brokerIds.map((id) => register(id)),
  ...[0, 1].map((id) => makeTopic(id, id)),
];

const history = fc.array(
  fc.oneof(
    { weight: 1, arbitrary: fc.record({ kind: fc.constant("changed" as const), steps }) },
    {
      weight: 1,
      arbitrary: fc.record({
        kind: fc.constant("round" as const),
        balances: seldom,
        /** Which of the changes are made; the others meet a conflict, or a failure. */
        made: fc.array(fc.integer({ min: 0, max: 3 }), { minLength: 4, maxLength: 4 }),
      }),
    },
  ),
  { minLength: 10, maxLength: 40 },
);

const write =
  ({ key: at, record }: Change): Step =>
  (metadata) => {
    if (record === undefined) metadata.delete(at);
    else metadata.put(at, encodeRecord.partition(record));
  };

test("what was touched decides as everything does", () => {
  let wanted = 0;
  let settled = 0;
  fc.assert(
    fc.property(fc.array(partitions, { maxLength: 12 }), history, (before, events) => {
      const metadata = new Metadata();
      const state = new StateMirror(metadata, silentLogger);
      for (const some of [populated, before]) metadata.commit(some);
      const decisions = new Decisions(state, epoch);
      for (const event of events) {
        if (event.kind === "changed") {
          metadata.commit(event.steps);
          continue;
        }
        const { balances, made } = event;
        const all = desired(state.current, epoch, balances);
        const changes = decisions.next(balances);
        assert.deepEqual(changes, all);
        wanted += changes.length;
        if (changes.length === 0) settled += 1;
        const isMade = (_: Change, i: number): boolean => (made[i % made.length] ?? 0) > 0;
        metadata.commit(changes.filter(isMade).map(write));
      }
      decisions.close();
    }),
    { numRuns: 1500 },
  );
  assert.ok(wanted > 3000 && settled > 3000, `${wanted} changes, nothing to do ${settled} times`);
});

/** Decisions of a reign that has begun, and in which nothing is left to do. */
const settled = (steps: readonly Step[]) => {
  const metadata = new Metadata();
  metadata.revision = epoch;
  const decisions = new Decisions(new StateMirror(metadata, silentLogger), epoch);
  metadata.commit(steps);
  assert.deepEqual(decisions.next(false), []);
  return { metadata, decisions };
};

test("a broker that is not drained any more leads where all others are about to stop", () => {
  const { metadata, decisions } = settled([
    ...[register(0, { shuttingDown: true }), register(1), want(1, DRAINING)],
    ...[makeTopic(0, 0), leads(0, [0, 1])],
  ]);
  metadata.commit([endIntents]);
  assert.deepEqual(
    decisions.next(false).map(({ record }) => record?.leader),
    [1],
  );
});

test("a drain that no broker could take goes on with the next one that registers", () => {
  const { metadata, decisions } = settled([
    ...[register(0), register(1), want(0, DRAINING), want(1, CORDONED)],
    ...[makeTopic(0, 0), leads(0, [0])],
  ]);
  metadata.commit([register(2)]);
  assert.deepEqual(
    decisions.next(false).map(({ record }) => record?.adding),
    [[2]],
  );
});
