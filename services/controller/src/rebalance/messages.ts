/** A plan as it is stored and as it is told. */
import { create } from "@bufbuild/protobuf";
import { BrokerLoadSchema, RebalanceGoal, UnmetGoalSchema } from "@millrace/proto/common";
import {
  type PlannedPartitionMove,
  PlannedPartitionMoveSchema,
  type Rebalance,
  RebalanceSchema,
} from "@millrace/proto/controller";
import type { RebalanceMove, RebalanceRecord } from "@millrace/proto/storage";
import { Outcome } from "./steps.ts";
import type { BrokerShare, Goal, Unmet } from "./types.ts";

const goals: Readonly<Record<Goal, RebalanceGoal>> = {
  brokers: RebalanceGoal.BROKERS,
  racks: RebalanceGoal.RACKS,
  disk: RebalanceGoal.DISK,
  replicas: RebalanceGoal.REPLICAS,
  count: RebalanceGoal.COUNT,
  bytes: RebalanceGoal.BYTES,
  leaders: RebalanceGoal.LEADERS,
};

export const loadsOf = (shares: readonly BrokerShare[]) =>
  shares.map(({ id, replicas, leaders, bytes }) =>
    create(BrokerLoadSchema, { brokerId: id, replicas, leaders, bytes: BigInt(bytes) }),
  );

export const unmetOf = (unmet: readonly Unmet[]) =>
  unmet.map(({ goal, why }) => create(UnmetGoalSchema, { goal: goals[goal], why }));

const countsOf = (outcomes: Uint8Array) => {
  const count = (outcome: number): number =>
    outcomes.reduce((sum, one) => sum + (one === outcome ? 1 : 0), 0);
  return {
    moveCount: outcomes.length,
    pendingCount: count(Outcome.waiting),
    ongoingCount: count(Outcome.moving),
    doneCount: count(Outcome.done),
    skippedCount: count(Outcome.skipped),
    cancelledCount: count(Outcome.cancelled),
  };
};

export const rebalanceOf = (record: RebalanceRecord): Rebalance => {
  const { $typeName: _, outcomes, ...shared } = record;
  return create(RebalanceSchema, { ...shared, ...countsOf(outcomes) });
};

export const plannedOf = ({
  topic,
  partition,
  from,
  to,
  bytes,
}: RebalanceMove): PlannedPartitionMove =>
  create(PlannedPartitionMoveSchema, { topic, partition, from, to, bytes });
