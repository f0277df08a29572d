/**
 * A log that was not closed cleanly leads only in a higher epoch than it knows. What the stop took
 * from it may be elsewhere: one epoch must not have two histories.
 */
import type { Logger } from "@millrace/env";
import type { LogManager } from "@millrace/log";
import type { TopicId } from "@millrace/record";

const keyOf = (topicId: TopicId, partition: number): string => `${topicId}#${partition}`;

/** What names a partition. */
interface Partition {
  readonly topicId: TopicId;
  readonly topic: string;
  readonly partition: number;
}

export class EpochFloors {
  readonly #logger: Logger;
  /** Latest leader epochs of the logs as they were opened after an unclean stop, else none. */
  readonly #epochs = new Map<string, number>();
  readonly #reported = new Set<string>();

  /** Call it before any of the logs leads. */
  constructor(logger: Logger, logs: Pick<LogManager, "partitions" | "recovery">) {
    this.#logger = logger;
    if (logs.recovery.clean) return;
    for (const { topicId, partition, leaderEpoch } of logs.partitions()) {
      this.#epochs.set(keyOf(topicId, partition), leaderEpoch);
    }
  }

  /** Latest leader epoch of the log as it was opened after an unclean stop, else 0. */
  floorOf({ topicId, partition }: Pick<Partition, "topicId" | "partition">): number {
    return this.#epochs.get(keyOf(topicId, partition)) ?? 0;
  }

  /** False for an epoch in which the partition must not lead; logged once per partition. */
  allows({ topicId, topic, partition }: Partition, leaderEpoch: number): boolean {
    if (this.#epochs.size === 0) return true;
    const key = keyOf(topicId, partition);
    const uncleanEpoch = this.#epochs.get(key);
    if (uncleanEpoch === undefined || leaderEpoch > uncleanEpoch) return true;
    if (this.#reported.has(key)) return false;
    this.#reported.add(key);
    this.#logger.error(
      { topic, partition, leader_epoch: leaderEpoch, log_leader_epoch: uncleanEpoch },
      "a partition does not lead: its log was not closed cleanly, and its leader epoch has not " +
        "risen since: restart the server, which raises it; if that does not help, the metadata is " +
        "older than the log: restore the newest backup",
    );
    return false;
  }
}
