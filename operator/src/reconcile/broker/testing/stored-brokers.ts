/** What the operator asks of the cluster of the tests. */
import type { Clock } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { ApiError, type KubernetesApi } from "../../../runtime/kubernetes.ts";
import type { ClusterBrokers, FoundBroker, HeldLease } from "../cluster-brokers.ts";
import {
  brokerOf,
  type ClusterState,
  granted,
  immovable,
  inSync,
  isLeaseOver,
  judge,
  nobody,
  notBack,
  refuse,
  type StoredCluster,
  type StoredLease,
  storedClusterType,
  withBroker,
  withoutLease,
} from "./stored-cluster.ts";

const asked = async <T>(call: () => Promise<T>): Promise<T> => {
  try {
    return await call();
  } catch (error) {
    if (!(error instanceof ApiError)) throw error;
    throw new MillraceError(ErrorCode.UNAVAILABLE, error.message);
  }
};

const foundOf = (state: ClusterState, id: number): FoundBroker => {
  const broker = brokerOf(state, id) ?? nobody;
  const { directoryId, epoch, intent, retired } = broker;
  const replicas = state.partitions.filter((one) => one.replicas.includes(id));
  const isRetired = epoch > 0 && retired.includes(directoryId);
  return {
    ...{ brokerId: id, isRegistered: epoch > 0, brokerEpoch: epoch, rack: "" },
    ...(directoryId === "" ? {} : { directoryId }),
    intent: isRetired ? "Decommissioned" : intent,
    replicas: replicas.length,
    leaders: replicas.filter((one) => inSync(state, one)[0] === id).length,
    immovable: intent === "Draining" ? immovable(state, id).length : 0,
    leftovers: 0,
  };
};

/** Brokers that the controller describes: not those that are only remembered. */
const describe = (state: ClusterState): FoundBroker[] =>
  Object.keys(state.brokers)
    .map((id) => foundOf(state, Number(id)))
    .filter((one) => {
      const isHeld = brokerOf(state, one.brokerId)?.lease !== undefined;
      return one.isRegistered || one.intent !== "Active" || one.replicas > 0 || isHeld;
    });

export const storedBrokers = (
  api: KubernetesApi,
  key: { readonly namespace: string; readonly name: string },
  holder: string,
  clock: Pick<Clock, "wallMs">,
): ClusterBrokers => {
  const read = async (): Promise<StoredCluster> => {
    const stored = await asked(() => api.get(storedClusterType, key));
    return stored ?? refuse(ErrorCode.UNAVAILABLE, `cluster ${key.name} does not answer`);
  };
  const write = (stored: StoredCluster, spec: ClusterState): Promise<StoredCluster> =>
    asked(() => api.replace(storedClusterType, { ...stored, spec }));
  const held = (state: ClusterState, { brokerId, token }: HeldLease): StoredLease => {
    const lease = brokerOf(state, brokerId)?.lease;
    if (lease?.token === token) return lease;
    return refuse(ErrorCode.MAINTENANCE_LEASE_LOST, `lease ${token} of ${brokerId} is over`);
  };
  return {
    describe: async () => describe((await read()).spec),
    acquire: async (wish) => {
      const stored = await read();
      const { spec: state } = stored;
      const { brokerEpoch, brokerId: id, validateOnly } = wish;
      const broker = brokerOf(state, id);
      if (broker === undefined) {
        return refuse(ErrorCode.BROKER_ID_NOT_REGISTERED, `no broker ${id}`);
      }
      if (brokerEpoch !== undefined && brokerEpoch !== broker.epoch) {
        return refuse(ErrorCode.STALE_BROKER_EPOCH, `broker ${id} has epoch ${broker.epoch}`);
      }
      const { lease } = broker;
      const isHeld = lease && lease.holder !== holder && !isLeaseOver(lease, clock.wallMs());
      const blockers = [...(isHeld ? [`${lease.holder} holds it`] : []), ...judge(state, wish)];
      if (blockers.length > 0) return { mayAct: false, blockers };
      if (validateOnly === true) return { mayAct: true, blockers };
      const next = granted(state, wish, holder, clock.wallMs());
      await write(stored, next);
      const { lease: given } = brokerOf(next, id) ?? nobody;
      return { mayAct: true, blockers, ...(given && { lease: given }) };
    },
    renew: async (one) => {
      const stored = await read();
      const { spec: state } = stored;
      const lease = held(state, one);
      if (isLeaseOver(lease, clock.wallMs())) {
        return refuse(ErrorCode.MAINTENANCE_LEASE_LOST, "it has run out");
      }
      const { brokerId: id } = one;
      const broker = brokerOf(state, id) ?? nobody;
      const isAnew = broker.epoch > 0 && broker.epoch !== lease.brokerEpoch;
      const isJudged = lease.kind === "Restart" && broker.epoch > 0;
      const blockers =
        isAnew && isJudged
          ? [`broker ${id} has registered anew`]
          : isJudged
            ? judge(state, { brokerId: id, kind: lease.kind, reason: "" })
            : [];
      const renewed = { ...lease, renewedAtMs: clock.wallMs() };
      await write(stored, withBroker(state, id, { lease: renewed }));
      return { mayAct: blockers.length === 0, blockers, lease: renewed };
    },
    release: async (one) => {
      const stored = await read();
      const { kind } = held(stored.spec, one);
      const isAwaited = kind === "Restart" || kind === "ReplaceDisk";
      const blockers = isAwaited ? notBack(stored.spec, one.brokerId) : [];
      if (blockers.length > 0) return { blockers };
      await write(stored, withoutLease(stored.spec, one.brokerId));
      return { blockers };
    },
    setIntent: async (id, intent) => {
      const stored = await read();
      const { spec: state } = stored;
      const broker = brokerOf(state, id);
      if (broker === undefined) refuse(ErrorCode.BROKER_ID_NOT_REGISTERED, `no broker ${id}`);
      const isNamed = state.partitions.some(({ replicas }) => replicas.includes(id));
      if (intent === "Decommissioned" && (isNamed || broker?.intent === "Active")) {
        refuse(ErrorCode.REASSIGNMENT_IN_PROGRESS, `broker ${id} has replicas, or is active`);
      }
      await write(stored, withBroker(state, id, { intent }));
    },
  };
};
