/**
 * One partition as this broker serves it. A view of the metadata is taken up synchronously: what it
 * ends has ended before any I/O that it begins. Whatever waited for I/O goes on only in the
 * generation that it began in.
 */
import type { TopicConfig } from "@millrace/config";
import type { MillraceError } from "@millrace/errors";
import type { AppendBatch, PartitionLog } from "@millrace/log";
import { Acks } from "@millrace/proto/common";
import type { TopicId } from "@millrace/record";
import type { PartitionView, TopicView } from "../metadata/view.ts";
import type { EpochFloors } from "./epoch-floors.ts";
import { type Append, Leader } from "./leader.ts";
import { logConfigOf } from "./log-config.ts";
import { refusals } from "./refusals.ts";
import type { Follower, ReplicaState } from "./replica-state.ts";

/** What all replicas of a broker share. */
export interface ReplicaContext {
  readonly brokerId: number;
  readonly epochFloors: EpochFloors;
  /** Hint for a partition that another broker leads. */
  readonly hint: (view: PartitionView) => MillraceError["leaderHint"];
}

const ignore = (): void => {};

export class Replica {
  readonly topic: string;
  readonly topicId: TopicId;
  readonly partition: number;
  readonly #context: ReplicaContext;
  #view: PartitionView;
  #config: TopicConfig;
  #state: ReplicaState = { kind: "none" };
  /** Rises with every change of epoch or role. */
  #generation = 0;
  #stopProgress = ignore;
  readonly #waiters = new Set<() => void>();

  constructor(context: ReplicaContext, topic: TopicView, view: PartitionView, config: TopicConfig) {
    this.#context = context;
    this.topic = topic.name;
    this.topicId = topic.id;
    this.partition = view.partition;
    this.#view = view;
    this.#config = config;
  }

  get name(): string {
    return `${this.topic}-${this.partition}`;
  }

  get view(): PartitionView {
    return this.#view;
  }

  get config(): TopicConfig {
    return this.#config;
  }

  get state(): ReplicaState {
    return this.#state;
  }

  /** Undefined while there is none. */
  get log(): PartitionLog | undefined {
    return "log" in this.#state ? this.#state.log : undefined;
  }

  /** `min.insync.replicas`, but never more than there are replicas. */
  get minInsyncReplicas(): number {
    return Math.min(this.#config["min.insync.replicas"], this.#view.replicas.length);
  }

  /**
   * Takes up a view. When epoch or role changed, the old leadership has ended when this returns,
   * and what waited for an acknowledgement has failed. True when `followView` has something to do.
   */
  take(view: PartitionView, config: TopicConfig): boolean {
    const before = this.#view;
    this.#view = view;
    if (config !== this.#config) {
      this.#config = config;
      this.log?.updateConfig(logConfigOf(config));
    }
    if (view.leader === before.leader && view.leaderEpoch === before.leaderEpoch) {
      this.#progress();
      return false;
    }
    this.#generation += 1;
    const state = this.#state;
    if (state.kind === "leader") {
      this.#state = { kind: "follower", log: state.log };
      state.end("lost its leader", this.#context.hint(view));
    }
    this.#wake();
    return this.#shouldLead();
  }

  /** Its log has been made or found. */
  opened(log: PartitionLog): void {
    if (this.#state.kind !== "none") return;
    log.updateConfig(logConfigOf(this.#config));
    this.#state = { kind: "follower", log };
    this.#stopProgress = log.onProgress(() => this.#progress());
    this.#progress();
  }

  /**
   * The I/O that the view asks for: records the leader epoch, then leads. The owner calls it once
   * at a time. Rejects as `PartitionLog.becomeLeader` does.
   */
  async followView(): Promise<void> {
    const state = this.#state;
    if (state.kind !== "follower" || !this.#shouldLead()) return;
    const { log } = state;
    if (log.state.kind !== "online") return;
    const generation = this.#generation;
    const epoch = this.#view.leaderEpoch;
    const startOffset = log.logEndOffset;
    try {
      await log.becomeLeader(epoch);
    } catch (thrown) {
      if (generation === this.#generation) throw thrown;
    }
    if (generation !== this.#generation) return;
    this.#state = new Leader(log, epoch, startOffset);
    this.#progress();
  }

  /**
   * This replica as a leader, under an epoch that the caller accepts; throws otherwise. Call it in
   * the synchronous section of a read or an append, and again after every wait.
   */
  requireLeader(expectedEpoch: number | undefined): Leader {
    const state = this.#state;
    if (state.kind !== "leader") throw this.#refusal(state);
    const { epoch } = state;
    if (expectedEpoch === undefined || expectedEpoch === epoch) return state;
    if (expectedEpoch > epoch) throw refusals.newerEpoch(this.name, expectedEpoch, epoch);
    throw refusals.oldEpoch(this.name, expectedEpoch, epoch, this.#context.hint(this.#view));
  }

  /**
   * Appends, and answers as `append.acks` asks, never within the call; acks none is not answered.
   * Throws, before any effect, as `requireLeader` and `PartitionLog.append` do, and
   * NOT_ENOUGH_REPLICAS for acks all. All of it is one synchronous section.
   */
  append(batch: AppendBatch, expectedEpoch: number | undefined, append: Append): void {
    const leader = this.requireLeader(expectedEpoch);
    if (append.acks === Acks.ALL && !this.#hasMinInsync()) {
      throw refusals.tooFewInSync(this.name, this.#view.isr.length, this.minInsyncReplicas);
    }
    leader.append(batch, append);
  }

  /** Calls `wake` once, after the next progress or change of role. Returns how to stop. */
  onceProgress(wake: () => void): () => void {
    this.#waiters.add(wake);
    return () => this.#waiters.delete(wake);
  }

  /** Ends it. The log stays with its manager. */
  close(): void {
    const state = this.#state;
    this.#generation += 1;
    this.#state = { kind: "closed" };
    this.#stopProgress();
    if (state.kind === "leader") state.end("was given up by its broker", undefined);
    this.#wake();
  }

  #hasMinInsync(): boolean {
    return this.#view.isr.length >= this.minInsyncReplicas;
  }

  #shouldLead(): boolean {
    const { brokerId, epochFloors } = this.#context;
    const { leader, leaderEpoch } = this.#view;
    return leader === brokerId && epochFloors.allows(this, leaderEpoch);
  }

  #refusal(state: Exclude<ReplicaState, Leader>): MillraceError {
    if (state.kind === "offline") return refusals.offline(this.name, state.reason);
    const { brokerId, hint } = this.#context;
    const { leader } = this.#view;
    if (leader !== undefined && leader !== brokerId) {
      return refusals.notLeader(this.name, brokerId, leader, hint(this.#view));
    }
    if (state.kind === "none") return refusals.notReady(this.name);
    return refusals.noLeader(this.name);
  }

  /** The log or the view has moved. */
  #progress(): void {
    const state = this.#state;
    if (state.kind === "leader" || state.kind === "follower") {
      const logState = state.log.state;
      if (logState.kind === "offline") this.#goOffline(state, logState.reason);
      else if (state.kind === "leader") state.progress(this.#hasMinInsync());
    }
    this.#wake();
  }

  #goOffline(from: Leader | Follower, reason: string): void {
    this.#generation += 1;
    this.#state = { kind: "offline", log: from.log, reason };
    if (from.kind === "leader") from.end("went offline", undefined);
  }

  #wake(): void {
    if (this.#waiters.size === 0) return;
    const waiters = [...this.#waiters];
    this.#waiters.clear();
    for (const wake of waiters) wake();
  }
}
