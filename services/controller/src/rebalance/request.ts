/** What a plan is made from: the metadata, and what brokers have told of their logs. Pure. */
import { BrokerIntent } from "@millrace/proto/common";
import type { ClusterState } from "../cluster-state.ts";
import { brokersWith } from "../drain.ts";
import { bytesSlack, bytesSlackMin, diskUsageMax, rebalanceLimits } from "../limits.ts";
import { intentOf } from "../placement.ts";
import { isBeingReassigned, targetOf } from "../reassignment.ts";
import type { Loads } from "./loads.ts";
import type { PlannedBroker, PlannedPartition, PlanRequest } from "./types.ts";

export interface PlanInput {
  readonly request: PlanRequest;
  /** For people: what the plan leaves out, and what it does not know. */
  readonly notes: readonly string[];
}

/** Bytes of one replica: of the leader's, else of the largest. 0 where nobody has told. */
const bytesOf = (
  key: string,
  replicas: readonly number[],
  leader: number | undefined,
  { logs }: Loads,
): number => {
  const at = (id: number): number | undefined => logs.get(id)?.bytes.get(key);
  const ofLeader = leader === undefined ? undefined : at(leader);
  return ofLeader ?? Math.max(0, ...replicas.map((id) => at(id) ?? 0));
};

/** Bytes of logs that a broker has room for, what it has included. */
const roomOf = (id: number, { logs }: Loads): number => {
  const known = logs.get(id);
  if (known?.freeBytes === undefined) return Number.MAX_SAFE_INTEGER;
  const used = known.bytes.values().reduce((sum, bytes) => sum + bytes, 0);
  return Math.floor((used + known.freeBytes) * diskUsageMax);
};

const brokerOf = (state: ClusterState, loads: Loads, id: number): PlannedBroker => {
  const { brokers, directories, placement, racks } = state;
  const intent = intentOf(placement, id, directories.get(id));
  return {
    ...{ id, rack: racks.get(id) ?? "", bytesMax: roomOf(id, loads) },
    isActive: brokers.has(id) && intent === BrokerIntent.ACTIVE,
    keeps: intent !== BrokerIntent.DECOMMISSIONED,
  };
};

const brokerNotes = (state: ClusterState, loads: Loads, { id }: PlannedBroker): string[] => {
  const { brokers, directories, placement } = state;
  const intent = intentOf(placement, id, directories.get(id));
  if (intent === BrokerIntent.DRAINING) {
    return [`broker ${id} is being drained: partitions with a replica on it are left to that`];
  }
  if (!brokers.has(id)) {
    return [
      `broker ${id} is not registered: it keeps its replicas; drain it if it does not come back`,
    ];
  }
  const notes: string[] = [];
  if (intent === BrokerIntent.CORDONED) {
    notes.push(`broker ${id} is cordoned: it keeps its replicas, and gets none`);
  }
  const failure = loads.failures.get(id);
  if (failure !== undefined) notes.push(`broker ${id} does not tell its sizes: ${failure}`);
  else if (loads.logs.get(id)?.freeBytes === undefined) {
    notes.push(`broker ${id} does not tell its free space: its disk counts as large enough`);
  }
  return notes;
};

/** Partitions that are moving already count as they are going to be, and stay so. */
export const planInput = (
  state: ClusterState,
  loads: Loads,
  excludedTopics: ReadonlySet<string>,
): PlanInput => {
  const draining = brokersWith(state, BrokerIntent.DRAINING);
  const ids = new Set(state.brokers.keys());
  const partitions: PlannedPartition[] = [];
  let moving = 0;
  for (const key of [...state.partitions.keys()].sort()) {
    const one = state.partitions.get(key);
    const topic = one && state.topics.get(one.topicId);
    if (one === undefined || topic === undefined) continue;
    const { record } = one;
    if (record.partition >= topic.partitionCount) continue;
    const replicas = targetOf(record);
    for (const id of replicas) ids.add(id);
    const isMoving = isBeingReassigned(record);
    if (isMoving) moving += 1;
    const isDrained = record.replicas.some((id) => draining.has(id));
    const isFixed = isMoving || isDrained || excludedTopics.has(topic.name);
    const bytes = bytesOf(key, record.replicas, record.leader, loads);
    partitions.push({ key, replicas, bytes, isFixed });
  }
  const brokers = [...ids].sort((a, b) => a - b).map((id) => brokerOf(state, loads, id));
  const notes = brokers.flatMap((broker) => brokerNotes(state, loads, broker));
  if (moving > 0) {
    notes.push(`${moving} partitions are moving already: they count as they are going to be`);
  }
  const { replicasPerBrokerMax: replicasMax } = rebalanceLimits;
  return { request: { brokers, partitions, replicasMax, bytesSlack, bytesSlackMin }, notes };
};
