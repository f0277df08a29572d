/**
 * Deletes the partitions of deleted topics from the disk, against a deletion record alone. Absence
 * from the metadata is never a reason to delete: the metadata may be an old backup.
 */
import type { Logger } from "@millrace/env";
import { MillraceError } from "@millrace/errors";
import type { LogManager, PartitionLog } from "@millrace/log";
import type { TopicId } from "@millrace/record";
import type { ClusterSnapshot, ClusterView, DeletionView } from "../metadata/view.ts";
import type { Creations } from "./creations.ts";
import type { Work } from "./serial-work.ts";

/** Reports that this broker has no partition of a deleted topic any more. */
export type DeletionDone = (topicId: TopicId) => Promise<void>;

export interface DeletionsOptions {
  readonly logger: Logger;
  readonly logs: LogManager;
  readonly view: ClusterView;
  readonly brokerId: number;
  readonly creations: Creations;
  readonly deletionDone: DeletionDone;
}

export class Deletions implements Work {
  readonly #options: DeletionsOptions;
  /** Topics with a partition that could not be deleted. The next start tries again. */
  readonly #undeletable = new Set<TopicId>();
  /** Topics with partitions on the disk that the metadata does not explain; each is logged once. */
  readonly #unexplained = new Set<TopicId>();

  constructor(options: DeletionsOptions) {
    this.#options = options;
  }

  /** Makes the disk follow the deletion records of now. One run at a time. */
  async run(): Promise<void> {
    const { creations, logs, view } = this.#options;
    const { deletions } = view.current;
    // A partition that is being made is not among the logs yet.
    for (const topicId of deletions.keys()) await creations.settled(topicId);
    const unexplained = new Map<TopicId, PartitionLog[]>();
    const snapshot = view.current;
    for (const log of [...logs.partitions()]) {
      const { topicId } = log;
      if (deletions.has(topicId)) await this.#delete(log);
      else if (!this.#isExplained(log, snapshot)) {
        unexplained.set(topicId, [...(unexplained.get(topicId) ?? []), log]);
      }
    }
    for (const [topicId, found] of unexplained) this.#reportUnexplained(topicId, found);
    let failure: unknown;
    for (const deletion of deletions.values()) {
      await this.#acknowledge(deletion).catch((thrown: unknown) => {
        failure ??= thrown;
      });
    }
    if (failure !== undefined) throw failure;
  }

  failed(thrown: unknown): void {
    const err = MillraceError.from(thrown);
    const text = "the end of a topic's deletion cannot be recorded: trying again";
    this.#options.logger.warn({ err }, text);
  }

  /** Whether the metadata has a place for the log, or says that it goes. */
  #isExplained({ topicId, partition }: PartitionLog, snapshot: ClusterSnapshot): boolean {
    const { brokerId } = this.#options;
    const topic = snapshot.topicsById.get(topicId);
    if (topic === undefined) return snapshot.deletions.has(topicId);
    const view = topic.partitions[partition];
    // The record of the partition may not have arrived.
    if (view === undefined || view.replicas.includes(brokerId)) return true;
    return view.removed.some((one) => one.brokerId === brokerId);
  }

  async #delete(log: PartitionLog): Promise<void> {
    try {
      await this.#options.logs.delete(log.topicId, log.partition);
    } catch (thrown) {
      this.#undeletable.add(log.topicId);
      this.#options.logger.error(
        { topic: log.topic, partition: log.partition, err: MillraceError.from(thrown) },
        "a partition of a deleted topic cannot be deleted: check the disk, then restart",
      );
    }
  }

  async #acknowledge({ id, pendingBrokerIds }: DeletionView): Promise<void> {
    const { brokerId, deletionDone } = this.#options;
    if (!pendingBrokerIds.includes(brokerId) || this.#undeletable.has(id)) return;
    await deletionDone(id);
  }

  #reportUnexplained(topicId: TopicId, logs: readonly PartitionLog[]): void {
    if (this.#unexplained.has(topicId)) return;
    this.#unexplained.add(topicId);
    this.#options.logger.error(
      {
        topic: logs[0]?.topic,
        topic_id: topicId,
        partitions: logs.map(({ partition }) => partition).sort((a, b) => a - b),
        directories: `partitions/${topicId}-*`,
      },
      "partitions on the disk are none that the metadata gives to this broker, and are kept: " +
        "restore the metadata that knows them, or stop the server and remove their directories",
    );
  }
}
