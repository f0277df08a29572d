/**
 * Deletes the logs of replicas that were removed from this broker, against the entry in the record
 * of the partition alone. That this broker is not among the replicas is never a reason to delete:
 * the metadata may be an old backup. For the same reason the log must know nothing of the leader
 * epoch that began with the removal.
 */
import type { Logger } from "@millrace/env";
import { MillraceError } from "@millrace/errors";
import type { LogManager } from "@millrace/log";
import type { TopicId } from "@millrace/record";
import type { ClusterView } from "../metadata/view.ts";
import type { Creations } from "./creations.ts";
import type { Work } from "./serial-work.ts";

/** A replica that was removed, as its record says. */
export interface Removal {
  readonly topicId: TopicId;
  readonly topic: string;
  readonly partition: number;
  readonly leaderEpoch: number;
}

/** Reports that this broker has no logs of these partitions any more. */
export type RemovalsDone = (removals: readonly Removal[]) => Promise<void>;

export interface RemovalsOptions {
  readonly logger: Logger;
  readonly logs: Pick<LogManager, "get" | "delete">;
  readonly view: ClusterView;
  readonly brokerId: number;
  readonly creations: Pick<Creations, "settled">;
  readonly removalsDone: RemovalsDone;
}

/** Removals that one report names; the controller takes no more. */
const removalsPerReport = 1000;

const keyOf = ({ topicId, partition, leaderEpoch }: Removal): string =>
  `${topicId}#${partition}@${leaderEpoch}`;

export class Removals implements Work {
  readonly #options: RemovalsOptions;
  /** Removals whose log is kept; each is logged once, and looked at again after the next start. */
  readonly #kept = new Set<string>();

  constructor(options: RemovalsOptions) {
    this.#options = options;
  }

  /** Makes the disk follow the entries of now. One run at a time. */
  async run(): Promise<void> {
    const { creations, removalsDone } = this.#options;
    // A log that is being made is not among the logs yet.
    const topics = new Set([...this.#present()].map(({ topicId }) => topicId));
    for (const topicId of topics) await creations.settled(topicId);
    const done: Removal[] = [];
    for (const removal of [...this.#present()]) {
      if (await this.#delete(removal)) done.push(removal);
    }
    for (let at = 0; at < done.length; at += removalsPerReport) {
      await removalsDone(done.slice(at, at + removalsPerReport));
    }
  }

  failed(thrown: unknown): void {
    const err = MillraceError.from(thrown);
    const text = "the end of removed replicas cannot be recorded: trying again";
    this.#options.logger.warn({ err }, text);
  }

  /** Entries that name this broker. */
  *#present(): Iterable<Removal> {
    const { brokerId, view } = this.#options;
    for (const { id: topicId, name: topic, partitions } of view.current.topics.values()) {
      for (const { partition, removed, replicas } of partitions) {
        const entry = removed.find((one) => one.brokerId === brokerId);
        if (entry === undefined || replicas.includes(brokerId)) continue;
        yield { topicId, topic, partition, leaderEpoch: entry.leaderEpoch };
      }
    }
  }

  /** True once there is no log. */
  async #delete(removal: Removal): Promise<boolean> {
    const { logs } = this.#options;
    const { topicId, partition, leaderEpoch } = removal;
    // From here to the order to delete nothing is awaited: the replica may be added again.
    if (!this.#isPresent(removal)) return false;
    const log = logs.get(topicId, partition);
    if (log === undefined) return true;
    if (log.state.kind === "offline") {
      return this.#keep(removal, "it is offline, and what it has is not known");
    }
    if (log.leaderEpoch >= leaderEpoch) {
      return this.#keep(removal, `it has leader epoch ${log.leaderEpoch}: the metadata is older`);
    }
    try {
      await logs.delete(topicId, partition);
      return true;
    } catch (thrown) {
      return this.#keep(removal, MillraceError.from(thrown).message);
    }
  }

  #isPresent({ topicId, partition, leaderEpoch }: Removal): boolean {
    const { brokerId, view } = this.#options;
    const now = view.current.topicsById.get(topicId)?.partitions[partition];
    if (now === undefined || now.replicas.includes(brokerId)) return false;
    return now.removed.some((one) => one.brokerId === brokerId && one.leaderEpoch === leaderEpoch);
  }

  #keep(removal: Removal, why: string): false {
    const key = keyOf(removal);
    if (this.#kept.has(key)) return false;
    this.#kept.add(key);
    const { topicId, topic, partition, leaderEpoch } = removal;
    this.#options.logger.error(
      { topic, topic_id: topicId, partition, leader_epoch: leaderEpoch, why },
      "the log of a removed replica is kept: check it, then stop the server and remove its directory",
    );
    return false;
  }
}
