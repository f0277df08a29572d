/**
 * Reassignments that begin, are replaced and cancelled while brokers come and go, leaders change
 * the ISR and the control loop decides: against a model of what each replica has on its disk.
 */
import assert from "node:assert/strict";
import { test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { keys } from "@millrace/metadata";
import { AlterPartitionSchema } from "@millrace/proto/controller";
import { type PartitionRecord, PartitionRecordSchema } from "@millrace/proto/storage";
import { topicIdBytes, topicIdOf } from "@millrace/record";
import fc from "fast-check";
import { alteredPartition } from "./alter-partition.ts";
import type { ClusterState, TopicState } from "./cluster-state.ts";
import { desired } from "./desired.ts";
import { noMaintenance } from "./maintenance/leases.ts";
import { everyBrokerActive } from "./placement.ts";
import { originalOf, reassigned } from "./reassignment.ts";

const topicId = topicIdOf(Buffer.alloc(16, 1));
const key = keys.partition(topicId, 0);
const all = [0, 1, 2, 3, 4];
const directories = new Map(all.map((id) => [id, Buffer.alloc(16, id + 1)]));

type Step =
  | { readonly kind: "register" | "fence" | "stop"; readonly broker: number }
  | { readonly kind: "round"; readonly balances: boolean }
  | { readonly kind: "minimum"; readonly min: number }
  /** The leader asks for an ISR. */
  | { readonly kind: "alter"; readonly others: readonly number[] }
  | { readonly kind: "reassign"; readonly target: readonly number[] }
  | { readonly kind: "cancel" };

const broker = fc.nat(4);
const ids = (minLength: number) => fc.shuffledSubarray(all, { minLength, maxLength: 4 });
const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("register" as const), broker }) },
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constantFrom("fence" as const, "stop" as const), broker }),
  },
  {
    weight: 6,
    arbitrary: fc.record({ kind: fc.constant("round" as const), balances: fc.boolean() }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      kind: fc.constant("minimum" as const),
      min: fc.integer({ min: 1, max: 4 }),
    }),
  },
  {
    weight: 8,
    arbitrary: fc.record({
      kind: fc.constant("alter" as const),
      others: fc.oneof(fc.constant(all), fc.subarray(all)),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({ kind: fc.constant("reassign" as const), target: ids(1) }),
  },
  { weight: 3, arbitrary: fc.constant({ kind: "cancel" as const }) },
);

const sorted = (of: Iterable<number>): number[] => [...of].sort((a, b) => a - b);

class World {
  readonly outcomes: string[] = [];
  readonly #brokers = new Map<number, number>();
  readonly #shuttingDown = new Set<number>();
  readonly #leaders = new Map<number, string>();
  #revision = 10;
  #topic: TopicState;
  #record: PartitionRecord;
  #modRevision = 10;
  /** Replicas whose disks have everything that was acknowledged. */
  #complete: Set<number>;
  /** Replicas before and after the reassignment that is under way. */
  #original: readonly number[];
  #target: readonly number[];
  #minimumChanged = false;

  constructor(min: number, replicas: readonly number[]) {
    for (const id of all) this.#brokers.set(id, id + 1);
    this.#topic = {
      ...{ id: topicId, name: "t", modRevision: 1, partitionCount: 1 },
      ...{ minInsyncReplicas: min, minIsrEpoch: 0 },
    };
    this.#record = create(PartitionRecordSchema, {
      ...{ topicId: topicIdBytes(topicId), replicas: [...replicas], isr: [...replicas] },
      ...{ leader: replicas[0] ?? 0, leaderEpoch: 1 },
      isrBrokerEpochs: replicas.map((id) => BigInt(id + 1)),
      directoryIds: replicas.map((id) => Buffer.alloc(16, id + 1)),
    });
    this.#complete = new Set(replicas);
    this.#original = replicas;
    this.#target = replicas;
  }

  get #state(): ClusterState {
    const partition = { record: this.#record, topicId, modRevision: this.#modRevision };
    return {
      ...{ revision: this.#revision, brokers: this.#brokers, shuttingDown: this.#shuttingDown },
      ...{ topics: new Map([[topicId, this.#topic]]), partitions: new Map([[key, partition]]) },
      ...{ deletions: new Map(), unreadable: new Set() },
      ...{ directories, racks: new Map(), placement: everyBrokerActive },
      maintenance: noMaintenance,
    };
  }

  take(one: Step): void {
    this.#revision += 1;
    if (one.kind === "round") this.#round(one.balances);
    else if (one.kind === "alter") this.#alter(one.others);
    else if (one.kind === "reassign") this.#reassign(one.target, one.target);
    else if (one.kind === "cancel") this.#reassign(originalOf(this.#record), this.#original);
    else if (one.kind === "minimum") {
      const { minIsrEpoch } = this.#topic;
      const { min: minInsyncReplicas } = one;
      this.#topic = { ...this.#topic, minInsyncReplicas, minIsrEpoch: minIsrEpoch + 1 };
      this.#minimumChanged = true;
      this.#acknowledge();
    } else if (one.kind === "stop") {
      if (this.#brokers.has(one.broker)) this.#shuttingDown.add(one.broker);
    } else {
      this.#shuttingDown.delete(one.broker);
      if (one.kind === "fence") this.#brokers.delete(one.broker);
      else this.#brokers.set(one.broker, this.#revision);
    }
    this.#check();
  }

  /** The rounds of the control loop, until nothing is desired. */
  #round(balances: boolean): void {
    for (let rounds = 0; ; rounds += 1) {
      const [change] = desired(this.#state, 1, balances);
      if (change?.record === undefined) break;
      assert.ok(rounds < 10, "the control loop comes to an end");
      const { replicas: before } = this.#record;
      const isOver = change.record.adding.length + change.record.removing.length === 0;
      const wasUnderWay = this.#record.adding.length + this.#record.removing.length > 0;
      if (isOver && wasUnderWay) {
        this.#checkCompletion(change.record);
        this.#original = this.#target;
      } else assert.deepEqual(change.record.replicas, before);
      this.#commit(change.record);
    }
    const { leader } = this.#record;
    assert.ok(leader === undefined || this.#brokers.has(leader), "a leader is registered");
  }

  #checkCompletion({ isr, isrBrokerEpochs, leader, leaderEpoch, replicas }: PartitionRecord): void {
    this.outcomes.push("completed");
    assert.deepEqual(replicas, this.#target);
    assert.equal(leaderEpoch, this.#record.leaderEpoch + 1);
    assert.ok(leader !== undefined, "a completion has a leader");
    assert.ok(
      this.#record.adding.every((id) => isr.includes(id)),
      "all that was added is in sync",
    );
    const min = Math.min(this.#topic.minInsyncReplicas, replicas.length);
    assert.ok(isr.length >= min, `${isr} are fewer than ${min}`);
    for (const [i, id] of isr.entries()) {
      assert.equal(
        isrBrokerEpochs[i],
        BigInt(this.#brokers.get(id) ?? -1),
        "in sync as registered",
      );
    }
  }

  #alter(others: readonly number[]): void {
    const { leader, leaderEpoch, isr, isrBrokerEpochs } = this.#record;
    const brokerEpoch = this.#brokers.get(leader ?? -1);
    const led = isrBrokerEpochs[isr.indexOf(leader ?? -1)];
    if (leader === undefined || brokerEpoch === undefined || led !== BigInt(brokerEpoch)) return;
    const wanted = sorted(new Set([...others, leader]));
    const members = wanted.filter((id) => this.#record.replicas.includes(id));
    const change = create(AlterPartitionSchema, {
      ...{ leaderEpoch, modRevision: BigInt(this.#modRevision) },
      isr: members.flatMap((brokerId) => {
        const epoch = this.#brokers.get(brokerId);
        return epoch === undefined ? [] : [{ brokerId, brokerEpoch: BigInt(epoch) }];
      }),
    });
    const partition = { record: this.#record, topicId, modRevision: this.#modRevision };
    const caller = { brokerId: leader, brokerEpoch };
    const decided = alteredPartition(partition, change, caller, this.#state);
    assert.notEqual(decided.kind, "refused");
    if (decided.kind === "changed") this.#commit(decided.record);
  }

  #reassign(wanted: readonly number[], target: readonly number[]): void {
    const registered = { brokers: this.#brokers, shuttingDown: this.#shuttingDown, directories };
    const decided = reassigned(this.#record, this.#topic, registered, wanted);
    this.outcomes.push(decided.kind);
    if (decided.kind === "refused") {
      const { isr } = this.#record;
      const isPresent = (id: number, i: number): boolean =>
        BigInt(this.#brokers.get(id) ?? -1) === this.#record.isrBrokerEpochs[i];
      const stays = (id: number): boolean => this.#original.includes(id) || target.includes(id);
      assert.ok(!isr.some((id, i) => stays(id) && isPresent(id, i)));
    }
    if (decided.kind === "already-so") assert.deepEqual(sorted(this.#target), sorted(target));
    if (decided.kind !== "changed") return;
    const { record } = decided;
    const gone = this.#record.replicas.filter((id) => !record.replicas.includes(id));
    if (gone.length > 0) this.outcomes.push("drops");
    const unwanted = this.#record.adding.filter((id) => !target.includes(id));
    assert.deepEqual(
      sorted(gone),
      sorted(unwanted),
      "only what was being added is dropped at once",
    );
    this.#target = record.replicas.slice(0, target.length);
    assert.deepEqual(sorted(this.#target), sorted(target));
    this.#commit(record);
    if (record.adding.length + record.removing.length === 0) this.#original = this.#target;
  }

  #commit(record: PartitionRecord): void {
    const before = this.#record;
    assert.ok(record.leaderEpoch >= before.leaderEpoch, "no epoch falls");
    const dropped = before.replicas.filter((id) => !record.replicas.includes(id));
    for (const id of dropped) {
      // Its log may go at any time.
      this.#complete.delete(id);
      const entry = record.removed.find(({ brokerId }) => brokerId === id);
      assert.equal(entry?.leaderEpoch, record.leaderEpoch);
      assert.ok(record.leaderEpoch > before.leaderEpoch, "who leaves has nothing of the new term");
    }
    for (const [i, id] of record.replicas.entries()) {
      const known = before.directoryIds[before.replicas.indexOf(id)] ?? Buffer.alloc(0);
      const now = Buffer.from(record.directoryIds[i] ?? []);
      if (known.length > 0 || now.length > 0) assert.deepEqual(now, directories.get(id));
    }
    this.#record = record;
    this.#modRevision = this.#revision += 1;
    for (const id of record.isr) this.#complete.add(id);
    this.#acknowledge();
  }

  /** A leader with enough replicas acknowledges without those outside the ISR. */
  #acknowledge(): void {
    const { leader, isr } = this.#record;
    const before = this.#record.replicas.length - this.#record.adding.length;
    const min = Math.min(this.#topic.minInsyncReplicas, before);
    if (leader !== undefined && isr.length >= min) this.#complete = new Set(isr);
  }

  #check(): void {
    const { leader, leaderEpoch, replicas, isr, isrBrokerEpochs, elr } = this.#record;
    const { adding, removing, minIsrEpoch, removed } = this.#record;
    assert.ok(isr.length > 0, "the ISR is never empty");
    assert.ok([...isr, ...elr].every((id) => replicas.includes(id)));
    assert.ok(leader === undefined || isr.includes(leader), "the leader is in the ISR");
    const life =
      leader === undefined ? "nobody" : `${leader}/${isrBrokerEpochs[isr.indexOf(leader)]}`;
    assert.equal(this.#leaders.get(leaderEpoch) ?? life, life, "one leader's life per epoch");
    this.#leaders.set(leaderEpoch, life);
    assert.equal(new Set(replicas).size, replicas.length);
    const original = replicas.filter((id) => !adding.includes(id));
    assert.deepEqual(sorted(original), sorted(this.#original), "cancelling leads back");
    assert.deepEqual(
      replicas.filter((id) => !removing.includes(id)),
      this.#target,
    );
    const isMoving = sorted(this.#target).join() !== sorted(this.#original).join();
    assert.equal(adding.length + removing.length > 0, isMoving);
    assert.ok(removed.every(({ brokerId }) => !replicas.includes(brokerId)));
    assert.equal(new Set(removed.map(({ brokerId }) => brokerId)).size, removed.length);
    const trusted = [...isr, ...(minIsrEpoch === this.#topic.minIsrEpoch ? elr : [])];
    assert.ok(
      trusted.every((id) => this.#complete.has(id)),
      `${trusted} are trusted, but only ${[...this.#complete]} have everything`,
    );
    if (this.#minimumChanged) return;
    if (isr.length < Math.min(this.#topic.minInsyncReplicas, original.length)) {
      const others = [...this.#complete].filter((id) => !isr.includes(id));
      assert.deepEqual(sorted(elr), sorted(others), "all who have everything are eligible");
    } else assert.deepEqual(elr, []);
  }
}

test("whatever moves, who is trusted has everything, and the records tell who was removed", () => {
  const counts = new Map<string, number>();
  fc.assert(
    fc.property(
      fc.integer({ min: 1, max: 4 }),
      fc.oneof(
        ids(1),
        broker.map((id) => [id]),
      ),
      fc.array(step, { minLength: 5, maxLength: 50 }),
      (min, replicas, steps) => {
        const world = new World(min, replicas);
        for (const one of steps) world.take(one);
        for (const name of world.outcomes) counts.set(name, (counts.get(name) ?? 0) + 1);
      },
    ),
    { numRuns: 3000 },
  );
  for (const name of ["changed", "already-so", "drops", "completed"]) {
    assert.ok((counts.get(name) ?? 0) > 10, `${name} only ${counts.get(name)} times`);
  }
});
