/** Makes this broker's logs what the metadata says they should be. */
import { type TopicConfig, topicConfigOf } from "@millrace/config";
import type { Env } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { LogConfig, LogManager, PartitionLog } from "@millrace/log";
import { type TopicId, topicIdOf } from "@millrace/record";
import type {
  ClusterSnapshot,
  ClusterView,
  DeletionView,
  PartitionView,
  TopicView,
} from "../metadata/view.ts";
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

/** Partitions that start at the same time; their first journal entries share an fsync. */
const parallel = 64;

/** Pause before partitions that could not be started are tried again, ms; doubles per attempt. */
const retryMsMin = 500;
const retryMsMax = 60_000;

const keyOf = (id: TopicId, partition: number): string => `${id}#${partition}`;

/** How a request names a partition. */
export interface PartitionAddress {
  /** Empty or 16 bytes. */
  readonly topicId: Uint8Array;
  readonly topic: string;
  readonly partition: number;
}

/** Reports that this broker has no partition of a deleted topic any more. */
export type DeletionDone = (topicId: TopicId) => Promise<void>;

export interface ReplicaManagerOptions {
  readonly env: Env;
  readonly logs: LogManager;
  readonly view: ClusterView;
  readonly brokerId: number;
  readonly deletionDone: DeletionDone;
}

/** All replicas of this broker. One reconciliation runs at a time; the newest view wins. */
export class ReplicaManager {
  readonly #env: Env;
  readonly #logs: LogManager;
  readonly #view: ClusterView;
  readonly #brokerId: number;
  readonly #deletionDone: DeletionDone;
  readonly #replicas = new Map<string, Replica>();
  /** Topics with a partition that could not be deleted. The next start tries again. */
  readonly #undeletable = new Set<TopicId>();
  /** Topics with partitions on the disk that the metadata does not explain; each is logged once. */
  readonly #unexplained = new Set<TopicId>();
  readonly #stopWatching: () => void;
  #running: Promise<void> | undefined;
  #again = false;
  /** Partitions that this round could not start, and rounds in a row with any. */
  #failures = 0;
  #failedRounds = 0;
  #cancelRetry: () => void = () => {};
  #closed = false;

  constructor(options: ReplicaManagerOptions) {
    this.#env = options.env;
    this.#logs = options.logs;
    this.#view = options.view;
    this.#brokerId = options.brokerId;
    this.#deletionDone = options.deletionDone;
    const { view } = options;
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
    this.#cancelRetry();
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

  /** A partition that could not be started is tried again, without a change of the metadata. */
  #retryLater(): void {
    const ms = Math.min(retryMsMax, retryMsMin * 2 ** (this.#failedRounds - 1));
    this.#cancelRetry();
    this.#cancelRetry = this.#env.clock.timer(ms, () => this.#kick());
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
      this.#failures = 0;
      await this.#reconcile(this.#view.current);
      this.#failedRounds = this.#failures === 0 ? 0 : this.#failedRounds + 1;
    }
    if (this.#failedRounds > 0 && !this.#closed) this.#retryLater();
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
    await this.#release(snapshot, wanted);
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
      this.#failures += 1;
      const error = MillraceError.from(thrown);
      this.#env.logger.error(
        { topic: topic.name, partition: view.partition, err: error },
        "a partition cannot be started: it is tried again",
      );
    }
  }

  /**
   * Closes replicas that this broker no longer serves, and deletes partitions of deleted topics.
   */
  async #release(snapshot: ClusterSnapshot, wanted: ReadonlySet<string>): Promise<void> {
    for (const [key, replica] of [...this.#replicas]) {
      if (wanted.has(key)) continue;
      replica.close();
      this.#replicas.delete(key);
    }
    const unexplained = new Map<TopicId, PartitionLog[]>();
    for (const log of [...this.#logs.partitions()]) {
      const { topicId } = log;
      if (snapshot.deletions.has(topicId)) await this.#delete(log);
      else if (!snapshot.topicsById.has(topicId)) {
        unexplained.set(topicId, [...(unexplained.get(topicId) ?? []), log]);
      }
    }
    for (const [topicId, logs] of unexplained) this.#reportUnexplained(topicId, logs);
    for (const deletion of snapshot.deletions.values()) await this.#acknowledge(deletion);
  }

  async #delete(log: PartitionLog): Promise<void> {
    try {
      await this.#logs.delete(log.topicId, log.partition);
    } catch (thrown) {
      this.#undeletable.add(log.topicId);
      this.#env.logger.error(
        { topic: log.topic, partition: log.partition, err: MillraceError.from(thrown) },
        "a partition of a deleted topic cannot be deleted: check the disk, then restart",
      );
    }
  }

  async #acknowledge({ id, name, pendingBrokerIds }: DeletionView): Promise<void> {
    if (!pendingBrokerIds.includes(this.#brokerId) || this.#undeletable.has(id)) return;
    try {
      await this.#deletionDone(id);
    } catch (thrown) {
      this.#env.logger.warn(
        { topic: name, topic_id: id, err: MillraceError.from(thrown) },
        "the end of a topic's deletion cannot be recorded: it is repeated at the next start",
      );
    }
  }

  /** Absence from the metadata is never a reason to delete: the metadata may be an old backup. */
  #reportUnexplained(topicId: TopicId, logs: readonly PartitionLog[]): void {
    if (this.#unexplained.has(topicId)) return;
    this.#unexplained.add(topicId);
    this.#env.logger.error(
      {
        topic: logs[0]?.topic,
        topic_id: topicId,
        partitions: logs.map(({ partition }) => partition).sort((a, b) => a - b),
        directories: `partitions/${topicId}-*`,
      },
      "partitions on the disk belong to no topic of the metadata, and are kept: " +
        "restore the metadata that knows them, or stop the server and remove their directories",
    );
  }

  #context(): ReplicaContext {
    const { clock, logger } = this.#env;
    return { brokerId: this.#brokerId, clock, logger, hint: (view) => this.#hint(view) };
  }
}
