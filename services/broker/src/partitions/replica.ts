/** One partition as this broker serves it: leadership over a log. */

import type { TopicConfig } from "@millrace/config";
import type { Clock, Logger } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { PartitionLog } from "@millrace/log";
import type { PartitionView, TopicView } from "../metadata/view.ts";

/** What a replica needs from its owner. */
export interface ReplicaContext {
  readonly brokerId: number;
  readonly clock: Clock;
  readonly logger: Logger;
  /** Hint for a partition that another broker leads. */
  readonly hint: (view: PartitionView) => MillraceError["leaderHint"];
}

/**
 * A replica. It leads when the metadata says so and its log has recorded the leader epoch. Whoever
 * reads or appends calls `requireLeader` in the same synchronous section.
 */
export class Replica {
  readonly log: PartitionLog;
  topic: TopicView;
  view: PartitionView;
  config: TopicConfig;
  /** Leader epoch under which this replica serves, or undefined while it does not lead. */
  leadingEpoch: number | undefined;
  readonly #context: ReplicaContext;
  readonly #stopProgress: () => void;
  readonly #waiters = new Set<() => void>();

  constructor(
    context: ReplicaContext,
    log: PartitionLog,
    topic: TopicView,
    view: PartitionView,
    config: TopicConfig,
  ) {
    this.#context = context;
    this.log = log;
    this.topic = topic;
    this.view = view;
    this.config = config;
    this.#stopProgress = log.onProgress(() => this.#progress());
  }

  /** `min.insync.replicas`, but never more than there are replicas. */
  get minInsyncReplicas(): number {
    return Math.min(this.config["min.insync.replicas"], this.view.replicas.length);
  }

  /** Applies a new view. The owner never calls it concurrently. */
  async apply(topic: TopicView, view: PartitionView, config: TopicConfig): Promise<void> {
    this.topic = topic;
    this.config = config;
    const leads = view.leader === this.#context.brokerId;
    this.view = view;
    if (!leads || view.leaderEpoch !== this.leadingEpoch) {
      this.leadingEpoch = undefined;
      this.#wake();
    }
    if (!leads || this.leadingEpoch !== undefined || this.log.state.kind !== "online") return;
    await this.log.becomeLeader(view.leaderEpoch);
    if (this.view !== view) return;
    this.leadingEpoch = view.leaderEpoch;
    this.#progress();
  }

  /** Throws unless this replica leads under an epoch that the caller accepts; returns the epoch. */
  requireLeader(expectedEpoch: number | undefined): number {
    const epoch = this.leadingEpoch;
    if (this.log.state.kind === "offline") {
      throw MillraceError.refusal(
        ErrorCode.PARTITION_OFFLINE,
        `${this.name} is offline: ${this.log.state.reason}: run millrace log verify on its directory`,
      );
    }
    if (epoch === undefined) throw this.#notLeader();
    if (expectedEpoch !== undefined && expectedEpoch < epoch) {
      throw MillraceError.refusal(
        ErrorCode.FENCED_LEADER_EPOCH,
        `leader epoch ${expectedEpoch} of ${this.name} is old, it is ${epoch}: refresh the metadata`,
        hintDetails(this.#context.hint(this.view)),
      );
    }
    if (expectedEpoch !== undefined && expectedEpoch > epoch) {
      throw MillraceError.refusal(
        ErrorCode.UNKNOWN_LEADER_EPOCH,
        `leader epoch ${expectedEpoch} of ${this.name} is newer than ${epoch}, which this broker knows: retry`,
      );
    }
    return epoch;
  }

  get name(): string {
    return `${this.topic.name}-${this.view.partition}`;
  }

  /** Calls `wake` once, after the next progress or change of role. Returns how to stop. */
  onceProgress(wake: () => void): () => void {
    this.#waiters.add(wake);
    return () => this.#waiters.delete(wake);
  }

  close(): void {
    this.leadingEpoch = undefined;
    this.#stopProgress();
    this.#wake();
  }

  #notLeader(): MillraceError {
    const leader = this.view.leader;
    if (leader === undefined || leader === this.#context.brokerId) {
      return MillraceError.refusal(
        ErrorCode.LEADER_NOT_AVAILABLE,
        `${this.name} has no leader at the moment: retry`,
      );
    }
    return MillraceError.refusal(
      ErrorCode.NOT_LEADER,
      `broker ${this.#context.brokerId} does not lead ${this.name}, broker ${leader} does`,
      hintDetails(this.#context.hint(this.view)),
    );
  }

  /**
   * A sole replica raises the high watermark to what its log has stored as the flush policy
   * demands.
   */
  #progress(): void {
    if (this.leadingEpoch !== undefined && this.view.isr.length >= this.minInsyncReplicas) {
      this.log.updateHighWatermark(this.log.ackedEndOffset);
    }
    this.#wake();
  }

  #wake(): void {
    if (this.#waiters.size === 0) return;
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const wake of waiters) wake();
  }
}

const hintDetails = (hint: MillraceError["leaderHint"]) =>
  hint === undefined ? {} : { leaderHint: hint };
