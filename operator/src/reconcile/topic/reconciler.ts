/** Makes topics of Millrace clusters what Topic objects say. */
import type { Clock, Logger, Random } from "@millrace/env";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import { type Cluster, resourceTypes, type Topic } from "../../api/index.ts";
import { Applier } from "../../runtime/apply.ts";
import { keyOf } from "../../runtime/cache.ts";
import { Controller, type ReconcileContext, type ReconcileDone } from "../../runtime/controller.ts";
import type { EventRecorder } from "../../runtime/events.ts";
import {
  ensureFinalizer,
  hasFinalizer,
  isBeingDeleted,
  removeFinalizer,
} from "../../runtime/finalizers.ts";
import { Informer } from "../../runtime/informer.ts";
import type { KubernetesApi, ObjectKey } from "../../runtime/kubernetes.ts";
import type { RuntimeMetrics } from "../../runtime/metrics.ts";
import type { Outcome } from "../outcome.ts";
import type { ClusterTopics, FoundTopic } from "./cluster-topics.ts";
import { movesTo, planTopic, type TopicPlan, wantedConfigs } from "./plan.ts";
import { type ConflictReason, type Judged, topicStatus } from "./status.ts";

/** A Topic that has it may have a topic, or be about to make one. */
export const topicFinalizer = "millrace.dev/topic";

export const topicDefaults = {
  /** How often a topic is looked at when nothing tells of a change. */
  resyncMs: 120_000,
  /** How often while replicas are on their way. */
  movingMs: 5000,
  /** How often while there are too few brokers. */
  fewBrokersMs: 10_000,
} as const;

export interface TopicOptions {
  readonly api: KubernetesApi;
  /** All namespaces where it is left out. */
  readonly namespace?: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics?: RuntimeMetrics;
  readonly events: EventRecorder;
  readonly clusters: Informer<Cluster>;
  /** A connection to a Cluster; undefined while it has no address. Kept and closed by its maker. */
  readonly connect: (cluster: Cluster) => ClusterTopics | undefined;
  readonly relistMs?: number;
}

export const topicNameOf = ({ metadata, spec }: Topic): string => spec.topicName ?? metadata.name;

/** What no two objects may claim: a name in a cluster. */
const claimOf = (topic: Topic): string =>
  [topic.metadata.namespace, topic.spec.clusterRef.name, topicNameOf(topic)].join("/");

const clusterKeyOf = ({ metadata, spec }: Topic): ObjectKey => ({
  namespace: metadata.namespace ?? "",
  name: spec.clusterRef.name,
});

/** The order of claims: the older object has the topic. */
const isBefore = (a: Topic, b: Topic): boolean => {
  const of = ({ metadata }: Topic): string =>
    `${metadata.creationTimestamp ?? ""} ${metadata.uid ?? ""}`;
  return of(a) < of(b);
};

const messageOf = (error: unknown): string => {
  const { codeName, message } = MillraceError.from(error);
  return `${codeName}: ${message}`;
};

/** Somebody has made or deleted the topic meanwhile, or a server has a fault: look again. */
const passing: ReadonlySet<ErrorCode> = new Set([
  ErrorCode.INTERNAL,
  ErrorCode.TOPIC_ALREADY_EXISTS,
  ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
]);

/** What the cluster refuses, and goes on refusing while the object does not change. */
const isRefusal = (error: MillraceError): boolean =>
  !error.spec.retriable && !passing.has(error.code);

export class TopicReconciler {
  readonly topics: Informer<Topic>;
  readonly controller: Controller<Topic>;
  readonly #options: TopicOptions;
  readonly #applier = new Applier({ fieldManager: "millrace-operator" });

  constructor(options: TopicOptions) {
    this.#options = options;
    const { api, clock, clusters, logger, metrics, namespace, random, relistMs } = options;
    const shared = { api, clock, random, logger, ...(metrics && { metrics }) };
    this.topics = new Informer({
      ...{ ...shared, ...(namespace === undefined ? {} : { namespace }) },
      type: resourceTypes.Topic,
      ...(relistMs === undefined ? {} : { relistMs }),
      indexes: {
        claim: (topic) => [claimOf(topic)],
        cluster: (topic) => [`${topic.metadata.namespace}/${topic.spec.clusterRef.name}`],
      },
    });
    this.controller = new Controller({
      ...{ ...shared, name: "topic", primary: this.topics },
      reconcile: (key, context) => this.#reconcile(key, context),
    })
      .maps(clusters, ({ metadata }) =>
        this.topics.find("cluster", `${metadata.namespace}/${metadata.name}`).map(keyOf),
      )
      // Whoever waits for a name hears when the one before it has gone.
      .maps(this.topics, (topic) => this.topics.find("claim", claimOf(topic)).map(keyOf));
  }

  async #reconcile(key: ObjectKey, { api }: ReconcileContext): Promise<ReconcileDone> {
    const topic = this.topics.get(key);
    if (topic === undefined) return {};
    if (isBeingDeleted(topic)) return this.#remove(topic, api);
    const before = this.#before(topic);
    if (before !== undefined) return this.#refuse(topic, api, "ManagedByAnother", before);
    const cluster = this.#options.clusters.get(clusterKeyOf(topic));
    const { name } = topic.spec.clusterRef;
    if (cluster === undefined || isBeingDeleted(cluster)) {
      const why = cluster === undefined ? "is not there" : "is being deleted";
      const message = `Cluster ${name} ${why}: make it, or delete this Topic`;
      return this.#say(topic, api, waiting("ClusterNotFound", message, topicNameOf(topic)));
    }
    if (cluster.spec.paused === true) {
      const message = `Cluster ${name} has spec.paused: nothing is changed until it is taken back`;
      const outcome: Outcome = { type: "paused", ready: "Paused", message };
      return this.#say(topic, api, { outcome, synced: "Altering", topicName: topicNameOf(topic) });
    }
    const topics = this.#options.connect(cluster);
    if (topics === undefined) {
      const message = `Cluster ${name} has no address yet: see its conditions`;
      return this.#say(topic, api, waiting("ClusterNotReady", message, topicNameOf(topic)));
    }
    try {
      return await this.#sync(topic, api, topics);
    } catch (error) {
      if (!(error instanceof MillraceError)) throw error;
      return await this.#failed(topic, api, error);
    }
  }

  /** An object that had the name before this one. */
  #before(topic: Topic): Topic | undefined {
    return this.topics
      .find("claim", claimOf(topic))
      .find((other) => other.metadata.uid !== topic.metadata.uid && isBefore(other, topic));
  }

  async #sync(cached: Topic, api: KubernetesApi, topics: ClusterTopics): Promise<ReconcileDone> {
    const topicName = topicNameOf(cached);
    const found = await topics.find(topicName);
    // A cache that is behind does not know whose the topic is.
    const isKnown = found !== undefined && cached.status?.topicId === found.topicId;
    const topic = isKnown ? cached : await this.#fresh(cached, api);
    if (topic === undefined || isBeingDeleted(topic)) return {};
    if (found === undefined) return this.#create(topic, api, topics);
    const plan = planTopic(topic.spec, found);
    const conflict = conflictOf(topic, found, plan);
    if (conflict !== undefined) return this.#refuse(topic, api, conflict, undefined, found, plan);
    let own = await ensureFinalizer(api, resourceTypes.Topic, topic, topicFinalizer);
    // Whose it is stands written before it is changed: who changed it answers for it.
    if (topic.status?.topicId !== found.topicId) {
      own = await this.#write(own, api, judge(topicName, found, plan));
    }
    await this.#mend(topicName, topics, found, plan);
    const now = isClean(plan) ? found : await topics.find(topicName);
    if (now === undefined || now.topicId !== found.topicId) return { requeueAfterMs: 1000 };
    return this.#say(own, api, judge(topicName, now, planTopic(topic.spec, now)));
  }

  /** The object as the server has it; undefined where it is gone. */
  async #fresh(cached: Topic, api: KubernetesApi): Promise<Topic | undefined> {
    const fresh = await api.get(resourceTypes.Topic, keyOf(cached));
    return fresh?.metadata.uid === cached.metadata.uid ? fresh : undefined;
  }

  /**
   * Says first that it is about to, so that a topic that is there afterwards, and is what would
   * have been made, is known as its own.
   */
  async #create(topic: Topic, api: KubernetesApi, topics: ClusterTopics): Promise<ReconcileDone> {
    const { partitions, replicationFactor } = topic.spec;
    const name = topicNameOf(topic);
    const wanted = {
      ...{ name, partitions, configs: wantedConfigs(topic.spec) },
      ...(replicationFactor === undefined ? {} : { replicationFactor }),
    };
    await topics.create(wanted, { validateOnly: true });
    const own = await ensureFinalizer(api, resourceTypes.Topic, topic, topicFinalizer);
    const message = `topic ${name} is being created`;
    const reason = "WaitingForCluster" as const;
    const outcome: Outcome = { type: "working", reason, ready: "Progressing", message };
    const creating: Judged = { outcome, synced: "Creating", topicName: name };
    const { clock, events } = this.#options;
    // A topic of an earlier id is gone, and this one is another.
    const { topicId: _gone, createdAt: _then, observed: _was, ...rest } = own.status ?? {};
    const said = await this.#applier.applyStatus(api, resourceTypes.Topic, own, (current) =>
      topicStatus({ ...current, status: { ...rest, ...conditionsOf(current) } }, creating, clock),
    );
    await topics.create(wanted, { validateOnly: false });
    const occurrence = { type: "Normal", reason: "Created", action: "Create" } as const;
    void events.emit(topic, { ...occurrence, note: `topic ${name} is created` });
    const found = await topics.find(name);
    // Where it cannot be seen yet: it is found the next time.
    if (found === undefined) return { requeueAfterMs: 1000 };
    return this.#say(said, api, judge(name, found, planTopic(topic.spec, found)));
  }

  /** Does what can be done, in an order in which new partitions get what the spec says. */
  async #mend(
    name: string,
    topics: ClusterTopics,
    found: FoundTopic,
    plan: TopicPlan,
  ): Promise<void> {
    if (plan.configs !== undefined) await topics.alterConfigs(name, plan.configs);
    if (plan.partitions !== undefined) await topics.addPartitions(name, plan.partitions);
    if (plan.replicationFactor === undefined) return;
    const brokers = await topics.brokers();
    const moves = movesTo(found, plan.replicationFactor, brokers);
    if (moves === undefined) {
      const wanted = `spec.replicationFactor is ${plan.replicationFactor}`;
      throw new MillraceError(
        ErrorCode.INVALID_REPLICATION_FACTOR,
        `${wanted}, and ${brokers.length} brokers take replicas: add brokers, or lower it`,
      );
    }
    if (moves.length > 0) await topics.move(name, moves);
  }

  async #remove(cached: Topic, api: KubernetesApi): Promise<ReconcileDone> {
    const topic = await this.#fresh(cached, api);
    if (topic === undefined || !hasFinalizer(topic, topicFinalizer)) return {};
    const cluster = this.#options.clusters.get(clusterKeyOf(topic));
    const isGone = cluster === undefined || isBeingDeleted(cluster);
    if (!isGone && topic.spec.deletionPolicy !== "Retain") {
      const waits = await this.#delete(topic, cluster);
      if (waits !== undefined) return this.#say(topic, api, waits);
    }
    await removeFinalizer(api, resourceTypes.Topic, topic, topicFinalizer);
    return {};
  }

  /** Deletes the topic as the policy has it; returns why it has to wait, if so. */
  async #delete(topic: Topic, cluster: Cluster): Promise<Judged | undefined> {
    const name = topicNameOf(topic);
    const { name: of } = cluster.metadata;
    if (cluster.spec.paused === true) {
      const message = `topic ${name} is not deleted while Cluster ${of} has spec.paused`;
      const outcome: Outcome = { type: "paused", ready: "Paused", message };
      return { outcome, synced: "Altering", topicName: name };
    }
    const topics = this.#options.connect(cluster);
    const help = "wait, or set spec.deletionPolicy to Retain";
    if (topics === undefined) {
      return waiting("ClusterNotReady", `Cluster ${of} has no address: ${help}`, name);
    }
    try {
      const found = await topics.find(name);
      if (found === undefined || !isOwner(topic, found)) return undefined;
      const isWanted = topic.spec.deletionPolicy === "Delete" || (await topics.isEmpty(name));
      if (isWanted) await topics.delete(name, found.topicId);
      return undefined;
    } catch (error) {
      if (hasCode(error, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)) return undefined;
      if (!(error instanceof MillraceError)) throw error;
      const message = `topic ${name} is not deleted yet: ${messageOf(error)}: ${help}`;
      return waiting("ClusterNotReady", message, name);
    }
  }

  async #refuse(
    topic: Topic,
    api: KubernetesApi,
    conflict: ConflictReason,
    other?: Topic,
    found?: FoundTopic,
    plan?: TopicPlan,
  ): Promise<ReconcileDone> {
    const topicName = topicNameOf(topic);
    const messages = {
      ManagedByAnother:
        `topic ${topicName} belongs to Topic ${other?.metadata.name}, which is older: ` +
        "delete one of the two",
      Exists: `topic ${topicName} is there already, and spec.adopt is Never: delete one of the two`,
      ExistsAndDiffers:
        `topic ${topicName} is there already, and differs (status.drift): ` +
        "change the spec to what it is, or set spec.adopt to Always to change the topic",
    };
    const message = messages[conflict];
    const outcome: Outcome = { type: "stalled", reason: "Conflict", ready: "Blocked", message };
    return this.#say(topic, api, { outcome, synced: "Refused", conflict, found, plan, topicName });
  }

  async #failed(topic: Topic, api: KubernetesApi, error: MillraceError): Promise<ReconcileDone> {
    const topicName = topicNameOf(topic);
    const message = messageOf(error);
    // Brokers come, and nothing tells of them here.
    if (error.code === ErrorCode.INVALID_REPLICATION_FACTOR) {
      const about = { type: "working", reason: "WaitingForCluster", ready: "Blocked" } as const;
      await this.#say(topic, api, { outcome: { ...about, message }, synced: "Refused", topicName });
      return { requeueAfterMs: topicDefaults.fewBrokersMs };
    }
    const refused: Outcome = { type: "stalled", reason: "InvalidSpec", ready: "Failed", message };
    if (isRefusal(error)) {
      return this.#say(topic, api, { outcome: refused, synced: "Refused", topicName });
    }
    const { outcome, ...judged } = waiting("ClusterNotReady", message, topicName);
    await this.#say(topic, api, { ...judged, outcome: { ...outcome, isUnknown: true } as Outcome });
    throw error;
  }

  async #say(topic: Topic, api: KubernetesApi, judged: Judged): Promise<ReconcileDone> {
    const { events } = this.#options;
    const { outcome } = judged;
    const known = topic.status?.conditions?.find(({ type }) => type === "Stalled");
    if (outcome.type === "stalled" && known?.message !== outcome.message) {
      const { message: note, reason } = outcome;
      void events.emit(topic, { type: "Warning", reason, action: "Reconcile", note });
    }
    await this.#write(topic, api, judged);
    const isMoving = judged.synced === "Reassigning";
    return { requeueAfterMs: isMoving ? topicDefaults.movingMs : topicDefaults.resyncMs };
  }

  #write(topic: Topic, api: KubernetesApi, judged: Judged): Promise<Topic> {
    return this.#applier.applyStatus(api, resourceTypes.Topic, topic, (current) =>
      topicStatus(current, judged, this.#options.clock),
    );
  }
}

const conditionsOf = ({ status }: Topic): Pick<NonNullable<Topic["status"]>, "conditions"> =>
  status?.conditions === undefined ? {} : { conditions: status.conditions };

const isClean = ({ configs, partitions, replicationFactor }: TopicPlan): boolean =>
  configs === undefined && partitions === undefined && replicationFactor === undefined;

/** Waits for the cluster, which a change of the Cluster tells. */
const waiting = (
  ready: "ClusterNotFound" | "ClusterNotReady",
  message: string,
  topicName: string,
): Judged => ({
  outcome: { type: "working", reason: "WaitingForCluster", ready, message },
  synced: "Altering",
  topicName,
});

/**
 * Whether a topic is this object's: by its id, or because it was not there when this object began
 * to create it, and is what would have been made.
 */
const isOwner = (
  { spec, status }: Topic,
  found: FoundTopic,
  plan = planTopic(spec, found),
): boolean => {
  if (status?.topicId !== undefined) return status.topicId === found.topicId;
  const synced = status?.conditions?.find(({ type }) => type === "Synced");
  return synced?.reason === "Creating" && plan.drift.length === 0;
};

/** Why a topic that is there is not this object's. */
const conflictOf = (
  topic: Topic,
  found: FoundTopic,
  plan: TopicPlan,
): ConflictReason | undefined => {
  const { adopt } = topic.spec;
  if (adopt === "Always" || isOwner(topic, found, plan)) return undefined;
  if (adopt === "Never") return "Exists";
  return plan.drift.length > 0 ? "ExistsAndDiffers" : undefined;
};

/** What a topic of this object's is found to be. */
const judge = (topicName: string, found: FoundTopic, plan: TopicPlan): Judged => {
  const base = { topicName, found, plan, isOwn: true };
  if (plan.impossible !== undefined) {
    const message = `topic ${topicName}: ${plan.impossible}`;
    const outcome: Outcome = { type: "stalled", reason: "InvalidSpec", ready: "Blocked", message };
    return { ...base, outcome, synced: "Refused" };
  }
  if (plan.moving > 0 || !isClean(plan)) {
    const message =
      plan.moving > 0
        ? `topic ${topicName}: ${plan.moving} partitions are on their way to other replicas`
        : `topic ${topicName} is being changed: ${plan.drift[0]}`;
    const reason = "WaitingForCluster" as const;
    const outcome: Outcome = { type: "working", reason, ready: "Progressing", message };
    return { ...base, outcome, synced: plan.moving > 0 ? "Reassigning" : "Altering" };
  }
  const message = `topic ${topicName} is as the spec says.`;
  return { ...base, outcome: { type: "done", message }, synced: "Synced" };
};
