/**
 * Makes this broker's partitions what the metadata says they should be. A change of the view is
 * taken up at once, by the partitions that it is about; their I/O runs apart from one another.
 */
import { type TopicConfig, topicConfigOf } from "@millrace/config";
import type { Env } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { LogManager } from "@millrace/log";
import { topicIdOf } from "@millrace/record";
import type { ClusterChange, ClusterView, PartitionView, TopicView } from "../metadata/view.ts";
import { Creations } from "./creations.ts";
import { type DeletionDone, Deletions } from "./deletions.ts";
import { EpochFloors } from "./epoch-floors.ts";
import type { HostContext } from "./hosted-partition.ts";
import { HostedTopic } from "./hosted-topic.ts";
import { refusals } from "./refusals.ts";
import { Removals, type RemovalsDone } from "./removals.ts";
import type { Replica, ReplicaContext } from "./replica.ts";
import { SerialWork } from "./serial-work.ts";

/** How a request names a partition. */
export interface PartitionAddress {
  /** Empty or 16 bytes. */
  readonly topicId: Uint8Array;
  readonly topic: string;
  readonly partition: number;
}

export interface ReplicaManagerOptions {
  readonly env: Env;
  readonly logs: LogManager;
  readonly view: ClusterView;
  readonly brokerId: number;
  readonly deletionDone: DeletionDone;
  readonly removalsDone: RemovalsDone;
  /** What replicas need of replication. */
  readonly replication: Pick<
    ReplicaContext,
    "brokerEpoch" | "followers" | "changes" | "lagMaxMs" | "meterOf" | "keyIndexOf"
  >;
}

/** At a start, so that the same topics have labels of metrics as before. */
const oldestFirst = (topics: Iterable<TopicView>): string[] =>
  [...topics].sort((a, b) => a.createdAtMs - b.createdAtMs).map(({ name }) => name);

/** All replicas of this broker. */
export class ReplicaManager {
  readonly #options: ReplicaManagerOptions;
  readonly #context: HostContext;
  readonly #topics = new Map<string, HostedTopic>();
  readonly #deletions: SerialWork;
  readonly #removals: SerialWork;
  readonly #stopWatching: () => void;
  #closed = false;

  constructor(options: ReplicaManagerOptions) {
    this.#options = options;
    const { brokerId, deletionDone, env, logs, removalsDone, replication, view } = options;
    const { clock, logger } = env;
    const creations = new Creations();
    const replicas = {
      ...{ ...replication, clock, brokerId, sim: env.sim },
      epochFloors: new EpochFloors(logger, logs),
      registered: (id: number) => view.current.brokers.get(id)?.epoch,
      hint: (of: PartitionView) => this.#hint(of),
    };
    this.#context = { env, logs, creations, replicas };
    const shared = { logger, logs, view, brokerId, creations };
    this.#deletions = new SerialWork(clock, new Deletions({ ...shared, deletionDone }));
    this.#removals = new SerialWork(clock, new Removals({ ...shared, removalsDone }));
    this.#stopWatching = view.onChange((change) => this.#take(change));
  }

  /**
   * Takes up the whole view, and resolves once nothing is left to do for it, except for partitions
   * that failed and wait to be tried again. For the start.
   */
  async settle(): Promise<void> {
    if (this.#closed) return;
    const { topics } = this.#options.view.current;
    const names = this.#topics.size === 0 ? oldestFirst(topics.values()) : topics.keys();
    for (const name of [...this.#topics.keys(), ...names]) this.#takeTopic(name);
    this.#deletions.request();
    this.#removals.request();
    await this.idle();
  }

  /**
   * Resolves once nothing is left to do for the changes that came so far, as `settle`. It looks at
   * nothing else: whoever makes one topic of ten thousand need not wait for a walk through all.
   */
  async idle(): Promise<void> {
    for (let work = this.#working(); work.length > 0; work = this.#working()) {
      await Promise.all(work);
    }
  }

  *replicas(): Generator<Replica> {
    for (const topic of this.#topics.values()) yield* topic.replicas();
  }

  /**
   * The replica that a request names. Throws UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER (with a hint),
   * LEADER_NOT_AVAILABLE, INVALID_REQUEST. The caller still has to call `requireLeader`.
   */
  find(address: PartitionAddress): Replica {
    const topic = this.#topicOf(address);
    const view = topic.partitions[address.partition];
    if (view === undefined) {
      throw MillraceError.refusal(
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        `topic ${topic.name} has no partition ${address.partition}: it has ${topic.partitions.length}`,
      );
    }
    const hosted = this.#topics.get(topic.name);
    const partition = hosted?.id === topic.id ? hosted.partition(view.partition) : undefined;
    if (partition !== undefined) return partition.replica;
    const name = `${topic.name}-${view.partition}`;
    const { brokerId } = this.#options;
    const { leader } = view;
    if (leader === undefined || leader === brokerId) throw refusals.notReady(name);
    throw refusals.notLeader(name, brokerId, leader, this.#hint(view));
  }

  /** Partitions of the topic that a request names. Throws UNKNOWN_TOPIC_OR_PARTITION. */
  partitionCount(address: Omit<PartitionAddress, "partition">): number {
    return this.#topicOf(address).partitions.length;
  }

  /**
   * Ends all replicas at once, and resolves when no deletion and no truncation is under way. Other
   * I/O belongs to the logs, which close after this.
   */
  async close(): Promise<void> {
    this.#closed = true;
    this.#stopWatching();
    const replicas = [...this.replicas()];
    for (const topic of this.#topics.values()) topic.close();
    this.#topics.clear();
    const deleting = [this.#deletions.running, this.#removals.running];
    this.#deletions.close();
    this.#removals.close();
    await Promise.all([...deleting, ...replicas.map(({ cutting }) => cutting)]);
  }

  #topicOf(address: Omit<PartitionAddress, "partition">): TopicView {
    const snapshot = this.#options.view.current;
    if (address.topicId.length === 0) {
      const topic = snapshot.topics.get(address.topic);
      if (topic !== undefined) return topic;
      const shown = JSON.stringify(address.topic.slice(0, 80));
      throw MillraceError.refusal(
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        `no topic ${shown}: create it, or check the name`,
      );
    }
    if (address.topicId.length !== 16) {
      throw MillraceError.refusal(
        ErrorCode.INVALID_REQUEST,
        `topic_id has ${address.topicId.length} bytes: send 16, or none and the topic's name`,
      );
    }
    const id = topicIdOf(address.topicId);
    const topic = snapshot.topicsById.get(id);
    if (topic !== undefined) return topic;
    throw MillraceError.refusal(
      ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
      `no topic with id ${id}: it was deleted, or made again under a new id: refresh the metadata`,
    );
  }

  #hint(view: PartitionView): MillraceError["leaderHint"] {
    const snapshot = this.#options.view.current;
    const broker = view.leader === undefined ? undefined : snapshot.brokers.get(view.leader);
    if (broker === undefined) return undefined;
    return {
      brokerId: broker.brokerId,
      leaderEpoch: view.leaderEpoch,
      endpoint: broker.endpoint,
      metadataRevision: BigInt(snapshot.revision),
    };
  }

  /** Work that is under way. */
  #working(): Promise<void>[] {
    const work: Promise<void>[] = [];
    for (const { running } of [this.#deletions, this.#removals]) {
      if (running !== undefined) work.push(running);
    }
    for (const topic of this.#topics.values()) {
      for (const { working } of topic.partitions()) if (working !== undefined) work.push(working);
    }
    return work;
  }

  #take({ brokersChanged, changed, deleted, deletionsChanged }: ClusterChange): void {
    for (const name of changed) this.#takeTopic(name);
    for (const name of deleted) this.#takeTopic(name);
    if (brokersChanged) {
      for (const topic of this.#topics.values()) topic.registrationsChanged();
    }
    if (deleted.length > 0 || deletionsChanged) this.#deletions.request();
  }

  #takeTopic(name: string): void {
    const topic = this.#options.view.current.topics.get(name);
    let hosted = this.#topics.get(name);
    if (hosted !== undefined && hosted.id !== topic?.id) {
      hosted.close();
      this.#topics.delete(name);
      this.#deletions.request();
      hosted = undefined;
    }
    if (topic === undefined) return;
    const config = this.#configOf(topic, hosted);
    if (config === undefined) return;
    if (hosted === undefined) {
      hosted = new HostedTopic(this.#context, this.#options.brokerId, topic, config);
      this.#topics.set(name, hosted);
    }
    hosted.take(topic, config);
    // After the take: what used the log has ended.
    const isRemoved = topic.partitions.some(({ removed }) =>
      removed.some(({ brokerId }) => brokerId === this.#options.brokerId),
    );
    if (isRemoved) this.#removals.request();
  }

  /** Configs that this version cannot read leave a topic as it is. */
  #configOf(topic: TopicView, hosted: HostedTopic | undefined): TopicConfig | undefined {
    if (hosted?.configs === topic.configs) return hosted.config;
    try {
      return topicConfigOf(topic.configs);
    } catch (thrown) {
      this.#options.env.logger.error(
        { topic: topic.name, err: MillraceError.from(thrown) },
        "the configs of a topic cannot be read, and are not applied: set them again",
      );
      return hosted?.config;
    }
  }
}
