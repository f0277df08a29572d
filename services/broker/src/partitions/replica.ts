/**
 * One partition as this broker serves it. A view of the metadata is taken up synchronously: what it
 * ends has ended before any I/O that it begins. Whatever waited for I/O goes on only in the
 * generation that it began in.
 */
import type { TopicConfig } from "@millrace/config";
import type { Clock, Env } from "@millrace/env";
import { ErrorCode, hasCode, type MillraceError } from "@millrace/errors";
import type { AppendBatch, PartitionLog } from "@millrace/log";
import { groupStateTopic } from "@millrace/metadata";
import { Acks } from "@millrace/proto/common";
import type { TopicId } from "@millrace/record";
import type { KeyIndex } from "../latest/key-index.ts";
import type { PartitionView, TopicView } from "../metadata/view.ts";
import type { BrokerMetrics } from "../metrics.ts";
import type { Followers } from "../replication/followers.ts";
import type { LedPartition } from "../replication/leader-session.ts";
import type { PartitionMeter } from "../topic-meters.ts";
import type { EpochFloors } from "./epoch-floors.ts";
import { Following } from "./following.ts";
import {
  type ChangeOutcome,
  type InSyncReplica,
  InSyncReplicas,
  type InSyncView,
} from "./in-sync.ts";
import type { ChangingPartition, InSyncChanges, LeaderChange } from "./in-sync-changes.ts";
import { type Append, Leader } from "./leader.ts";
import { isCompacted, logConfigOf } from "./log-config.ts";
import { refusals } from "./refusals.ts";
import type { Follower, ReplicaState } from "./replica-state.ts";

/** What all replicas of a broker share. */
export interface ReplicaContext {
  readonly clock: Pick<Clock, "monoMs">;
  readonly sim: Env["sim"];
  readonly brokerId: number;
  /** Epoch of this broker's registration. */
  readonly brokerEpoch: () => number;
  /** Epoch of a broker's registration, as the view has it; undefined while it is fenced. */
  readonly registered: (brokerId: number) => number | undefined;
  readonly epochFloors: EpochFloors;
  readonly followers: Pick<Followers, "follow" | "unfollow">;
  readonly changes: Pick<InSyncChanges, "add" | "look" | "remove">;
  /** A follower that has not caught up for this long leaves the in-sync replicas, ms. */
  readonly lagMaxMs: number;
  readonly meterOf: BrokerMetrics["meterOf"];
  /** Begins an index of the keys of a log that this broker leads; see `KeyIndex`. */
  readonly keyIndexOf: (log: PartitionLog, moved: () => void) => KeyIndex;
  /** Hint for a partition that another broker leads. */
  readonly hint: (view: PartitionView) => MillraceError["leaderHint"];
}

const ignore = (): void => {};
const closed: ReplicaState = { kind: "closed" };

const wakeAll = (waiting: Set<() => void>): void => {
  const waiters = [...waiting];
  waiting.clear();
  for (const wake of waiters) wake();
};

export class Replica implements LedPartition, ChangingPartition {
  readonly topic: string;
  readonly topicId: TopicId;
  readonly partition: number;
  /** Counts what clients do with it. */
  readonly meter: PartitionMeter;
  readonly #context: ReplicaContext;
  #view: PartitionView;
  #config: TopicConfig;
  #state: ReplicaState = { kind: "none" };
  /** Its log was damaged before this process began. */
  #isFoundDamaged = false;
  /** Rises with every change of epoch or role. */
  #generation = 0;
  /** Epoch in which this process has begun to lead, last. */
  #claimedEpoch = 0;
  /** Asks the controller for something without being a leader. */
  #isAsking = false;
  #stopProgress = ignore;
  readonly #following: Following;
  readonly #waiters = new Set<() => void>();
  /** Sessions of followers: they want to know of appends, too. */
  readonly #appendWaiters = new Set<() => void>();

  constructor(context: ReplicaContext, topic: TopicView, view: PartitionView, config: TopicConfig) {
    this.#context = context;
    this.#following = new Following(context.followers);
    this.topic = topic.name;
    this.topicId = topic.id;
    this.partition = view.partition;
    this.meter = context.meterOf(topic.id, topic.name, view.partition);
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

  /**
   * `min.insync.replicas`, but never more than there are replicas. Those that a reassignment adds
   * do not count before it is over: the controller decides by the same number.
   */
  get minInsyncReplicas(): number {
    const { adding, replicas } = this.#view;
    return Math.min(this.#config["min.insync.replicas"], replicas.length - adding.length);
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
      if (this.#state.kind === "leader") this.#indexKeys(this.#state);
    }
    const isSameTerm =
      view.leader === before.leader &&
      view.leaderEpoch === before.leaderEpoch &&
      // A restored backup: what was in sync since then is not known any more.
      view.modRevision >= before.modRevision;
    if (isSameTerm) {
      this.registrationsChanged();
      // A reassignment gives followers to a partition that had none.
      const hasFollowers = before.replicas.length === 1 && view.replicas.length > 1;
      if (hasFollowers && this.#state.kind === "leader") this.#context.changes.add(this);
      return this.isToBeCopiedAnew;
    }
    this.#generation += 1;
    const state = this.#state;
    if (state.kind === "leader")
      this.#resign(state, { kind: "follower", log: state.log }, "lost its leader");
    else this.#following.end();
    this.#askNoMore();
    if (this.#isUnfit) this.#ask();
    this.#wake();
    return this.#isElected() || this.#shouldFollow();
  }

  /** The record of the partition, or the registration of a broker, is another one. */
  registrationsChanged(): void {
    const state = this.#state;
    if (state.kind === "leader") {
      state.inSync.take(this.#inSyncView());
      this.#context.changes.look(this);
    }
    this.#progress();
  }

  /** Its log has been made or found. */
  opened(log: PartitionLog): void {
    if (this.#state.kind !== "none") return;
    this.#isFoundDamaged = log.state.kind === "offline";
    log.updateConfig(logConfigOf(this.#config));
    this.#state = { kind: "follower", log };
    this.#stopProgress = log.onProgress(() => this.#progress());
    this.#progress();
  }

  /**
   * Whether its log is damaged, and not needed: it counts for nothing, and a leader has everything.
   * Damage that this process meets later waits for the next one: its leader believes what it has
   * reported durable until the registration ends.
   */
  get isToBeCopiedAnew(): boolean {
    if (this.#state.kind !== "offline" || !this.#isFoundDamaged) return false;
    const { brokerEpoch, brokerId, registered } = this.#context;
    // An earlier view may not have it in sync yet.
    const isRecent = registered(brokerId) === brokerEpoch();
    return isRecent && this.#shouldFollow() && !this.#countsAsComplete();
  }

  /** The damaged log is deleted: another one is to be made. */
  discarded(): void {
    if (this.#state.kind !== "offline") return;
    this.#stopProgress();
    this.#state = { kind: "none" };
  }

  /**
   * What the view asks for: records the leader epoch, then leads; or follows who leads. The owner
   * calls it once at a time. Rejects as `PartitionLog.becomeLeader` does.
   */
  async followView(): Promise<void> {
    const generation = this.#generation;
    // Where its log ends is not known before.
    const { cutting } = this.#following;
    if (cutting !== undefined) await cutting;
    if (generation !== this.#generation) return;
    const state = this.#state;
    if (state.kind !== "follower" || state.log.state.kind !== "online") return;
    if (this.#isElected()) {
      const mayLead = this.#shouldLead() && !this.#knowsEpoch(state.log);
      if (mayLead) await this.#lead(state.log, generation);
      else this.#ask();
    } else if (this.#shouldFollow()) this.#follow(state.log);
  }

  async #lead(log: PartitionLog, generation: number): Promise<void> {
    const epoch = this.#view.leaderEpoch;
    const startOffset = log.logEndOffset;
    this.#claimedEpoch = epoch;
    try {
      await log.becomeLeader(epoch);
    } catch (thrown) {
      if (generation === this.#generation) throw thrown;
    }
    if (generation !== this.#generation) return;
    const { brokerId, changes, clock, sim } = this.#context;
    const inSync = new InSyncReplicas(brokerId, startOffset, this.#inSyncView(), clock.monoMs());
    const told = (error: Error): Error =>
      this.#isPassing(error)
        ? refusals.leadershipLost(this.name, epoch, "lost the disk of its leader", undefined)
        : error;
    const leader = new Leader(log, epoch, startOffset, inSync, told);
    this.#state = leader;
    this.#indexKeys(leader);
    sim?.sometimes("broker: a partition has a new leader");
    if (this.#view.replicas.length > 1) changes.add(this);
    this.#progress();
  }

  /**
   * A leader has an index of its keys while the topic is compacted. Coordinators have all of theirs
   * in memory.
   */
  #indexKeys(leader: Leader): void {
    const make = (): KeyIndex => this.#context.keyIndexOf(leader.log, () => this.#wake());
    const isIndexed = isCompacted(this.#config) && this.topic !== groupStateTopic;
    leader.useKeyIndex(isIndexed ? make : undefined);
  }

  #follow(log: PartitionLog): void {
    const { leader, leaderEpoch, uncleanLeaderEpoch } = this.#view;
    if (leader === undefined) return;
    const { partition, topicId } = this;
    const epochs = { leaderEpoch, uncleanLeaderEpoch };
    const rebuild = (startOffset: number): Promise<void> => this.#rebuild(log, startOffset);
    this.#following.begin(leader, { topicId, partition, ...epochs, log, rebuild });
  }

  /**
   * Begins anew at the leader's log start. A replica that counts as complete does not: its records
   * may be all that is left.
   */
  async #rebuild(log: PartitionLog, startOffset: number): Promise<void> {
    if (this.#countsAsComplete()) throw refusals.countsAsComplete(this.name, startOffset);
    await log.resetTo(startOffset);
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
   * Throws, before any effect, as `requireLeader`, `Leader.append` and `PartitionLog.append` do,
   * and NOT_ENOUGH_REPLICAS for acks all. All of it is one synchronous section.
   */
  append(batch: AppendBatch, expectedEpoch: number | undefined, append: Append): void {
    const leader = this.requireLeader(expectedEpoch);
    if (append.acks === Acks.ALL && !this.#hasMinInsync()) {
      throw refusals.tooFewInSync(this.name, this.#view.isr.length, this.minInsyncReplicas);
    }
    try {
      leader.append(batch, append);
    } catch (thrown) {
      throw this.#isPassing(thrown) ? refusals.resigns(this.name) : thrown;
    }
    if (this.#appendWaiters.size > 0) wakeAll(this.#appendWaiters);
  }

  /** Calls `wake` once, after the next progress or change of role. Returns how to stop. */
  onceProgress(wake: () => void): () => void {
    this.#waiters.add(wake);
    return () => this.#waiters.delete(wake);
  }

  /** Of `LedPartition`. */
  onceMoved(wake: () => void): () => void {
    this.#appendWaiters.add(wake);
    return () => this.#appendWaiters.delete(wake);
  }

  /** Of `LedPartition`. */
  durable(follower: InSyncReplica, endOffset: number): boolean {
    const state = this.#state;
    if (state.kind !== "leader") return false;
    const { inSync, log } = state;
    const nowMs = this.#context.clock.monoMs();
    if (!inSync.report(follower, endOffset, log.logEndOffset, nowMs)) return false;
    state.progress(this.#hasMinInsync());
    if (!inSync.isMember(follower)) this.#context.changes.look(this);
    return true;
  }

  /** Of `LedPartition`. */
  isInSync(follower: InSyncReplica): boolean {
    return this.#state.kind === "leader" && this.#state.inSync.isMember(follower);
  }

  /** Of `ChangingPartition`. */
  beginChange(): LeaderChange | undefined {
    const state = this.#state;
    if (this.#isUnfit) return this.#resignation();
    if (state.kind === "follower") return this.#higherEpoch(state.log);
    if (state.kind !== "leader") return undefined;
    const { epoch: leaderEpoch, inSync, log } = state;
    const { clock, lagMaxMs } = this.#context;
    const change = inSync.due(log.highWatermark, log.logEndOffset, lagMaxMs, clock.monoMs());
    if (change === undefined) return undefined;
    inSync.begin(change);
    return { leaderEpoch, change };
  }

  /** Of `ChangingPartition`. */
  endChange({ change, leaderEpoch, resigns }: LeaderChange, outcome: ChangeOutcome): void {
    const state = this.#state;
    // The view tells.
    if (resigns === true) return;
    if (state.kind !== "leader" || state.epoch !== leaderEpoch) return;
    state.inSync.end(change, outcome);
    this.#progress();
  }

  /** Ends it. The log stays with its manager. */
  close(): void {
    const state = this.#state;
    this.meter.close();
    this.#generation += 1;
    this.#state = closed;
    this.#stopProgress();
    if (state.kind === "leader") this.#resign(state, closed, "was given up by its broker");
    else this.#following.end();
    this.#askNoMore();
    this.#wake();
  }

  /** Resolves when nothing cuts its log any more, after `close`; undefined when nothing does. */
  get cutting(): Promise<void> | undefined {
    return this.#following.cutting;
  }

  #countsAsComplete(): boolean {
    const { brokerId } = this.#context;
    const { elr, isr } = this.#view;
    return isr.includes(brokerId) || elr.includes(brokerId);
  }

  #hasMinInsync(): boolean {
    return this.#view.isr.length >= this.minInsyncReplicas;
  }

  #shouldLead(): boolean {
    return this.#isElected() && this.#context.epochFloors.allows(this, this.#view.leaderEpoch);
  }

  /** Only under the registration that the epoch was given to: an earlier process may have led. */
  #isElected(): boolean {
    const { brokerEpoch, brokerId } = this.#context;
    const { isr, isrBrokerEpochs, leader } = this.#view;
    const elected = isrBrokerEpochs[isr.indexOf(brokerId)] ?? 0;
    return leader === brokerId && elected >= brokerEpoch();
  }

  /** Whether it is the leader, and its log takes no appends before the next start. */
  get #isUnfit(): boolean {
    const { log } = this;
    return log !== undefined && log.state.kind !== "online" && this.#isElected();
  }

  /** Undefined while nobody else is complete: then nobody could lead instead. */
  #resignation(): LeaderChange | undefined {
    const { brokerId, registered } = this.#context;
    const { elr } = this.#view;
    const { isr, modRevision } = this.#inSyncView();
    const others = isr.filter(
      (one) => one.brokerId !== brokerId && registered(one.brokerId) === one.brokerEpoch,
    );
    const isEligible = (id: number): boolean => id !== brokerId && registered(id) !== undefined;
    if (others.length === 0 && !elr.some(isEligible)) return undefined;
    const { leaderEpoch } = this.#view;
    return { leaderEpoch, change: { isr: others, modRevision }, resigns: true };
  }

  /** Whether a failure of the log is over for clients once another broker leads. */
  #isPassing(thrown: unknown): boolean {
    const { PARTITION_OFFLINE, STORAGE_ERROR } = ErrorCode;
    const isOfTheDisk = hasCode(thrown, STORAGE_ERROR) || hasCode(thrown, PARTITION_OFFLINE);
    return isOfTheDisk && this.#isElected() && this.#resignation() !== undefined;
  }

  /**
   * Whether the epoch was another leader's, or that of an earlier process: the metadata were
   * restored from a backup, or the disk is older than it should be. One epoch has one history.
   */
  #knowsEpoch(log: PartitionLog): boolean {
    const { leaderEpoch } = this.#view;
    if (this.#latestEpoch(log) > leaderEpoch) return true;
    if (this.#context.epochFloors.floorOf(this) === leaderEpoch) return true;
    return log.leaderEpoch === leaderEpoch && this.#claimedEpoch !== leaderEpoch;
  }

  #higherEpoch(log: PartitionLog): LeaderChange | undefined {
    if (!this.#isElected() || !this.#knowsEpoch(log)) return undefined;
    const { isr, modRevision } = this.#inSyncView();
    const { leaderEpoch } = this.#view;
    return { leaderEpoch, change: { isr, modRevision }, knownLeaderEpoch: this.#latestEpoch(log) };
  }

  /** What it was opened with counts, too: a cut may have taken it. */
  #latestEpoch(log: PartitionLog): number {
    return Math.max(log.leaderEpoch, this.#context.epochFloors.floorOf(this));
  }

  /** Asks for what only another record can give, and again until there is one. */
  #ask(): void {
    if (this.#isAsking) return;
    this.#isAsking = true;
    this.#context.changes.add(this);
  }

  #askNoMore(): void {
    if (!this.#isAsking) return;
    this.#isAsking = false;
    this.#context.changes.remove(this);
  }

  #shouldFollow(): boolean {
    const { leader } = this.#view;
    return leader !== undefined && leader !== this.#context.brokerId;
  }

  #inSyncView(): InSyncView {
    const { isr, isrBrokerEpochs, modRevision, replicas } = this.#view;
    const members = isr.map((brokerId, i) => ({ brokerId, brokerEpoch: isrBrokerEpochs[i] ?? 0 }));
    return { modRevision, replicas, isr: members, registered: this.#context.registered };
  }

  /** The leadership is over, and what waits for an acknowledgement fails. */
  #resign(from: Leader, to: ReplicaState, why: string): void {
    this.#state = to;
    this.#context.changes.remove(this);
    from.end(why, to.kind === "follower" ? this.#context.hint(this.#view) : undefined);
  }

  #refusal(state: Exclude<ReplicaState, Leader>): MillraceError {
    if (state.kind === "offline") {
      const offline = refusals.offline(this.name, state.reason);
      return this.#isPassing(offline) ? refusals.resigns(this.name) : offline;
    }
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
      else if (state.kind === "leader") {
        state.progress(this.#hasMinInsync());
        if (logState.kind === "stopped") this.#context.changes.look(this);
      }
    }
    this.#wake();
  }

  #goOffline(from: Leader | Follower, reason: string): void {
    this.#generation += 1;
    const offline: ReplicaState = { kind: "offline", log: from.log, reason };
    if (from.kind === "leader") this.#resign(from, offline, "went offline");
    else {
      this.#following.end();
      this.#state = offline;
    }
    if (this.#isUnfit) this.#ask();
  }

  #wake(): void {
    if (this.#appendWaiters.size > 0) wakeAll(this.#appendWaiters);
    if (this.#waiters.size > 0) wakeAll(this.#waiters);
  }
}
