/**
 * Brokers that come and go, with another disk at times, the controller's rounds, and leaders that
 * ask for changes, also by what they or the controller read long ago: against a model of what each
 * disk has.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { type AlterPartition, AlterPartitionSchema } from "@millrace/proto/controller";
import { type PartitionRecord, PartitionRecordSchema } from "@millrace/proto/storage";
import { topicIdBytes, topicIdOf } from "@millrace/record";
import fc from "fast-check";
import { alteredPartition } from "./alter-partition.ts";
import type { PartitionState, TopicState } from "./cluster-state.ts";
import { nextPartition } from "./leadership.ts";

const topicId = topicIdOf(Buffer.alloc(16, 1));
const replicas = [0, 1, 2];

type Step =
  | { readonly kind: "register" | "fence"; readonly broker: number }
  /** A broker registers anew, with this one of its disks. */
  | { readonly kind: "disk"; readonly broker: number; readonly disk: number }
  /** The control loop decides. */
  | { readonly kind: "round" }
  | { readonly kind: "minimum"; readonly min: number }
  | {
      readonly kind: "alter";
      /** Beside the caller, unless it forgets itself. */
      readonly others: readonly number[];
      readonly forgetsItself: boolean;
      /** Its log is damaged. */
      readonly resigns: boolean;
      /** Who calls; by default whom the record names as the leader. */
      readonly caller: number | undefined;
      /** How many states ago the controller has read, and the caller where it differs. */
      readonly controllerAge: number;
      readonly callerAge: number | undefined;
    };

const age = fc.oneof({ weight: 3, arbitrary: fc.constant(0) }, fc.nat(3));
const step: fc.Arbitrary<Step> = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constantFrom("register" as const, "fence" as const),
      broker: fc.nat(3),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant("disk" as const),
      broker: fc.nat(2),
      disk: fc.nat(2),
    }),
  },
  { weight: 3, arbitrary: fc.constant({ kind: "round" as const }) },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("minimum" as const),
      min: fc.integer({ min: 1, max: 4 }),
    }),
  },
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant("alter" as const),
      others: fc.oneof({ weight: 9, arbitrary: fc.subarray([0, 1, 2]) }, fc.subarray([0, 1, 2, 3])),
      forgetsItself: fc.oneof({ weight: 9, arbitrary: fc.constant(false) }, fc.boolean()),
      resigns: fc.oneof({ weight: 6, arbitrary: fc.constant(false) }, fc.boolean()),
      caller: fc.oneof({ weight: 9, arbitrary: fc.constant(undefined) }, fc.nat(3)),
      controllerAge: age,
      callerAge: fc.option(age, { nil: undefined }),
    }),
  },
);

interface State {
  readonly revision: number;
  readonly brokers: ReadonlyMap<number, number>;
  readonly directories: ReadonlyMap<number, Uint8Array>;
  readonly topic: TopicState;
  readonly partition: PartitionState;
}

const directoryIdOf = (broker: number, disk: number): Uint8Array =>
  Buffer.from([broker, disk, ...Buffer.alloc(14)]);

/** Names of the disks on which these replicas were in sync last. */
const disksOf = ({ directoryIds, replicas }: PartitionRecord, ids: readonly number[]): string[] =>
  ids.map((id) => `${id}/${directoryIds[replicas.indexOf(id)]?.[1]}`);

class World {
  readonly outcomes: string[] = [];
  readonly #history: State[];
  readonly #leaders = new Map<number, string>();
  /** By broker, of those that have had another one. */
  readonly #disks = new Map<number, number>();
  /** Disks that have everything that was acknowledged. */
  #complete = new Set(["0/0", "1/0", "2/0"]);
  /** Leaders that were passed over for want of their disk. */
  passedOver = 0;
  resignations = 0;
  #minimumChanged = false;

  constructor(min: number) {
    const brokers = new Map(replicas.map((id) => [id, id + 1]));
    const record = create(PartitionRecordSchema, {
      ...{ topicId: topicIdBytes(topicId), replicas, isr: replicas, leader: 0, leaderEpoch: 1 },
      isrBrokerEpochs: [1n, 2n, 3n],
      directoryIds: replicas.map((id) => directoryIdOf(id, 0)),
    });
    const topic = {
      ...{ id: topicId, name: "t", modRevision: 1, partitionCount: 1 },
      ...{ minInsyncReplicas: min, minIsrEpoch: 0 },
    };
    const partition = { record, topicId, modRevision: 10 };
    const directories = new Map(replicas.map((id) => [id, directoryIdOf(id, 0)]));
    this.#history = [{ revision: 10, brokers, directories, topic, partition }];
  }

  get #now(): State {
    return this.#ago(0);
  }

  #ago(states: number): State {
    const state = this.#history.at(-1 - states) ?? this.#history[0];
    assert.ok(state !== undefined);
    return state;
  }

  #set(change: (revision: number) => Partial<State>): void {
    const revision = this.#now.revision + 1;
    this.#history.push({ ...this.#now, revision, ...change(revision) });
  }

  take(one: Step): void {
    const { brokers, topic } = this.#now;
    if (one.kind === "alter") this.#alter(one);
    else if (one.kind === "round") this.#round();
    else if (one.kind === "disk") {
      this.#disks.set(one.broker, one.disk);
      this.#register(one.broker);
    } else if (one.kind === "minimum") {
      this.#minimumChanged = true;
      const { minIsrEpoch } = topic;
      const next = { ...topic, minInsyncReplicas: one.min, minIsrEpoch: minIsrEpoch + 1 };
      this.#set((modRevision) => ({ topic: { ...next, modRevision } }));
      this.#acknowledge();
    } else if (brokers.has(one.broker) === (one.kind === "fence")) {
      if (one.kind === "register") this.#register(one.broker);
      else {
        const isOther = ([id]: readonly [number, unknown]): boolean => id !== one.broker;
        this.#set(() => ({
          brokers: new Map([...brokers].filter(isOther)),
          directories: new Map([...this.#now.directories].filter(isOther)),
        }));
      }
    }
    this.#check();
  }

  #register(broker: number): void {
    const { brokers, directories } = this.#now;
    const directoryId = directoryIdOf(broker, this.#disks.get(broker) ?? 0);
    this.#set((revision) => ({
      brokers: new Map([...brokers, [broker, revision]]),
      directories: new Map([...directories, [broker, directoryId]]),
    }));
  }

  #round(): void {
    const { brokers, directories, topic, partition } = this.#now;
    const registered = { brokers, directories, shuttingDown: new Set<number>() };
    const next = nextPartition(partition.record, topic, registered);
    if (next !== undefined) this.#commit(next);
    const { record } = this.#now.partition;
    const { leader, isr } = record;
    if (leader === undefined) {
      if (isr.some((id) => brokers.has(id))) this.passedOver += 1;
      return;
    }
    assert.ok(brokers.has(leader), "a leader is registered");
    const disk = `${leader}/${this.#disks.get(leader) ?? 0}`;
    assert.ok(this.#complete.has(disk), `${disk} leads, which lacks something`);
  }

  #alter(one: Step & { kind: "alter" }): void {
    const read = this.#ago(one.callerAge ?? one.controllerAge);
    const judged = this.#ago(one.controllerAge);
    const { record, modRevision } = read.partition;
    const brokerId = one.caller ?? record.leader ?? 0;
    const brokerEpoch = read.brokers.get(brokerId);
    // Otherwise STALE_BROKER_EPOCH.
    if (brokerEpoch === undefined || judged.brokers.get(brokerId) !== brokerEpoch) return;
    const without = one.others.filter((id) => id !== brokerId);
    const itself = one.resigns === one.forgetsItself ? [brokerId] : [];
    const ids = [...without, ...itself];
    const epochOf = (id: number): bigint => BigInt(read.brokers.get(id) ?? id + 1);
    const change = create(AlterPartitionSchema, {
      ...{ leaderEpoch: record.leaderEpoch, modRevision: BigInt(modRevision) },
      resigns: one.resigns,
      isr: ids.map((id) => ({ brokerId: id, brokerEpoch: epochOf(id) })),
    });
    const { brokers: registered, directories } = judged;
    const state = {
      ...{ topics: new Map([[topicId, judged.topic]]), brokers: registered, directories },
      shuttingDown: new Set<number>(),
    };
    const decided = alteredPartition(judged.partition, change, { brokerId, brokerEpoch }, state);
    if (decided.kind === "already-so") this.#checkMade(change, ids);
    if (decided.kind !== "changed") {
      this.outcomes.push(decided.kind === "refused" ? decided.error.codeName : decided.kind);
      return;
    }
    // The conditions of the transaction.
    const { brokers, partition, topic } = this.#now;
    const isTopicFree = decided.unchanged === undefined;
    const isUnchanged =
      (isTopicFree || topic.modRevision === judged.topic.modRevision) &&
      partition.modRevision === judged.partition.modRevision &&
      [...decided.brokers].every(([id, epoch]) => (brokers.get(id) ?? 0) === epoch);
    this.outcomes.push(isUnchanged ? "changed" : "conflict");
    if (!isUnchanged) return;
    const { leader, leaderEpoch, isr, isrBrokerEpochs } = decided.record;
    const { leaderEpoch: epochBefore } = partition.record;
    if (one.resigns) this.#resigned(brokerId, decided.record);
    else assert.deepEqual([leader, leaderEpoch], [brokerId, epochBefore]);
    assert.equal(leaderEpoch, epochBefore + (one.resigns ? 1 : 0));
    const isOfElr = one.resigns && ids.length === 0;
    if (!isOfElr) assert.deepEqual(isr.toSorted(), ids.toSorted());
    for (const [i, id] of isr.entries()) {
      assert.equal(isrBrokerEpochs[i], BigInt(brokers.get(id) ?? -1), "in sync as registered");
    }
    // A leader asks only for who has caught up.
    for (const id of one.resigns ? [] : isr) {
      for (const disk of [0, 1, 2]) this.#complete.delete(`${id}/${disk}`);
      this.#complete.add(`${id}/${this.#disks.get(id) ?? 0}`);
    }
    this.#commit(decided.record);
  }

  #resigned(former: number, { elr, isr }: PartitionRecord): void {
    assert.ok(![...isr, ...elr].includes(former), "who resigns is not complete");
    this.#complete.delete(`${former}/${this.#disks.get(former) ?? 0}`);
    this.resignations += 1;
  }

  /** The record was so at the revision that the caller had read, or later. */
  #checkMade({ modRevision, leaderEpoch }: AlterPartition, isr: readonly number[]): void {
    const was = this.#history.some(
      ({ partition }) =>
        BigInt(partition.modRevision) >= modRevision &&
        partition.record.leaderEpoch === leaderEpoch &&
        partition.record.isr.toSorted().join() === isr.toSorted().join(),
    );
    assert.ok(was, "answered as made, but nobody has made it");
  }

  #commit(record: PartitionRecord): void {
    assert.ok(record.leaderEpoch >= this.#now.partition.record.leaderEpoch, "no epoch falls");
    this.#set((modRevision) => ({ partition: { record, topicId, modRevision } }));
    this.#acknowledge();
  }

  /** A leader with enough replicas acknowledges without those outside the ISR. */
  #acknowledge(): void {
    const { topic, partition } = this.#now;
    const { leader, isr } = partition.record;
    const min = Math.min(topic.minInsyncReplicas, replicas.length);
    if (leader === undefined || isr.length < min) return;
    this.#complete = new Set(disksOf(partition.record, isr));
  }

  #check(): void {
    const { topic, partition } = this.#now;
    const { record } = partition;
    const { leader, leaderEpoch, isr, isrBrokerEpochs, elr, minIsrEpoch } = record;
    assert.ok(leader === undefined || isr.includes(leader), "the leader is in the ISR");
    const life =
      leader === undefined ? "nobody" : `${leader}/${isrBrokerEpochs[isr.indexOf(leader)]}`;
    assert.equal(this.#leaders.get(leaderEpoch) ?? life, life, "one leader's life per epoch");
    this.#leaders.set(leaderEpoch, life);
    assert.equal(isrBrokerEpochs.length, isr.length);
    assert.ok(!elr.some((id) => isr.includes(id)), "nobody is in both");
    const eligible = [...isr, ...(minIsrEpoch === topic.minIsrEpoch ? elr : [])];
    const trusted = disksOf(record, eligible);
    assert.ok(
      trusted.every((disk) => this.#complete.has(disk)),
      `${trusted} are trusted, but only ${[...this.#complete]} have everything`,
    );
    if (this.#minimumChanged) return;
    if (isr.length < Math.min(topic.minInsyncReplicas, replicas.length)) {
      const inSync = disksOf(record, isr);
      const others = [...this.#complete].filter((disk) => !inSync.includes(disk));
      // Who came back with another disk is eligible no more, also once the old one is back.
      const steady = others.filter((disk) => !this.#disks.has(Number(disk.split("/")[0])));
      const eligibleDisks = disksOf(record, elr);
      assert.ok(
        steady.every((disk) => eligibleDisks.includes(disk)),
        `all who have everything are eligible: ${eligibleDisks} of ${others}`,
      );
    } else assert.deepEqual(elr, []);
  }
}

test("whatever comes and goes, who is trusted has everything, and one life leads per epoch", () => {
  const counts = new Map<string, number>();
  let [passedOver, resignations] = [0, 0];
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 4 }),
      fc.array(step, { minLength: 5, maxLength: 40 }),
      (min, steps) => {
        const world = new World(min);
        for (const one of steps) world.take(one);
        passedOver += world.passedOver;
        resignations += world.resignations;
        for (const name of world.outcomes) counts.set(name, (counts.get(name) ?? 0) + 1);
      },
    ),
    { numRuns: 2000 },
  );
  const expected = [
    ...["changed", "already-so", "conflict", "FENCED_LEADER_EPOCH", "METADATA_STALE"],
    ...["INELIGIBLE_REPLICA", "INVALID_REQUEST"],
  ];
  assert.ok(passedOver > 10, `only ${passedOver} leaders were passed over for want of their disk`);
  assert.ok(resignations > 10, `only ${resignations} leaders resigned`);
  for (const name of expected) {
    assert.ok((counts.get(name) ?? 0) > 10, `${name} only ${counts.get(name)} times`);
  }
});
