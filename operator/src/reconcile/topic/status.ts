/** The status of a Topic. */

import type { Clock } from "@millrace/env";
import type { Topic } from "../../api/index.ts";
import { mergeConditions, type WantedCondition } from "../../runtime/conditions.ts";
import { timestamp } from "../../runtime/timestamps.ts";
import { commonConditions, isObserved, type Outcome } from "../outcome.ts";
import type { FoundTopic } from "./cluster-topics.ts";
import { replicationFactorOf, type TopicPlan } from "./plan.ts";

type Status = NonNullable<Topic["status"]>;

/** Why the topic is not this object's to change. */
export type ConflictReason = "ExistsAndDiffers" | "Exists" | "ManagedByAnother";

export interface Judged {
  readonly outcome: Outcome;
  /** What the condition `Synced` says; it is True with `Synced` alone. */
  readonly synced: "Synced" | "Creating" | "Altering" | "Reassigning" | "Refused";
  readonly conflict?: ConflictReason;
  /** The topic, where it could be looked at. */
  readonly found?: FoundTopic | undefined;
  readonly plan?: TopicPlan | undefined;
  /** Whether the topic is this object's. */
  readonly isOwn?: boolean;
  readonly topicName: string;
}

/**
 * A topic that was about to be created may have been: that is not forgotten before the cluster was
 * looked at.
 */
const syncedOf = ({ found, synced }: Judged, before: Partial<Status>): Judged["synced"] => {
  const known = before.conditions?.find(({ type }) => type === "Synced");
  const isBegun = known?.reason === "Creating" && before.topicId === undefined;
  return isBegun && found === undefined ? "Creating" : synced;
};

const ownConditions = (judged: Judged, before: Partial<Status>): WantedCondition[] => {
  const { conflict, outcome } = judged;
  const synced = syncedOf(judged, before);
  const isSynced = synced === "Synced";
  const message = outcome.type === "done" ? "" : outcome.message;
  return [
    {
      type: "Synced",
      status: isSynced ? "True" : "False",
      reason: synced,
      message: isSynced ? "" : message,
    },
    {
      type: "Conflict",
      status: conflict === undefined ? "False" : "True",
      reason: conflict ?? "NoConflict",
      message: conflict === undefined ? "" : message,
    },
  ];
};

const observedOf = (found: FoundTopic): NonNullable<Status["observed"]> => ({
  partitions: found.partitions.length,
  replicationFactor: replicationFactorOf(found),
  config: found.configs,
});

/** What is known of a topic, and what was known before where it could not be asked. */
const known = (judged: Judged, before: Partial<Status>): Partial<Status> => {
  const { found, isOwn, plan } = judged;
  const { topicId, topicName, createdAt, observed } = before;
  if (found === undefined) {
    return {
      ...(topicId === undefined ? {} : { topicId }),
      ...(topicName === undefined ? {} : { topicName }),
      ...(createdAt === undefined ? {} : { createdAt }),
      ...(observed === undefined ? {} : { observed }),
    };
  }
  const { moving = 0, replicationFactor: target } = plan ?? {};
  const pendingPartitions = Math.max(moving, target === undefined ? 0 : 1);
  const wanted = target ?? replicationFactorOf(found);
  return {
    ...(isOwn === true ? { topicId: found.topicId, createdAt: timestamp(found.createdAtMs) } : {}),
    topicName: judged.topicName,
    observed: observedOf(found),
    ...(isOwn === true && moving > 0
      ? { replicasChange: { target: wanted, pendingPartitions } }
      : {}),
    ...(plan !== undefined && plan.drift.length > 0 ? { drift: plan.drift } : {}),
  };
};

/** The status that says what was judged of an object. */
export const topicStatus = (topic: Topic, judged: Judged, clock: Clock): Status => {
  const { generation = 0 } = topic.metadata;
  const before = topic.status ?? {};
  const wanted = [...commonConditions(judged.outcome), ...ownConditions(judged, before)];
  const observedGeneration = isObserved(judged.outcome) ? generation : before.observedGeneration;
  return {
    ...(observedGeneration === undefined ? {} : { observedGeneration }),
    ...known(judged, before),
    conditions: mergeConditions(before.conditions ?? [], wanted, generation, clock),
  };
};
