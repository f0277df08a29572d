/**
 * A cluster for tests, in one object of the API server of the tests, so that what the operator asks
 * of it is lost, delayed, refused and cut off in the same ways. Its rules are those of the real
 * controller (ADR 31), for partitions of one rack.
 */
import { type ErrorCode, MillraceError } from "@millrace/errors";
import type { KubernetesObject, ResourceType } from "../../../runtime/kubernetes.ts";
import type { Intent, LeaseKind, LeaseWish } from "../cluster-brokers.ts";

export interface StoredLease {
  readonly kind: LeaseKind;
  readonly holder: string;
  readonly token: number;
  readonly brokerEpoch: number;
  readonly directoryId: string;
  readonly renewedAtMs: number;
  readonly grantedAtMs: number;
}

export interface StoredBroker {
  /** 0 where it is not registered. */
  readonly epoch: number;
  /** The directory that it runs on, or ran on last. */
  readonly directoryId: string;
  readonly intent: Intent;
  /** Directories that were given up. */
  readonly retired: readonly string[];
  readonly lease?: StoredLease;
  /** When it has registered. */
  readonly sinceMs: number;
}

export interface StoredPartition {
  readonly topic: string;
  readonly minIsr: number;
  readonly replicas: readonly number[];
  /** Registrations of the members, by broker. */
  readonly isr: Readonly<Record<string, number>>;
}

export interface ClusterState {
  readonly revision: number;
  readonly brokers: Readonly<Record<string, StoredBroker>>;
  readonly partitions: readonly StoredPartition[];
}

export interface StoredCluster extends KubernetesObject {
  readonly spec: ClusterState;
}

export const storedClusterType: ResourceType<StoredCluster> = {
  ...{ group: "cluster.test", version: "v1", kind: "StoredCluster", plural: "storedclusters" },
  namespaced: true,
};

export const leaseMs = 60_000;

export const nobody: StoredBroker = {
  ...{ epoch: 0, directoryId: "", intent: "Active", retired: [], sinceMs: 0 },
};

export const brokerOf = ({ brokers }: ClusterState, id: number): StoredBroker | undefined =>
  brokers[String(id)];

export const isRegistered = (state: ClusterState, id: number): boolean =>
  (brokerOf(state, id)?.epoch ?? 0) > 0;

export const withBroker = (
  state: ClusterState,
  id: number,
  change: Partial<StoredBroker>,
): ClusterState => ({
  ...state,
  revision: state.revision + 1,
  brokers: { ...state.brokers, [id]: { ...(brokerOf(state, id) ?? nobody), ...change } },
});

const takesAway = (kind: LeaseKind): boolean => kind === "Restart" || kind === "ReplaceDisk";

/** Members of the ISR that are registered as it names them. */
export const inSync = (state: ClusterState, { isr }: StoredPartition): number[] =>
  Object.entries(isr)
    .filter(([id, epoch]) => brokerOf(state, Number(id))?.epoch === epoch)
    .map(([id]) => Number(id));

const hostedBy = ({ partitions }: ClusterState, id: number): StoredPartition[] =>
  partitions.filter(({ replicas }) => replicas.includes(id));

export const activeIds = ({ brokers }: ClusterState): number[] =>
  Object.entries(brokers)
    .filter(([, { epoch, intent }]) => epoch > 0 && intent === "Active")
    .map(([id]) => Number(id));

/** Partitions of a broker that no other broker can take. */
export const immovable = (state: ClusterState, id: number): StoredPartition[] => {
  const others = activeIds(state).filter((other) => other !== id);
  return hostedBy(state, id).filter(({ replicas }) => replicas.length > others.length);
};

export const isLeaseOver = ({ renewedAtMs }: StoredLease, nowMs: number): boolean =>
  nowMs >= renewedAtMs + leaseMs;

const othersAway = ({ brokers }: ClusterState, id: number): string[] =>
  Object.entries(brokers)
    .filter(([other, { lease }]) => Number(other) !== id && lease && takesAway(lease.kind))
    .map(([other]) => `broker ${other} is in maintenance`);

const underMin = (state: ClusterState, id: number): string[] =>
  hostedBy(state, id)
    .filter((one) => inSync(state, one).filter((other) => other !== id).length < one.minIsr)
    .map(({ topic }) => `${topic} would have too few replicas in sync`);

/** What is in the way. */
export const judge = (state: ClusterState, wish: LeaseWish): string[] => {
  const { brokerId: id, directoryId = "", kind } = wish;
  const broker = brokerOf(state, id) ?? nobody;
  if (kind === "Drain") {
    return immovable(state, id).map(({ topic }) => `${topic} has more replicas than brokers`);
  }
  if (kind === "Remove") {
    const isEmpty = hostedBy(state, id).length === 0 && broker.intent === "Decommissioned";
    return isEmpty ? [] : [`broker ${id} is not decommissioned`];
  }
  const others = othersAway(state, id);
  if (kind === "Restart")
    return isRegistered(state, id) ? [...others, ...underMin(state, id)] : others;
  if (broker.retired.includes(directoryId)) return others;
  if (isRegistered(state, id)) return [`broker ${id} runs on this directory`];
  const counts = hostedBy(state, id).filter(({ isr }) => String(id) in isr);
  return [...others, ...counts.map(({ topic }) => `${topic} counts on it`), ...underMin(state, id)];
};

/** What is missing until a broker is back. */
export const notBack = (state: ClusterState, id: number): string[] => {
  const { epoch, intent } = brokerOf(state, id) ?? nobody;
  if (epoch === 0) {
    return intent === "Decommissioned" ? [] : [`broker ${id} is not registered`];
  }
  return hostedBy(state, id)
    .filter(({ isr }) => isr[String(id)] !== epoch)
    .map(({ topic }) => `broker ${id} is not in sync with ${topic}`);
};

export const refuse = (code: ErrorCode, message: string): never => {
  throw new MillraceError(code, message);
};

/** What becomes of the state by a grant. */
export const granted = (
  state: ClusterState,
  wish: LeaseWish,
  holder: string,
  nowMs: number,
): ClusterState => {
  const { brokerId: id, directoryId = "", kind } = wish;
  const broker = brokerOf(state, id) ?? nobody;
  const { lease } = broker;
  const isOwn =
    lease !== undefined &&
    !isLeaseOver(lease, nowMs) &&
    lease.holder === holder &&
    lease.kind === kind &&
    lease.directoryId === directoryId &&
    lease.brokerEpoch === broker.epoch;
  const deletes = kind === "ReplaceDisk" || kind === "Remove";
  const retired = new Set([...broker.retired, ...(deletes ? [directoryId] : [])]);
  return withBroker(state, id, {
    lease: {
      ...{ kind, holder, directoryId, brokerEpoch: broker.epoch, renewedAtMs: nowMs },
      token: isOwn ? lease.token : state.revision + 1,
      grantedAtMs: isOwn ? lease.grantedAtMs : nowMs,
    },
    retired: [...retired],
    ...(kind === "Drain" ? { intent: "Draining" as const } : {}),
  });
};

/** What becomes of the state without the lease of a broker. */
export const withoutLease = (state: ClusterState, id: number): ClusterState => {
  const { lease: _gone, ...rest } = brokerOf(state, id) ?? nobody;
  const brokers = { ...state.brokers, [id]: rest };
  return { ...state, revision: state.revision + 1, brokers };
};
