/** Brokers of a cluster by way of Millrace's own client. */
import type { Client } from "@millrace/client";
import { BrokerIntent, MaintenanceKind } from "@millrace/proto/common";
import type {
  BrokerDescription,
  MaintenanceBlocker,
  MaintenanceLease,
} from "@millrace/proto/controller";
import type {
  ClusterBrokers,
  FoundBroker,
  FoundLease,
  Intent,
  LeaseKind,
} from "./cluster-brokers.ts";

const intents: Readonly<Record<Intent, BrokerIntent>> = {
  Active: BrokerIntent.ACTIVE,
  Cordoned: BrokerIntent.CORDONED,
  Draining: BrokerIntent.DRAINING,
  Decommissioned: BrokerIntent.DECOMMISSIONED,
};

const kinds: Readonly<Record<LeaseKind, MaintenanceKind>> = {
  Restart: MaintenanceKind.RESTART,
  Drain: MaintenanceKind.DRAIN,
  ReplaceDisk: MaintenanceKind.REPLACE_DISK,
  Remove: MaintenanceKind.REMOVE,
};

const intentOf = (intent: BrokerIntent): Intent => {
  const found = Object.entries(intents).find(([, value]) => value === intent);
  return (found?.[0] ?? "Active") as Intent;
};

const foundBroker = (one: BrokerDescription): FoundBroker => {
  const { brokerEpoch, brokerId, directoryId, intent, rack, registered } = one;
  // Without its word on what is on its disk there may be something. Of one that is down it does not
  // matter: its directory is not used any more.
  const logs = registered ? (one.logCount ?? one.replicaCount + 1) : 0;
  return {
    ...{ brokerId, rack, intent: intentOf(intent) },
    ...{ isRegistered: registered, brokerEpoch: Number(brokerEpoch) },
    ...(directoryId.length === 0 ? {} : { directoryId: Buffer.from(directoryId).toString("hex") }),
    ...{ replicas: one.replicaCount, leaders: one.leaderCount, immovable: one.immovableCount },
    leftovers: registered ? Math.max(one.leftoverCount, logs - one.replicaCount) : 0,
  };
};

const foundLease = (lease: MaintenanceLease | undefined): { readonly lease?: FoundLease } =>
  lease === undefined
    ? {}
    : { lease: { token: Number(lease.token), grantedAtMs: Number(lease.grantedAtMs) } };

const messagesOf = (blockers: readonly MaintenanceBlocker[]): string[] =>
  blockers.map(({ message }) => message);

const heldLease = ({ brokerId, token }: { brokerId: number; token: number }) => ({
  ...{ brokerId, token: BigInt(token) },
});

/** `holder` names this process. The client is the caller's to close. */
export const clientBrokers = (
  { admin }: Pick<Client, "admin">,
  holder: string,
): ClusterBrokers => ({
  describe: async () => (await admin.describeBrokers()).map(foundBroker),
  acquire: async ({ brokerEpoch, directoryId, kind, ...wish }) => {
    const { blockers, lease, mayAct } = await admin.acquireMaintenance({
      ...{ ...wish, kind: kinds[kind], holder },
      ...(brokerEpoch === undefined ? {} : { brokerEpoch: BigInt(brokerEpoch) }),
      ...(directoryId === undefined
        ? {}
        : { directoryId: Uint8Array.from(Buffer.from(directoryId, "hex")) }),
    });
    return { ...foundLease(lease), mayAct, blockers: messagesOf(blockers) };
  },
  renew: async (held) => {
    const { blockers, lease, mayAct } = await admin.renewMaintenance(heldLease(held));
    return { ...foundLease(lease), mayAct, blockers: messagesOf(blockers) };
  },
  release: async (held) => {
    const { blockers, released } = await admin.releaseMaintenance(heldLease(held));
    return { blockers: released ? [] : messagesOf(blockers) };
  },
  setIntent: (brokerId, intent) => admin.setBrokerIntent({ brokerId, intent: intents[intent] }),
});
