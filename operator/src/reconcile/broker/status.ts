/** The status of a Broker. */
import type { Clock } from "@millrace/env";
import type { Broker } from "../../api/index.ts";
import { mergeConditions, type WantedCondition } from "../../runtime/conditions.ts";
import { isBeingDeleted } from "../../runtime/finalizers.ts";
import { commonConditions, isObserved, type Outcome } from "../outcome.ts";
import { hostIp } from "./address.ts";
import { hasHashes } from "./hashes.ts";
import type { Wait } from "./plan.ts";
import { foundOf, hasNode, isPodReady, podHashes, type View, volumeState } from "./view.ts";

export type BrokerStatus = NonNullable<Broker["status"]>;
export type HeldMaintenance = NonNullable<BrokerStatus["maintenanceLease"]>;

/** What a reconcile came to. */
export interface Judged {
  readonly view: View;
  /** What is waited for; the first is the most urgent. */
  readonly waits: readonly Wait[];
  /** Something is about to be done, for which there is a lease. */
  readonly isActing?: boolean;
  readonly isPaused?: boolean;
  /** Why the volume does not grow. */
  readonly resizeProblem?: string | undefined;
}

const reasons = {
  cluster: "WaitingForCluster",
  drain: "WaitingForCluster",
  pod: "WaitingForPods",
  storage: "WaitingForStorage",
  stuck: "WaitingForCluster",
} as const satisfies Record<Wait["on"], string>;

const outcomeOf = ({ isActing, isPaused, view, waits }: Judged): Outcome => {
  const name = `broker ${view.broker.spec.nodeId}`;
  if (isPaused === true) {
    const message = `Cluster ${view.cluster.metadata.name} has spec.paused: nothing is changed`;
    return { type: "paused", ready: "Paused", message };
  }
  const { intent } = view.broker.spec;
  const [first] = waits;
  if (first !== undefined) {
    const isBlocked = first.on === "stuck" || first.on === "drain";
    const isUnknown = view.asked.type === "unasked";
    const ready = isBlocked ? "Blocked" : isUnknown ? "ClusterNotReady" : "Progressing";
    return { type: "working", ready, reason: reasons[first.on], message: first.message };
  }
  if (isActing === true) {
    const message = `${name} is being changed`;
    return { type: "working", ready: "Progressing", reason: "NewGeneration", message };
  }
  if (intent === "Draining") {
    return { type: "done", message: `${name} has nothing any more, and may be decommissioned.` };
  }
  return { type: "done", message: `${name} runs as its spec says.` };
};

const phaseOf = ({ view, waits }: Judged): BrokerStatus["phase"] => {
  const { broker, claim, pod } = view;
  const found = foundOf(view);
  const { intent } = broker.spec;
  if (intent === "Decommissioned" && (found === undefined || found.intent === intent)) {
    return "Decommissioned";
  }
  if (waits[0]?.on === "stuck") return "Stuck";
  if (intent === "Draining" || intent === "Decommissioned") return "Draining";
  const isLost = volumeState(view) === "lost" || volumeState(view) === "absent";
  const lease = broker.status?.maintenanceLease?.kind;
  if ((isLost && broker.status?.directoryId !== undefined) || lease === "ReplaceDisk") {
    return "DiskLost";
  }
  if (claim === undefined || pod === undefined) return lease ? "Restarting" : "Provisioning";
  if (lease !== undefined || isBeingDeleted(pod)) return "Restarting";
  if (!hasNode(pod)) return "Pending";
  return isPodReady(pod) && found?.isRegistered === true ? "Running" : "Recovering";
};

const storageOf = ({ resizeProblem = "", view }: Judged): WantedCondition => {
  const { claimName } = view.broker.spec;
  const about = { type: "StorageBound" } as const;
  const state = volumeState(view);
  if (state === "lost" || (state === "absent" && view.broker.status?.directoryId !== undefined)) {
    const message = `the volume of claim ${claimName} is gone`;
    return { ...about, status: "False", reason: "Lost", message };
  }
  if (view.claim?.status?.phase !== "Bound") {
    const message = `claim ${claimName} has no volume yet: see its events`;
    return { ...about, status: "False", reason: "Pending", message };
  }
  return { ...about, status: "True", reason: "Bound", message: resizeProblem };
};

const scheduledOf = ({ view: { pod } }: Judged): WantedCondition => {
  const about = { type: "PodScheduled" } as const;
  if (pod === undefined) {
    return { ...about, status: "False", reason: "NoPod", message: "There is no pod." };
  }
  if (hasNode(pod)) return { ...about, status: "True", reason: "Scheduled", message: "" };
  const said = pod.status?.conditions?.find(({ type }) => type === "PodScheduled");
  const message = said?.message ?? `Pod ${pod.metadata.name} has no node yet`;
  return { ...about, status: "False", reason: "Unschedulable", message };
};

const registeredOf = ({ view }: Judged, before: readonly WantedCondition[]): WantedCondition => {
  const about = { type: "Registered" } as const;
  const { asked } = view;
  if (asked.type === "unasked") {
    const known = before.find(({ type }) => type === "Registered");
    const reason = known?.reason ?? "NotRegistered";
    return { ...about, status: "Unknown", reason, message: asked.message };
  }
  if (asked.found?.isRegistered === true) {
    return { ...about, status: "True", reason: "Registered", message: "" };
  }
  if (asked.found?.intent === "Decommissioned") {
    return { ...about, status: "False", reason: "Decommissioned", message: "" };
  }
  return { ...about, status: "False", reason: "NotRegistered", message: "" };
};

const syncedOf = ({ view: { broker, pod } }: Judged): WantedCondition => {
  const isSynced =
    pod !== undefined && !isBeingDeleted(pod) && hasHashes(podHashes(pod), broker.spec);
  return isSynced
    ? { type: "ConfigSynced", status: "True", reason: "Synced", message: "" }
    : { type: "ConfigSynced", status: "False", reason: "RestartPending", message: "" };
};

/** What is seen of the pod. */
const podFields = ({ pod }: View): Partial<BrokerStatus> => {
  if (pod === undefined) return {};
  const { name, uid } = pod.metadata;
  return {
    podName: name,
    ...(uid === undefined ? {} : { podUID: uid }),
    ...(pod.spec.nodeName === undefined ? {} : { nodeName: pod.spec.nodeName }),
    ...podHashes(pod),
  };
};

/** What the cluster says; what it said before where it cannot be asked. */
const clusterFields = ({ asked }: View, before: BrokerStatus): Partial<BrokerStatus> => {
  const { brokerEpoch, directoryId, leaders, rack, replicas } = before;
  if (asked.type === "unasked") {
    return {
      ...(brokerEpoch === undefined ? {} : { brokerEpoch }),
      ...(directoryId === undefined ? {} : { directoryId }),
      ...(rack === undefined ? {} : { rack }),
      ...(leaders === undefined ? {} : { leaders }),
      ...(replicas === undefined ? {} : { replicas }),
    };
  }
  const { found } = asked;
  // Which directory is on the volume is not forgotten while the broker is down.
  const directory = found?.directoryId ?? directoryId;
  if (found === undefined) return directory === undefined ? {} : { directoryId: directory };
  const itsRack = found.isRegistered ? found.rack : rack;
  return {
    ...{ brokerEpoch: found.brokerEpoch, leaders: found.leaders, replicas: found.replicas },
    ...(directory === undefined ? {} : { directoryId: directory }),
    ...(itsRack === undefined || itsRack === "" ? {} : { rack: itsRack }),
  };
};

/** The address as clients hear it: the kubelet fills in the node's. */
const toldAddress = ({ address, pod }: View): string | undefined => {
  if (address?.includes(hostIp) !== true) return address;
  const ip = pod?.status?.hostIP;
  return ip === undefined ? undefined : address.replace(hostIp, ip);
};

/** The status that says what was judged. The lease stays as `current` has it. */
export const brokerStatus = (current: Broker, judged: Judged, clock: Clock): BrokerStatus => {
  const { generation = 0 } = current.metadata;
  const before = current.status ?? {};
  const conditions = before.conditions ?? [];
  const outcome = outcomeOf(judged);
  // What was judged is about the generation that was looked at.
  const isCurrent = judged.view.broker.metadata.generation === generation;
  const isDone = isObserved(outcome) && isCurrent;
  const wanted = [
    ...commonConditions(outcome),
    ...[storageOf(judged), scheduledOf(judged), registeredOf(judged, conditions)],
    syncedOf(judged),
  ];
  const observedGeneration = isDone ? generation : before.observedGeneration;
  const { maintenanceLease } = before;
  const address = toldAddress(judged.view);
  const phase = phaseOf(judged);
  const judgedOf = judged.view.broker.metadata.generation ?? 0;
  return {
    ...(observedGeneration === undefined ? {} : { observedGeneration }),
    ...(phase === undefined ? {} : { phase }),
    ...clusterFields(judged.view, before),
    ...podFields(judged.view),
    ...(address === undefined ? {} : { address }),
    ...(maintenanceLease === undefined ? {} : { maintenanceLease }),
    conditions: mergeConditions(conditions, wanted, judgedOf, clock),
  };
};
