/** Which brokers get a new pod next, across all pools of a cluster. Pure. */
import type { Broker, Cluster } from "../../api/index.ts";
import { type Hashes, hasHashes } from "../broker/hashes.ts";
import { conditionOf } from "../outcome.ts";

export interface RolloutBroker {
  readonly broker: Broker;
  /** By the Cluster and the pool as they are. */
  readonly wanted: Hashes;
}

export interface RolloutPlan {
  /** Brokers whose specs get what is wanted now. */
  readonly next: readonly RolloutBroker[];
  /** Brokers that have yet to get it, those of `next` not included. */
  readonly left: number;
  /** For people: what the rest waits for; absent where nothing is left. */
  readonly waitsFor?: string;
  /** When the pause after the last broker is over, milliseconds; absent where none is on. */
  readonly pauseMs?: number;
}

const isAsked = ({ broker, wanted }: RolloutBroker): boolean => hasHashes(broker.spec, wanted);

/** Whether it runs with what its spec says, and is ready. */
const isSettled = ({ broker }: RolloutBroker): boolean => {
  const ready = conditionOf(broker, "Ready");
  const { metadata, spec, status } = broker;
  return (
    hasHashes(status, spec) &&
    ready?.status === "True" &&
    ready.observedGeneration === metadata.generation
  );
};

/** When a broker of the cluster became ready last. */
const lastReadyMs = (brokers: readonly RolloutBroker[]): number =>
  Math.max(
    0,
    ...brokers.map(({ broker }) =>
      Date.parse(conditionOf(broker, "Ready")?.lastTransitionTime ?? "1970-01-01T00:00:00Z"),
    ),
  );

/** Whether one more of this rack may go down beside those that are down. */
const isBeside = (
  one: RolloutBroker,
  busy: readonly RolloutBroker[],
  { maxUnavailablePerRack = 1 }: Cluster["spec"]["rollout"],
): boolean => {
  const rack = one.broker.status?.rack ?? "";
  const isSame = busy.every(({ broker }) => rack !== "" && broker.status?.rack === rack);
  return busy.length === 0 || (isSame && busy.length < maxUnavailablePerRack);
};

/**
 * Brokers that are not ready get what is wanted at once: it may be what they lack, and they wait
 * for their lease like any other. Of those that are ready, one is next, and only while every other
 * broker is ready; or several of one rack, where that is set. Those that go get no new pod.
 */
export const planRollout = (
  brokers: readonly RolloutBroker[],
  rollout: Cluster["spec"]["rollout"],
  nowMs: number,
): RolloutPlan => {
  const staying = brokers
    .filter(({ broker: { spec } }) => spec.intent === "Active" || spec.intent === "Cordoned")
    .sort((a, b) => a.broker.spec.nodeId - b.broker.spec.nodeId);
  const outdated = staying.filter((one) => !isAsked(one));
  if (outdated.length === 0) return { next: [], left: 0 };
  const next = outdated.filter((one) => !isSettled(one));
  const rest = outdated.filter(isSettled);
  const busy = staying.filter((one) => !isSettled(one));
  const pauseMs = lastReadyMs(staying) + (rollout.pauseSeconds ?? 0) * 1000;
  const isPaused = busy.length === 0 && (rollout.pauseSeconds ?? 0) > 0 && nowMs < pauseMs;
  if (!isPaused) {
    for (const one of rest) {
      if (!isBeside(one, busy, rollout)) continue;
      next.push(one);
      busy.push(one);
    }
  }
  const left = outdated.length - next.length;
  if (left === 0) return { next, left };
  const [first] = busy;
  const waitsFor =
    first === undefined
      ? "the pause between two brokers"
      : `broker ${first.broker.spec.nodeId}, which is not ready`;
  return { next, left, waitsFor, ...(isPaused ? { pauseMs } : {}) };
};
