/** Makes this broker's logs what the metadata says they should be. */
import { type TopicConfig, topicConfigOf } from "@millrace/config";
import type { Env } from "@millrace/env";
import { ErrorCode, MillraceError, must } from "@millrace/errors";
import type { LogConfig, LogManager } from "@millrace/log";
import { type TopicId, topicIdOf } from "@millrace/record";
import type { ClusterSnapshot, ClusterView, PartitionView, TopicView } from "../metadata/view.ts";
import { Replica, type ReplicaContext } from "./replica.ts";

/** Log settings of a topic's configs. */
export const logConfigOf = (config: TopicConfig): LogConfig => ({
  segmentBytes: config["segment.bytes"],
  segmentMs: config["segment.ms"],
  indexIntervalBytes: config["index.interval.bytes"],
  retentionMs: config["retention.ms"],
  retentionBytes: config["retention.bytes"],
  retentionEnabled: config["cleanup.policy"] === "delete",
  fileDeleteDelayMs: config["file.delete.delay.ms"],
  flushPolicy: config["flush.policy"],
  flushIntervalMs: config["flush.ms"],
  producerExpiryMs: 86_400_000,
});

/** Partitions taken up at once: what each writes to the journal shares an fsync with the others. */
const parallel = 64;

const keyOf = (id: TopicId, partition: number): string => `${id}#${partition}`;

/** How a request names a partition. */
export interface PartitionAddress {
  /** Empty or 16 bytes. */
  readonly topicId: Uint8Array;
  readonly topic: string;
  readonly partition: number;
}

/** All replicas of this broker. One reconciliation runs at a time; the newest view wins. */
export class ReplicaManager {
  readonly #env: Env;
  readonly #logs: LogManager;
  readonly #view: ClusterView;
  readonly #brokerId: number;
  readonly #replicas = new Map<string, Replica>();
  readonly #stopWatching: () => void;
  #running: Promise<void> | undefined;
  #again = false;
  #closed = false;

  constructor(env: Env, logs: LogManager, view: ClusterView, brokerId: number) {
    this.#env = env;
    this.#logs = logs;
    this.#view = view;
    this.#brokerId = brokerId;
    this.#stopWatching = view.onChange(() => this.#kick());
  }

  /** Resolves once the replicas match the view as of now. */
  async settle(): Promise<void> {
    this.#kick();
    while (this.#running !== undefined) await this.#running;
  }

  replicas(): Iterable<Replica> {
    return this.#replicas.values();
  }

  /** The replica a request names. Throws UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER (with a hint),
   * LEADER_NOT_AVAILABLE, INVALID_REQUEST; `requireLeader` has then still to be asked. */
  find(address: PartitionAddress): Replica {
    const topic = this.#topicOf(address);
    const view = topic.partitions[address.partition];
    if (view === undefined) {
      throw MillraceError.refusal(
        ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
        `topic ${topic.name} has no partition ${address.partition}: it has ${topic.partitions.length}`,
      );
    }
    const replica = this.#replicas.get(keyOf(topic.id, address.partition));
    if (replica !== undefined) return replica;
    const hint = this.#hint(view);
    if (view.leader === undefined || view.leader === this.#brokerId) {
      throw MillraceError.refusal(
        ErrorCode.LEADER_NOT_AVAILABLE,
        `${topic.name}-${address.partition} is being set up: retry`,
      );
    }
    throw MillraceError.refusal(
      ErrorCode.NOT_LEADER,
      `broker ${this.#brokerId} does not lead ${topic.name}-${address.partition}`,
      hint === undefined ? {} : { leaderHint: hint },
    );
  }

  async close(): Promise<void> {
    this.#closed = true;
    this.#stopWatching();
    while (this.#running !== undefined) await this.#running;
    for (const replica of this.#replicas.values()) replica.close();
  }

  #topicOf(address: PartitionAddress): TopicView {
    const snapshot = this.#view.current;
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
    const snapshot = this.#view.current;
    const broker = view.leader === undefined ? undefined : snapshot.brokers.get(view.leader);
    if (broker === undefined) return undefined;
    return {
      brokerId: broker.brokerId,
      leaderEpoch: view.leaderEpoch,
      endpoint: broker.endpoint,
      metadataRevision: BigInt(snapshot.revision),
    };
  }

  #kick(): void {
    this.#again = true;
    if (this.#running !== undefined || this.#closed) return;
    this.#running = this.#run().finally(() => {
      this.#running = undefined;
    });
  }

  async #run(): Promise<void> {
    while (this.#again && !this.#closed) {
      this.#again = false;
      await this.#reconcile(this.#view.current);
    }
  }

  async #reconcile(snapshot: ClusterSnapshot): Promise<void> {
    const wanted = new Set<string>();
    const steps: (() => Promise<void>)[] = [];
    for (const topic of snapshot.topics.values()) {
      const config = topicConfigOf(topic.configs);
      for (const view of topic.partitions) {
        if (!view.replicas.includes(this.#brokerId)) continue;
        wanted.add(keyOf(topic.id, view.partition));
        if (this.#isUpToDate(topic, view)) continue;
        steps.push(() => this.#applyOne(topic, view, config));
      }
    }
    steps.reverse();
    const worker = async (): Promise<void> => {
      for (let step = steps.pop(); step !== undefined; step = steps.pop()) await step();
    };
    await Promise.all(Array.from({ length: parallel }, worker));
    await this.#deleteUnwanted(snapshot, wanted);
  }

  #isUpToDate(topic: TopicView, view: PartitionView): boolean {
    const replica = this.#replicas.get(keyOf(topic.id, view.partition));
    return replica?.topic === topic && replica.view === view;
  }

  async #applyOne(topic: TopicView, view: PartitionView, config: TopicConfig): Promise<void> {
    const key = keyOf(topic.id, view.partition);
    const logConfig = logConfigOf(config);
    try {
      let replica = this.#replicas.get(key);
      if (replica === undefined) {
        const log = await this.#logs.create(topic.id, topic.name, view.partition, logConfig);
        replica = new Replica(this.#context(), log, topic, view, config);
        this.#replicas.set(key, replica);
      }
      replica.log.updateConfig(logConfig);
      await replica.apply(topic, view, config);
    } catch (thrown) {
      const error = MillraceError.from(thrown);
      this.#env.logger.error(
        { topic: topic.name, partition: view.partition, err: error },
        "partition can not be taken up",
      );
    }
  }

  /**
   * Deletes logs whose topic is gone. Absence alone is never a reason (trap 44): only a topic that this
   * process has seen in the metadata, and then seen deleted, or whose name now has another id.
   */
  async #deleteUnwanted(snapshot: ClusterSnapshot, wanted: ReadonlySet<string>): Promise<void> {
    for (const [key, replica] of [...this.#replicas]) {
      if (wanted.has(key)) continue;
      replica.close();
      this.#replicas.delete(key);
      if (snapshot.topicsById.has(replica.topic.id)) continue;
      await this.#logs.delete(replica.topic.id, replica.view.partition);
    }
  }

  #context(): ReplicaContext {
    const { clock, logger } = must(this.#env, "env");
    return { brokerId: this.#brokerId, clock, logger, hint: (view) => this.#hint(view) };
  }
}
