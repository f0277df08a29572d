/** A cluster in memory, over which plans are carried out: brokers, partitions, and one plan. */
import { create } from "@bufbuild/protobuf";
import { must } from "@millrace/errors";
import { keys } from "@millrace/metadata";
import { type BrokerIntent, RebalanceState } from "@millrace/proto/common";
import {
  BrokerIntentRecordSchema,
  type PartitionRecord,
  PartitionRecordSchema,
  type RebalanceMove,
  RebalanceMoveSchema,
  type RebalanceRecord,
  RebalanceRecordSchema,
} from "@millrace/proto/storage";
import { topicIdBytes, topicIdOf } from "@millrace/record";
import type { ClusterState, PartitionState, TopicState } from "../cluster-state.ts";
import { desired } from "../desired.ts";
import { noMaintenance } from "../maintenance/leases.ts";
import { reassigned } from "../reassignment.ts";
import { planRebalance } from "../rebalance/planner.ts";
import { planInput } from "../rebalance/request.ts";
import { nextStep, type Step } from "../rebalance/steps.ts";
import type { Measured } from "../rebalance/traffic.ts";

export const topicId = topicIdOf(Buffer.alloc(16, 1));
export const keyOf = (partition: number): string => keys.partition(topicId, partition);

export const unmeasured: Measured = {
  ...{ lagBytes: new Map(), freeBytes: new Map(), commitLagMs: new Map(), gone: new Set() },
  movesPerBroker: Number.POSITIVE_INFINITY,
};

export interface WorldOptions {
  /** Racks of brokers 1 to n; empty: in none. */
  readonly racks: readonly string[];
  readonly replicas: readonly (readonly number[])[];
  readonly minInsyncReplicas?: number;
  readonly movesPerBroker?: number;
}

export class RebalanceWorld {
  readonly brokers = new Map<number, number>();
  readonly racks = new Map<number, string>();
  readonly intents = new Map<number, BrokerIntent>();
  readonly partitions = new Map<string, PartitionState>();
  topic: TopicState;
  record: RebalanceRecord;
  moves: readonly RebalanceMove[] = [];
  measured: Measured = unmeasured;
  /** How many there are, registered or not. */
  readonly brokerCount: number;
  #revision = 100;

  constructor({ racks, replicas, minInsyncReplicas = 1, movesPerBroker = 5 }: WorldOptions) {
    this.brokerCount = racks.length;
    for (const [i, rack] of racks.entries()) {
      this.brokers.set(i + 1, i + 1);
      if (rack !== "") this.racks.set(i + 1, rack);
    }
    this.topic = {
      ...{ id: topicId, name: "t", modRevision: 4, partitionCount: replicas.length },
      ...{ minInsyncReplicas, minIsrEpoch: 0 },
    };
    for (const [partition, ids] of replicas.entries()) {
      const record = create(PartitionRecordSchema, {
        ...{ topicId: topicIdBytes(topicId), partition, replicas: [...ids], isr: [...ids] },
        ...{ leader: ids[0] ?? 0, leaderEpoch: 1, isrBrokerEpochs: ids.map((id) => BigInt(id)) },
      });
      this.partitions.set(keyOf(partition), { record, topicId, modRevision: 7 });
    }
    this.record = create(RebalanceRecordSchema, {
      ...{ rebalanceId: 1, state: RebalanceState.REBALANCING, movesPerBrokerMax: movesPerBroker },
    });
  }

  get state(): ClusterState {
    const intents = [...this.intents].map(([brokerId, intent]) =>
      create(BrokerIntentRecordSchema, { brokerId, intent }),
    );
    return {
      ...{ revision: this.#revision, brokers: this.brokers, racks: this.racks },
      ...{ shuttingDown: new Set(), unreadable: new Set(), directories: new Map() },
      ...{ topics: new Map([[topicId, this.topic]]), deletions: new Map() },
      maintenance: noMaintenance,
      placement: { revision: 9, intents: new Map(intents.map((one) => [one.brokerId, one])) },
      partitions: this.partitions,
    };
  }

  of(partition: number): PartitionRecord {
    return must(this.partitions.get(keyOf(partition)), "a partition").record;
  }

  put(key: string, record: PartitionRecord): void {
    this.#revision += 1;
    this.partitions.set(key, { record, topicId, modRevision: this.#revision });
  }

  /** Takes up these moves, each of so many bytes. */
  plan(
    moves: readonly (readonly [partition: number, to: readonly number[]])[],
    bytes = 1000,
  ): void {
    this.moves = moves.map(([partition, to]) =>
      create(RebalanceMoveSchema, {
        ...{ topicId: topicIdBytes(topicId), topic: "t", partition, to: [...to] },
        ...{ from: [...this.of(partition).replicas], bytes: BigInt(bytes) },
      }),
    );
    this.record = { ...this.record, outcomes: new Uint8Array(moves.length), skipped: [] };
  }

  /** Takes up what the planner makes of it. */
  planAll(): void {
    const nothing = { logs: new Map(), failures: new Map() };
    const { request } = planInput(this.state, nothing, new Set());
    const byKey = new Map([...this.partitions].map(([key, one]) => [key, one.record.partition]));
    this.plan(planRebalance(request).moves.map(({ key, to }) => [byKey.get(key) ?? 0, to]));
  }

  /** One step of the plan, and its changes. */
  step(stepMax = 40): Step {
    const plan = { record: this.record, moves: this.moves };
    const step = nextStep(plan, this.state, this.measured, stepMax, 1234);
    if (step.record !== undefined) this.record = step.record;
    for (const { key, record } of step.changes) this.put(key, record);
    return step;
  }

  /** One round of the control loop. */
  round(): void {
    for (const { key, record } of desired(this.state, 1)) {
      if (record !== undefined) this.put(key, record);
    }
  }

  /** Registered replicas of a partition have caught up. */
  catchUp(partition: number): void {
    const key = keyOf(partition);
    const record = this.partitions.get(key)?.record;
    if (record?.leader === undefined) return;
    const isr = record.replicas.filter((id) => record.isr.includes(id) || this.brokers.has(id));
    const isrBrokerEpochs = isr.map((id) => {
      const epoch = record.isrBrokerEpochs[record.isr.indexOf(id)];
      return BigInt(this.brokers.get(id) ?? epoch ?? 0);
    });
    this.put(key, { ...record, isr, isrBrokerEpochs, elr: [] });
  }

  /** What an operator, or a drain, makes of a partition. */
  reassign(partition: number, to: readonly number[]): void {
    const moved = reassigned(this.of(partition), this.topic, this.state, to);
    if (moved.kind === "changed") this.put(keyOf(partition), moved.record);
  }

  /** Everybody catches up, and what is due is done, until nothing changes any more. */
  settle(rounds = 200): void {
    for (let i = 0; i < rounds; i += 1) {
      const { record } = this.step();
      this.round();
      for (const { record: one } of this.partitions.values()) this.catchUp(one.partition);
      this.round();
      if (record === undefined && i > 0) return;
    }
  }
}
