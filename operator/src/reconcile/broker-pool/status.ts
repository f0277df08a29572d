/** The status of a BrokerPool. */
import type { Clock } from "@millrace/env";
import type { Broker, BrokerPool } from "../../api/index.ts";
import { mergeConditions, type WantedCondition } from "../../runtime/conditions.ts";
import { hasHashes } from "../broker/hashes.ts";
import type { Claim } from "../broker/kinds.ts";
import { bytesOf } from "../broker/quantity.ts";
import { commonConditions, conditionOf, isObserved, type Outcome } from "../outcome.ts";
import { brokersOf, type PoolPlan, type PoolView, wantedHashes } from "./plan.ts";
import { isStaying } from "./scale.ts";

type Status = NonNullable<BrokerPool["status"]>;
type Scaling = NonNullable<Status["scaling"]>;

/** Why the pool cannot become what it is to be, by the pool itself. */
export interface Problem {
  readonly type: "stalled" | "waiting" | "paused";
  readonly reason?: "InvalidSpec" | "Conflict";
  readonly ready?: "ClusterNotFound" | "ClusterNotReady";
  readonly message: string;
}

export interface Judged {
  readonly view: PoolView;
  readonly plan: PoolPlan;
  readonly claims: readonly Claim[];
  readonly problem?: Problem | undefined;
}

const isReady = (broker: Broker): boolean => {
  const ready = conditionOf(broker, "Ready");
  return ready?.status === "True" && ready.observedGeneration === broker.metadata.generation;
};

/** Brokers that go and have replicas that cannot. */
const isBlocked = (broker: Broker): boolean =>
  !isStaying(broker) && conditionOf(broker, "Ready")?.reason === "Blocked";

const idsOf = (brokers: readonly Broker[]): number[] => brokers.map(({ spec }) => spec.nodeId);

/** Whether it has not been as its spec says yet. */
const isNew = ({ status }: Broker): boolean => status?.observedGeneration === undefined;

/** Where to look: what a broker waits for changes too often to be told here, too. */
const unreadyText = ({ metadata, spec }: Broker): string =>
  `broker ${spec.nodeId} is not ready: see Broker ${metadata.name}`;

const leavingText = ({ metadata, spec }: Broker): string =>
  `broker ${spec.nodeId} is being taken away: see Broker ${metadata.name}`;

const scalingOf = (judged: Judged): Scaling => {
  const brokers = brokersOf(judged.view);
  const leaving = brokers.filter((one) => !isStaying(one));
  const [blocked] = leaving.filter(isBlocked);
  if (blocked !== undefined) {
    const message = (conditionOf(blocked, "Ready")?.message ?? "").slice(0, 1024);
    return { state: "Blocked", brokers: idsOf(leaving), message };
  }
  if (leaving.length > 0) return { state: "Draining", brokers: idsOf(leaving) };
  const adding = brokers.filter(isNew);
  if (judged.plan.add === 0 && adding.length === 0) return { state: "Idle" };
  return { state: "AddingBrokers", brokers: idsOf(adding) };
};

const problemOutcome = ({ message, ready, reason, type }: Problem): Outcome => {
  if (type === "paused") return { type, ready: "Paused", message };
  if (type === "stalled") {
    return { type, ready: "Blocked", reason: reason ?? "InvalidSpec", message };
  }
  const about = { type: "working", reason: "WaitingForCluster" } as const;
  return { ...about, ready: ready ?? "ClusterNotReady", message };
};

const outcomeOf = (judged: Judged): Outcome => {
  const { plan, problem, view } = judged;
  if (problem !== undefined) return problemOutcome(problem);
  const { metadata, spec, status } = view.pool;
  const brokers = brokersOf(view);
  const { message, state } = scalingOf(judged);
  const working = { type: "working", ready: "Progressing" } as const;
  if (state === "Blocked") {
    return { ...working, ready: "Blocked", reason: "WaitingForCluster", message: message ?? "" };
  }
  if (plan.add > 0) {
    const text = `${plan.add} of ${spec.replicas} brokers are missing`;
    return { ...working, reason: "NewGeneration", message: text };
  }
  const [leaving] = brokers.filter((one) => !isStaying(one));
  if (leaving !== undefined) {
    return { ...working, reason: "WaitingForCluster", message: leavingText(leaving) };
  }
  const { left, waitsFor = "" } = plan.rollout;
  const isOutdated = brokers.some((one) => !isUpdated(view, one));
  if (isOutdated && left > 0) {
    const text = `${left} brokers have yet to get a new pod, and wait for ${waitsFor}`;
    return { ...working, reason: "WaitingForPods", message: text };
  }
  const [unready] = brokers.filter((one) => !isReady(one));
  if (unready !== undefined) {
    const wasDone = status?.observedGeneration === metadata.generation && !isOutdated;
    const ready = wasDone ? "Degraded" : "Progressing";
    return { ...working, ready, reason: "WaitingForPods", message: unreadyText(unready) };
  }
  if (isOutdated) {
    return { ...working, reason: "WaitingForPods", message: "brokers get new pods" };
  }
  return { type: "done", message: `${brokers.length} brokers are as the spec says.` };
};

const isUpdated = (view: PoolView, broker: Broker): boolean => {
  const wanted = wantedHashes(view, broker);
  return wanted !== undefined && hasHashes(broker.status, wanted);
};

const blockedOf = (judged: Judged): WantedCondition => {
  const { message = "", state } = scalingOf(judged);
  return state === "Blocked"
    ? { type: "ScaleDownBlocked", status: "True", reason: "TooFewBrokers", message }
    : { type: "ScaleDownBlocked", status: "False", reason: "NotBlocked", message: "" };
};

const isSmall = ({ status }: Claim, size: bigint): boolean => {
  const has = bytesOf(status?.capacity?.storage ?? "");
  return status?.phase === "Bound" && has !== undefined && has < size;
};

const resizedOf = ({ claims, view }: Judged): WantedCondition => {
  const type = "StorageResized";
  const { size } = view.pool.spec.storage;
  const brokers = brokersOf(view).filter(isStaying);
  const names = new Set(brokers.map(({ spec }) => spec.claimName));
  const small = claims.filter(
    (one) => names.has(one.metadata.name) && isSmall(one, bytesOf(size) ?? 0n),
  );
  if (small.length === 0) return { type, status: "True", reason: "Resized", message: "" };
  // A claim that is bound and has something to say does not grow.
  const refused = brokers
    .map((one) => conditionOf(one, "StorageBound"))
    .find((one) => one?.status === "True" && one.message !== "");
  if (refused !== undefined) {
    return { type, status: "False", reason: "NotSupported", message: refused.message };
  }
  const message = `${small.length} volumes are growing to ${size}`;
  return { type, status: "False", reason: "Resizing", message };
};

/** Labels of the pods, for autoscalers. */
const selectorOf = ({ metadata, spec }: BrokerPool): string =>
  `millrace.dev/cluster=${spec.clusterRef.name},millrace.dev/pool=${metadata.name}`;

/** The status that says what was judged of a pool. */
export const poolStatus = (current: BrokerPool, judged: Judged, clock: Clock): Status => {
  const { generation = 0 } = current.metadata;
  const judgedOf = judged.view.pool.metadata.generation ?? 0;
  const before = current.status ?? {};
  const outcome = outcomeOf(judged);
  const isDone = isObserved(outcome) && judgedOf === generation;
  const observedGeneration = isDone ? generation : before.observedGeneration;
  const brokers = brokersOf(judged.view);
  const count = (is: (broker: Broker) => boolean): number => brokers.filter(is).length;
  const wanted = [...commonConditions(outcome), blockedOf(judged), resizedOf(judged)];
  return {
    ...(observedGeneration === undefined ? {} : { observedGeneration }),
    replicas: brokers.length,
    readyReplicas: count((one) => isStaying(one) && isReady(one)),
    updatedReplicas: count((one) => isUpdated(judged.view, one)),
    drainingReplicas: count(({ spec }) => spec.intent === "Draining"),
    labelSelector: selectorOf(current),
    nodeIds: idsOf(brokers),
    scaling: scalingOf(judged),
    conditions: mergeConditions(before.conditions ?? [], wanted, judgedOf, clock),
  };
};
