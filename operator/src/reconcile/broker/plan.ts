/**
 * What is done next for a broker. Pure. One step at a time, and each of them is found again from
 * what is there: nothing depends on what the operator remembers.
 */
import { isBeingDeleted } from "../../runtime/finalizers.ts";
import { addressProblem } from "./address.ts";
import type { Intent, LeaseWish } from "./cluster-brokers.ts";
import { rackAnnotation } from "./pod.ts";
import {
  directoryOf,
  foundOf,
  hasEnded,
  hasNode,
  isForeign,
  isOutdated,
  isPodReady,
  isUnknown,
  type View,
  volumeState,
} from "./view.ts";

/** Something to wait for. `drain`: replicas that cannot go. `stuck`: a person is needed. */
export interface Wait {
  readonly type: "wait";
  readonly on: "cluster" | "drain" | "pod" | "storage" | "stuck";
  readonly message: string;
}

export type Action =
  | { readonly type: "create-claim" }
  | { readonly type: "create-pod" }
  /** Tells a pod which rack its node is in; the broker waits for that. */
  | { readonly type: "tell-rack"; readonly node: string; readonly topologyKey: string }
  | { readonly type: "acquire"; readonly wish: LeaseWish }
  /** Without a lease only where nothing is taken away: it has ended, or nobody knows the broker. */
  | { readonly type: "delete-pod"; readonly isLeased: boolean }
  | { readonly type: "delete-claim" }
  | { readonly type: "release" }
  | { readonly type: "begin-drain"; readonly wish: LeaseWish }
  | { readonly type: "set-intent"; readonly intent: Intent }
  /** The broker is gone, and its object goes. */
  | { readonly type: "finish" };

/** Undefined: nothing is left to do. */
export type Step = Action | Wait | undefined;

const wait = (on: Wait["on"], message: string): Wait => ({ type: "wait", on, message });

const leaseOf = ({ broker }: View) => broker.status?.maintenanceLease;

const nameOf = ({ broker }: View): string => `broker ${broker.spec.nodeId}`;

const idOf = ({ broker }: View): number => broker.spec.nodeId;

const restart = (view: View, reason: string): Action => {
  const wish: LeaseWish = {
    ...{ brokerId: idOf(view), kind: "Restart", reason },
    brokerEpoch: foundOf(view)?.brokerEpoch ?? 0,
    allowUnavailable: view.cluster.spec.rollout.unsafePartitions === "Allow",
  };
  return { type: "acquire", wish };
};

/**
 * Whether the cluster knows nothing of the broker, so that there is no lease to be had, and nothing
 * is taken away. It does not tell of a broker that is down and has no replicas.
 */
const isNobodys = (view: View): boolean =>
  isUnknown(view) ||
  (view.asked.type === "asked" &&
    view.asked.found === undefined &&
    (view.pod === undefined || !isPodReady(view.pod)));

/** Deletes a pod that may be at work, under a lease of Restart. */
const takeDown = (view: View, reason: string): Step => {
  if (view.asked.type === "unasked") return wait("cluster", view.asked.message);
  if (leaseOf(view)?.kind === "Restart") return { type: "delete-pod", isLeased: true };
  if (isNobodys(view)) return { type: "delete-pod", isLeased: false };
  return restart(view, reason);
};

const podGoes = ({ pod }: View): Wait =>
  wait(
    "pod",
    `Pod ${pod?.metadata.name} is being stopped` +
      (pod?.spec.nodeName === undefined
        ? ""
        : `: if node ${pod.spec.nodeName} is gone for good, delete the Node`),
  );

/** Gives a broker whose disk is gone an empty one, once the cluster counts on it no more. */
const replaceVolume = (view: View, state: "absent" | "lost"): Step => {
  const { asked, broker, pod } = view;
  const { claimName } = broker.spec;
  if (asked.type === "unasked") return wait("cluster", asked.message);
  const isUnlisted = asked.found === undefined;
  if (isUnlisted && state === "absent") return { type: "create-claim" };
  const directoryId = directoryOf(view);
  if (isUnlisted || directoryId === undefined) {
    if (state === "absent" && foundOf(view)?.replicas === 0) return { type: "create-claim" };
    const help = isUnlisted ? "" : ", and the cluster does not know which data directory was on it";
    return wait("stuck", `the volume of claim ${claimName} is lost${help}: delete the claim`);
  }
  if (pod !== undefined && isBeingDeleted(pod)) return podGoes(view);
  if (foundOf(view)?.isRegistered === true) {
    const stopping = wait("cluster", `${nameOf(view)} stops, and the cluster has yet to notice`);
    return pod === undefined ? stopping : takeDown(view, "its volume is lost");
  }
  if (leaseOf(view)?.kind !== "ReplaceDisk") {
    const reason = `claim ${claimName} is ${state}`;
    return {
      type: "acquire",
      wish: { brokerId: idOf(view), kind: "ReplaceDisk", reason, directoryId },
    };
  }
  if (state === "absent") return { type: "create-claim" };
  return pod === undefined ? { type: "delete-claim" } : { type: "delete-pod", isLeased: true };
};

const volumeStep = (view: View): Step => {
  const state = volumeState(view);
  if (state === "absent" || state === "lost") return replaceVolume(view, state);
  return undefined;
};

const rackStep = ({ pod, pool }: View): Step => {
  const { topologyKey } = pool.spec.rack ?? {};
  const node = pod?.spec.nodeName;
  if (topologyKey === undefined || node === undefined) return undefined;
  const isTold = pod?.metadata.annotations?.[rackAnnotation] !== undefined;
  return isTold ? undefined : { type: "tell-rack", node, topologyKey };
};

const podStep = (view: View): Step => {
  const { broker, pod } = view;
  if (pod === undefined) {
    if (volumeState(view) !== "present") {
      return wait("storage", `claim ${broker.spec.claimName} is being deleted`);
    }
    const problem = addressProblem(view.cluster, broker.spec.nodeId);
    if (problem !== undefined) return wait("stuck", problem);
    if (view.address !== undefined) return { type: "create-pod" };
    return wait("pod", `Service ${broker.metadata.name} has no address yet: see its events`);
  }
  const { name } = pod.metadata;
  if (isForeign(view)) return wait("pod", `Pod ${name} is another's: it has to go first`);
  if (isBeingDeleted(pod)) return podGoes(view);
  if (hasEnded(pod)) return { type: "delete-pod", isLeased: false };
  if (!isOutdated(view)) return rackStep(view);
  if (volumeState(view) === "leaving") {
    const { claimName } = broker.spec;
    const text = `claim ${claimName} was deleted, and its volume goes when the pod stops`;
    return wait("stuck", `${text}: drain the broker before, or delete Pod ${name}`);
  }
  return takeDown(view, "its pod is not as it is wanted");
};

const drain = (view: View, validateOnly = false): LeaseWish => ({
  ...{ brokerId: idOf(view), kind: "Drain", reason: "its pool has fewer replicas" },
  ...(validateOnly ? { validateOnly } : {}),
});

/** What the cluster is to know of what is wanted of the broker. */
const intentStep = (view: View): Step => {
  const { intent } = view.broker.spec;
  const found = foundOf(view);
  if (found === undefined || found.intent === intent) return undefined;
  if (found.intent === "Decommissioned") {
    if (intent === "Draining") return undefined;
    const help = "name it in brokersToRemove of its pool, and lower replicas";
    return wait("stuck", `${nameOf(view)} was decommissioned by other means: ${help}`);
  }
  if (intent !== "Draining") return { type: "set-intent", intent };
  return found.replicas === 0
    ? { type: "set-intent", intent }
    : { type: "begin-drain", wish: drain(view) };
};

/** A lease is given back once what it was for is done. */
const leaseStep = (view: View): Step =>
  leaseOf(view) === undefined ? undefined : { type: "release" };

/** Whether the pod runs, and the cluster knows it. */
const runStep = (view: View): Step => {
  const { asked, pod } = view;
  if (pod === undefined) return undefined;
  const { name } = pod.metadata;
  const scheduled = pod.status?.conditions?.find(({ type }) => type === "PodScheduled");
  if (!hasNode(pod)) {
    const why = scheduled?.message ?? "the scheduler has yet to look at it";
    return wait("pod", `Pod ${name} has no node: ${why}`);
  }
  if (!isPodReady(pod)) {
    const why = pod.status?.message === undefined ? "" : `: ${pod.status.message}`;
    return wait("pod", `Pod ${name} is not ready yet${why}`);
  }
  if (asked.type === "unasked") return wait("cluster", asked.message);
  if (asked.found?.isRegistered !== true) {
    return wait("cluster", `${nameOf(view)} is not registered: see the log of Pod ${name}`);
  }
  return undefined;
};

const unlisted = (view: View): Wait =>
  wait("cluster", `the cluster does not tell of ${nameOf(view)}, and its pod is ready: waiting`);

/** Whether a broker that is drained has nothing any more. */
const drainStep = (view: View): Step => {
  const found = foundOf(view);
  if (view.asked.type === "unasked") return wait("cluster", view.asked.message);
  if (found === undefined) return isNobodys(view) ? undefined : unlisted(view);
  const { immovable, leftovers, replicas } = found;
  if (immovable > 0) return { type: "begin-drain", wish: drain(view, true) };
  if (replicas > 0) {
    return wait("cluster", `${nameOf(view)} has replicas of ${replicas} partitions left`);
  }
  if (leftovers === 0) return undefined;
  return wait("cluster", `${nameOf(view)} has yet to delete ${leftovers} logs from its disk`);
};

/** Takes away a broker that has nothing any more: its pod, its volume by policy, its object. */
const removalStep = (view: View): Step => {
  const { asked, broker, claim, pod, pool } = view;
  if (asked.type === "unasked") return wait("cluster", asked.message);
  if (pod !== undefined && isBeingDeleted(pod)) return podGoes(view);
  const { found } = asked;
  const directoryId = directoryOf(view);
  if (found === undefined) {
    // It has never been one of the cluster's: there is nobody to ask, and its volume is kept.
    if (pod === undefined) return { type: "finish" };
    return isNobodys(view) ? { type: "delete-pod", isLeased: false } : unlisted(view);
  }
  if (found.intent !== "Decommissioned") {
    return { type: "set-intent", intent: "Decommissioned" };
  }
  if (directoryId === undefined) {
    if (pod === undefined) return { type: "finish" };
    return wait("stuck", `the data directory of ${nameOf(view)} is not known: delete its Pod`);
  }
  if (leaseOf(view)?.kind !== "Remove") {
    if (pod === undefined && claim === undefined) return { type: "finish" };
    const reason = "its pool has fewer replicas";
    return {
      type: "acquire",
      wish: { brokerId: idOf(view), kind: "Remove", reason, directoryId },
    };
  }
  if (pod !== undefined) return { type: "delete-pod", isLeased: true };
  const isKept = pool.spec.storage.whenScaledDown === "Retain";
  if (claim !== undefined && !isKept) {
    if (!isBeingDeleted(claim)) return { type: "delete-claim" };
    return wait("storage", `claim ${broker.spec.claimName} is being deleted`);
  }
  return { type: "release" };
};

export const isAction = (step: Step): step is Action => step !== undefined && step.type !== "wait";

const runningStep = (view: View): Step => volumeStep(view) ?? podStep(view) ?? runStep(view);

/**
 * What can be done, or is waited for: the most urgent first. What comes later does not wait for
 * what comes before, so that a refused lease holds up no drain, and a broker that is down is
 * drained, too. Empty: everything is as it is wanted.
 */
export const stepsOf = (view: View): readonly (Action | Wait)[] => {
  const { intent } = view.broker.spec;
  if (intent === "Decommissioned") return [removalStep(view)].filter((one) => one !== undefined);
  const running = runningStep(view);
  const lease = running === undefined ? leaseStep(view) : undefined;
  const steps =
    intent === "Draining"
      ? // A broker that has nothing any more may be down.
        [isAction(running) ? running : undefined, intentStep(view), lease, drainStep(view)]
      : [running, intentStep(view), lease];
  return steps.filter((one) => one !== undefined);
};
