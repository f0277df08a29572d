/**
 * Brokers that come and go, the controller's rounds, and leaders that ask for changes, also by what
 * they or the controller read long ago: against a model of what each replica has on its disk.
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
  /** The control loop decides. */
  | { readonly kind: "round" }
  | { readonly kind: "minimum"; readonly min: number }
  | {
      readonly kind: "alter";
      /** Beside the caller, unless it forgets itself. */
      readonly others: readonly number[];
      readonly forgetsItself: boolean;
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
      caller: fc.oneof({ weight: 9, arbitrary: fc.constant(undefined) }, fc.nat(3)),
      controllerAge: age,
      callerAge: fc.option(age, { nil: undefined }),
    }),
  },
);

interface State {
  readonly revision: number;
  readonly brokers: ReadonlyMap<number, number>;
  readonly topic: TopicState;
  readonly partition: PartitionState;
}

class World {
  readonly outcomes: string[] = [];
  readonly #history: State[];
  readonly #leaders = new Map<number, string>();
  /** Replicas whose disks have everything that was acknowledged. */
  #complete = new Set(replicas);
  #minimumChanged = false;

  constructor(min: number) {
    const brokers = new Map(replicas.map((id) => [id, id + 1]));
    const record = create(PartitionRecordSchema, {
      ...{ topicId: topicIdBytes(topicId), replicas, isr: replicas, leader: 0, leaderEpoch: 1 },
      isrBrokerEpochs: [1n, 2n, 3n],
    });
    const topic = {
      ...{ id: topicId, name: "t", modRevision: 1, partitionCount: 1 },
      ...{ minInsyncReplicas: min, minIsrEpoch: 0 },
    };
    const partition = { record, topicId, modRevision: 10 };
    this.#history = [{ revision: 10, brokers, topic, partition }];
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
    const { brokers, topic, partition } = this.#now;
    if (one.kind === "alter") this.#alter(one);
    else if (one.kind === "round") {
      const record = nextPartition(partition.record, topic, {
        ...{ brokers, shuttingDown: new Set<number>() },
      });
      if (record !== undefined) this.#commit(record);
      const { leader } = this.#now.partition.record;
      assert.ok(leader === undefined || brokers.has(leader), "a leader is registered");
    } else if (one.kind === "minimum") {
      this.#minimumChanged = true;
      const { minIsrEpoch } = topic;
      const next = { ...topic, minInsyncReplicas: one.min, minIsrEpoch: minIsrEpoch + 1 };
      this.#set(() => ({ topic: next }));
      this.#acknowledge();
    } else if (brokers.has(one.broker) === (one.kind === "fence")) {
      this.#set((revision) => {
        const changed = new Map(brokers);
        if (one.kind === "fence") changed.delete(one.broker);
        else changed.set(one.broker, revision);
        return { brokers: changed };
      });
    }
    this.#check();
  }

  #alter(one: Step & { kind: "alter" }): void {
    const read = this.#ago(one.callerAge ?? one.controllerAge);
    const judged = this.#ago(one.controllerAge);
    const { record, modRevision } = read.partition;
    const brokerId = one.caller ?? record.leader ?? 0;
    const brokerEpoch = read.brokers.get(brokerId);
    // Otherwise STALE_BROKER_EPOCH.
    if (brokerEpoch === undefined || judged.brokers.get(brokerId) !== brokerEpoch) return;
    const ids = one.forgetsItself ? one.others : [...new Set([...one.others, brokerId])];
    const epochOf = (id: number): bigint => BigInt(read.brokers.get(id) ?? id + 1);
    const change = create(AlterPartitionSchema, {
      ...{ leaderEpoch: record.leaderEpoch, modRevision: BigInt(modRevision) },
      isr: ids.map((id) => ({ brokerId: id, brokerEpoch: epochOf(id) })),
    });
    const state = { topics: new Map([[topicId, judged.topic]]), brokers: judged.brokers };
    const decided = alteredPartition(judged.partition, change, { brokerId, brokerEpoch }, state);
    if (decided.kind === "already-so") this.#checkMade(change, ids);
    if (decided.kind !== "changed") {
      this.outcomes.push(decided.kind === "refused" ? decided.error.codeName : decided.kind);
      return;
    }
    // The conditions of the transaction.
    const { brokers, partition } = this.#now;
    const isUnchanged =
      partition.modRevision === judged.partition.modRevision &&
      [...decided.brokers].every(([id, epoch]) => (brokers.get(id) ?? 0) === epoch);
    this.outcomes.push(isUnchanged ? "changed" : "conflict");
    if (!isUnchanged) return;
    const { leader, leaderEpoch, isr, isrBrokerEpochs } = decided.record;
    assert.deepEqual([leader, leaderEpoch], [brokerId, partition.record.leaderEpoch]);
    assert.deepEqual(isr.toSorted(), ids.toSorted());
    for (const [i, id] of isr.entries()) {
      assert.equal(isrBrokerEpochs[i], BigInt(brokers.get(id) ?? -1), "in sync as registered");
    }
    this.#commit(decided.record);
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
    // A leader asks only for who has caught up.
    for (const id of record.isr) this.#complete.add(id);
    this.#acknowledge();
  }

  /** A leader with enough replicas acknowledges without those outside the ISR. */
  #acknowledge(): void {
    const { topic, partition } = this.#now;
    const { leader, isr } = partition.record;
    const min = Math.min(topic.minInsyncReplicas, replicas.length);
    if (leader !== undefined && isr.length >= min) this.#complete = new Set(isr);
  }

  #check(): void {
    const { topic, partition } = this.#now;
    const { leader, leaderEpoch, isr, isrBrokerEpochs, elr, minIsrEpoch } = partition.record;
    assert.ok(leader === undefined || isr.includes(leader), "the leader is in the ISR");
    const life =
      leader === undefined ? "nobody" : `${leader}/${isrBrokerEpochs[isr.indexOf(leader)]}`;
    assert.equal(this.#leaders.get(leaderEpoch) ?? life, life, "one leader's life per epoch");
    this.#leaders.set(leaderEpoch, life);
    assert.equal(isrBrokerEpochs.length, isr.length);
    assert.ok(!elr.some((id) => isr.includes(id)), "nobody is in both");
    const trusted = [...isr, ...(minIsrEpoch === topic.minIsrEpoch ? elr : [])];
    assert.ok(
      trusted.every((id) => this.#complete.has(id)),
      `${trusted} are trusted, but only ${[...this.#complete]} have everything`,
    );
    if (this.#minimumChanged) return;
    if (isr.length < Math.min(topic.minInsyncReplicas, replicas.length)) {
      const others = [...this.#complete].filter((id) => !isr.includes(id));
      assert.deepEqual(elr.toSorted(), others.toSorted(), "all who have everything are eligible");
    } else assert.deepEqual(elr, []);
  }
}

test("whatever comes and goes, who is trusted has everything, and one life leads per epoch", () => {
  const counts = new Map<string, number>();
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 4 }),
      fc.array(step, { minLength: 5, maxLength: 40 }),
      (min, steps) => {
        const world = new World(min);
        for (const one of steps) world.take(one);
        for (const name of world.outcomes) counts.set(name, (counts.get(name) ?? 0) + 1);
      },
    ),
    { numRuns: 2000 },
  );
  const expected = [
    ...["changed", "already-so", "conflict", "FENCED_LEADER_EPOCH", "METADATA_STALE"],
    ...["INELIGIBLE_REPLICA", "INVALID_REQUEST"],
  ];
  for (const name of expected) {
    assert.ok((counts.get(name) ?? 0) > 10, `${name} only ${counts.get(name)} times`);
  }
});
