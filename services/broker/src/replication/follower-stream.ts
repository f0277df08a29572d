/**
 * What a broker follows of one leader: one stream for all partitions between the two. It subscribes
 * where its logs end, appends what comes, and says how far that is durable. When the stream breaks
 * it begins anew, and nothing that was appended is lost by that.
 */
import type { Clock, Logger, Random } from "@millrace/env";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import type { LogManager, PartitionLog } from "@millrace/log";
import {
  blankReplicateRequest,
  type TopicId,
  topicIdBytes,
  type WireReplicaAppend,
  type WireReplicaDivergence,
  type WireReplicaRefusal,
  type WireReplicateOpened,
  type WireReplicateRequest,
  type WireReplicateResponse,
} from "@millrace/record";
import { type Channel, type ClientStream, replicateMethod } from "@millrace/rpc";
import { RetryPause } from "../retry-pause.ts";
import { StreamRetries } from "../stream-retries.ts";
import { endOf, hasEmptyEpoch, type Repair, repairOf } from "./agreement.ts";
import { FollowFailures } from "./follow-failures.ts";
import { replicationLimits as limits } from "./replication-limits.ts";

/** A partition that is followed under one leader epoch. */
export interface FollowedPartition {
  readonly topicId: TopicId;
  readonly partition: number;
  readonly leaderEpoch: number;
  /** Of the last unclean election; 0: there was none. */
  readonly uncleanLeaderEpoch: number;
  readonly log: PartitionLog;
  /**
   * Nothing that the log has can be followed by what the leader has, which begins here: empties the
   * log. Rejects where it must not.
   */
  rebuild(startOffset: number): Promise<void>;
}

export interface FollowerContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly logs: Pick<LogManager, "waitForPendingRoom">;
  readonly identity: { readonly clusterId: string; readonly brokerId: number };
  /** Epoch of this broker's registration. */
  readonly brokerEpoch: () => number;
}

type Stream = ClientStream<WireReplicateRequest, WireReplicateResponse>;

type FollowedState =
  /** Its log is made ready, or it waits to be tried again. */
  | { readonly kind: "idle" }
  | { readonly kind: "subscribed"; readonly id: number; reportedEnd: number }
  | { readonly kind: "over" };

interface Followed {
  readonly partition: FollowedPartition;
  state: FollowedState;
  failures: number;
  /** Rises when it is made ready anew: what waits for its log then gives up. */
  attempt: number;
  /** A truncation of its log that is under way, or its rebuilding. Never rejects. */
  cutting: Promise<void> | undefined;
  stopProgress: () => void;
  cancelRetry: () => void;
  /** Where the leader's log begins, as it has told last. */
  leaderStart: number;
  isMovingStart: boolean;
  /** All below is committed, and deleted at the leader: it asks for what follows. 0: nothing. */
  keptEnd: number;
}

const idle: FollowedState = { kind: "idle" };
const over: FollowedState = { kind: "over" };

/** Longest pause after failures, ms: of the stream, and of a partition. */
const pauseMsMax = 2_000;
/** Longest wait for the answer to an opening, ms. */
const openTimeoutMs = 5_000;
/** Heartbeats that may be missed before the leader is taken for dead. */
const heartbeatsMissedMax = 3;

/** What names a partition. */
export type PartitionName = Pick<FollowedPartition, "partition" | "topicId">;

const keyOf = ({ partition, topicId }: PartitionName): string => `${topicId}#${partition}`;

export class FollowerStream {
  readonly #context: FollowerContext;
  readonly #leaderId: number;
  readonly #dial: () => Channel;
  readonly #retries: StreamRetries;
  /** Of a partition. */
  readonly #pause: RetryPause;
  readonly #failures: FollowFailures;
  readonly #followed = new Map<string, Followed>();
  readonly #byId = new Map<number, Followed>();
  readonly #unsubscribe: number[] = [];
  readonly #dirty = new Set<Followed>();
  readonly #ready = new Set<Followed>();
  #stream: Stream | undefined;
  /** Epoch of this broker's registration when the stream was opened. */
  #openedEpoch = 0;
  #nextId = 1;
  #returnedBytes = 0;
  #windowBytes = 0;
  #isSaying = false;
  #cancelSilence: () => void = () => {};
  /** Ends the stream, also while it is being opened. */
  #endAttempt: () => void = () => {};
  readonly #done: Promise<void>;

  /** `dial` opens a channel to the leader; each attempt takes a new one, and closes it. */
  constructor(context: FollowerContext, leaderId: number, dial: () => Channel) {
    this.#context = context;
    this.#leaderId = leaderId;
    this.#dial = dial;
    const { clock, logger, random } = context;
    const pauses = { clock, random, pauseMsMax };
    this.#pause = new RetryPause(pauses);
    this.#failures = new FollowFailures({ clock, logger }, leaderId);
    this.#retries = new StreamRetries({
      ...pauses,
      attempt: (opened) => this.#attempt(opened),
      onFailure: (err) => {
        logger.warn({ leader: leaderId, err }, "a leader cannot be followed: trying again");
      },
    });
    this.#done = this.#retries.run();
  }

  /** Follows a partition from here on, in place of what was followed of it under another epoch. */
  follow(partition: FollowedPartition): void {
    const cutting = this.unfollow(partition);
    const followed: Followed = {
      ...{ partition, state: idle, failures: 0, attempt: 0, cutting },
      ...{ leaderStart: 0, isMovingStart: false, keptEnd: 0 },
      stopProgress: () => {},
      cancelRetry: () => {},
    };
    this.#followed.set(keyOf(partition), followed);
    followed.stopProgress = partition.log.onProgress(() => this.#moved(followed));
    void this.#prepare(followed);
  }

  /**
   * Nothing is appended to it any more when this returns. What cuts its log may go on until the
   * promise resolves, which never rejects; undefined when nothing does.
   */
  unfollow(partition: PartitionName): Promise<void> | undefined {
    const key = keyOf(partition);
    const followed = this.#followed.get(key);
    if (followed === undefined) return undefined;
    this.#followed.delete(key);
    this.#end(followed);
    followed.state = over;
    followed.stopProgress();
    return followed.cutting;
  }

  /** Partitions that are followed. */
  get size(): number {
    return this.#followed.size;
  }

  async close(): Promise<void> {
    const cuts = [...this.#followed.values()].map(({ partition }) => this.unfollow(partition));
    this.#retries.stop();
    this.#failures.close();
    this.#endAttempt();
    await Promise.all([this.#done, ...cuts]);
  }

  /** One stream, from its opening to its end. */
  async #attempt(opened: () => void): Promise<void> {
    // A connection that is dead without a word would be found out by pings, much later.
    const channel = this.#dial();
    const stream = channel.bidi(replicateMethod);
    this.#endAttempt = () => stream.cancel();
    try {
      await this.#open(stream);
      opened();
      await this.#listen(stream);
    } finally {
      this.#closed(stream);
      channel.close();
    }
  }

  async #open(stream: Stream): Promise<void> {
    const { brokerEpoch, clock, identity } = this.#context;
    this.#openedEpoch = brokerEpoch();
    const open = {
      ...{ clusterId: identity.clusterId, brokerId: identity.brokerId },
      ...{ brokerEpoch: this.#openedEpoch, leaderBrokerId: this.#leaderId },
      ...{ windowBytes: 0, requiredFeatures: [] },
    };
    stream.write({ ...blankReplicateRequest, open });
    const late = new MillraceError(
      ErrorCode.DEADLINE_EXCEEDED,
      `broker ${this.#leaderId} has not answered within ${openTimeoutMs} ms`,
    );
    const cancel = clock.timer(openTimeoutMs, () => stream.cancel(late));
    const first = await stream.read().finally(cancel);
    if (first?.opened === undefined) {
      const text = `broker ${this.#leaderId} ended the stream, or answered without opened`;
      throw new MillraceError(ErrorCode.STREAM_PROTOCOL_VIOLATION, text);
    }
    this.#opened(stream, first.opened);
  }

  #opened(stream: Stream, { heartbeatIntervalMs, windowBytes }: WireReplicateOpened): void {
    this.#stream = stream;
    this.#windowBytes = windowBytes;
    const silenceMs = heartbeatIntervalMs * heartbeatsMissedMax;
    const hear = (): void => {
      this.#cancelSilence();
      this.#cancelSilence = this.#context.clock.timer(silenceMs, () => {
        const text = `broker ${this.#leaderId} has been silent for ${silenceMs} ms`;
        stream.cancel(new MillraceError(ErrorCode.UNAVAILABLE, text));
      });
    };
    hear();
    this.#hear = hear;
    for (const followed of this.#followed.values()) void this.#prepare(followed);
  }

  #hear: () => void = () => {};

  async #listen(stream: Stream): Promise<void> {
    for (;;) {
      const message = stream.tryRead() ?? (await stream.read());
      if (message === undefined) return;
      this.#checkRegistration(stream);
      // The leader is not silent while this broker does not listen.
      this.#cancelSilence();
      for (const append of message.appends) await this.#append(append);
      for (const divergence of message.diverge) this.#diverged(divergence);
      for (const refusal of message.refuse) this.#refused(refusal);
      this.#hear();
    }
  }

  /** What this broker has counts under its present registration alone. */
  #checkRegistration(stream: Stream): void {
    if (this.#context.brokerEpoch() === this.#openedEpoch) return;
    const text = "this broker has registered anew, and opens its streams again";
    const reason = MillraceError.refusal(ErrorCode.STALE_BROKER_EPOCH, text);
    stream.cancel(reason);
    throw reason;
  }

  #closed(stream: Stream): void {
    this.#cancelSilence();
    this.#stream = undefined;
    stream.cancel();
    this.#byId.clear();
    this.#unsubscribe.length = 0;
    this.#dirty.clear();
    this.#ready.clear();
    this.#returnedBytes = 0;
    for (const followed of this.#followed.values()) {
      followed.cancelRetry();
      followed.state = idle;
    }
  }

  /** Makes a log ready to follow, and asks for a subscription. Never rejects. */
  async #prepare(followed: Followed): Promise<void> {
    const { log } = followed.partition;
    if (this.#stream === undefined) return;
    followed.attempt += 1;
    const { attempt } = followed;
    // Where it ends is not known before.
    await followed.cutting;
    if (followed.attempt !== attempt || this.#stream === undefined) return;
    if (followed.state !== idle) return;
    if (hasEmptyEpoch(log)) {
      this.#cut(followed, () => log.truncateTo(log.logEndOffset));
      return;
    }
    this.#ready.add(followed);
    this.#saySoon();
  }

  /** Cuts its log, and makes it ready again. */
  #cut(followed: Followed, cut: () => Promise<void>): void {
    const cutting = cut().then(
      () => {
        followed.cutting = undefined;
        void this.#prepare(followed);
      },
      (thrown: unknown) => {
        followed.cutting = undefined;
        this.#retryLater(followed, thrown);
      },
    );
    followed.cutting = cutting;
  }

  async #append(append: WireReplicaAppend): Promise<void> {
    const { batches, highWatermark, logStartOffset, subscriptionId } = append;
    for (const { length } of batches) this.#returnedBytes += length;
    const followed = this.#byId.get(subscriptionId);
    try {
      for (const chunk of batches) await this.#appendChunk(subscriptionId, chunk);
      // It may have ended meanwhile.
      if (followed === undefined || this.#byId.get(subscriptionId) !== followed) return;
      const { log } = followed.partition;
      log.updateHighWatermark(Math.min(highWatermark, log.logEndOffset));
      followed.leaderStart = logStartOffset;
      this.#moveStart(followed);
      followed.failures = 0;
    } catch (thrown) {
      if (followed !== undefined) this.#retryLater(followed, thrown);
    } finally {
      if (this.#returnsMuch) this.#saySoon();
    }
  }

  /** More than what goes along with the next report. */
  get #returnsMuch(): boolean {
    return this.#returnedBytes > this.#windowBytes / 4;
  }

  async #appendChunk(id: number, chunk: Uint8Array): Promise<void> {
    for (;;) {
      const followed = this.#byId.get(id);
      if (followed === undefined) return;
      const { leaderEpoch, log } = followed.partition;
      try {
        log.appendReplicated(chunk, leaderEpoch, () => {});
        return;
      } catch (thrown) {
        if (!hasCode(thrown, ErrorCode.ADMISSION_REJECTED)) throw thrown;
        await this.#context.logs.waitForPendingRoom();
      }
    }
  }

  /** Follows a log start that the leader has moved on. */
  #moveStart(followed: Followed): void {
    const { isMovingStart, leaderStart, partition, state } = followed;
    const { log } = partition;
    const isDue = leaderStart > log.logStartOffset && leaderStart <= log.highWatermark;
    if (!isDue || isMovingStart || state === over) return;
    followed.isMovingStart = true;
    log.advanceLogStart(leaderStart).then(
      () => {
        followed.isMovingStart = false;
        // It may have moved on meanwhile.
        if (followed.leaderStart > leaderStart) this.#moveStart(followed);
      },
      (thrown: unknown) => {
        followed.isMovingStart = false;
        this.#context.logger.warn({ err: thrown }, "a log start cannot be moved yet");
      },
    );
  }

  #diverged({ subscriptionId, ...divergence }: WireReplicaDivergence): void {
    const followed = this.#byId.get(subscriptionId);
    if (followed === undefined) return;
    this.#end(followed);
    const { log, partition, topicId, uncleanLeaderEpoch } = followed.partition;
    // The command of an unclean election was that what is committed may go.
    const isOlder = log.leaderEpoch < uncleanLeaderEpoch;
    const repair = repairOf(log, divergence, isOlder ? undefined : log.highWatermark);
    this.#context.logger.info(
      { topic_id: topicId, partition, end: log.logEndOffset, ...divergence, repair: repair.kind },
      "a log differs from its leader's",
    );
    if (repair.offset < log.highWatermark) {
      if (!isOlder) {
        this.#retryLater(followed, losesCommitted(this.#leaderId, repair, log));
        return;
      }
      this.#context.logger.warn(
        { topic_id: topicId, partition, from: repair.offset, high_watermark: log.highWatermark },
        "committed records are cut: the leader was elected without them, by command",
      );
    }
    const { offset } = repair;
    followed.keptEnd = repair.kind === "keep" ? offset : 0;
    if (repair.kind === "keep" && offset === log.logEndOffset) {
      void this.#prepare(followed);
      return;
    }
    this.#cut(followed, () =>
      repair.kind === "rebuild" ? followed.partition.rebuild(offset) : log.truncateTo(offset),
    );
  }

  #refused({ error, subscriptionId }: WireReplicaRefusal): void {
    const followed = this.#byId.get(subscriptionId);
    if (followed === undefined) return;
    const text = error?.message ?? "it does not say why";
    this.#retryLater(followed, new MillraceError(error?.code ?? ErrorCode.INTERNAL, text));
  }

  /** Subscribes again after a pause. */
  #retryLater(followed: Followed, thrown: unknown): void {
    this.#end(followed);
    if (followed.state !== idle) return;
    const { partition, topicId } = followed.partition;
    if (followed.failures === 0) this.#failures.add({ topicId, partition }, thrown);
    const ms = this.#pause.msAfter(followed.failures);
    followed.failures += 1;
    followed.cancelRetry();
    followed.cancelRetry = this.#context.clock.timer(ms, () => void this.#prepare(followed));
  }

  /** Its subscription is over, if it has one. */
  #end(followed: Followed): void {
    const { state } = followed;
    followed.cancelRetry();
    this.#ready.delete(followed);
    this.#dirty.delete(followed);
    if (state.kind !== "subscribed") return;
    this.#byId.delete(state.id);
    this.#unsubscribe.push(state.id);
    followed.state = idle;
    this.#saySoon();
  }

  /** The log is durable further than before, perhaps. */
  #moved(followed: Followed): void {
    const { partition, state } = followed;
    if (state.kind !== "subscribed" || partition.log.ackedEndOffset <= state.reportedEnd) return;
    this.#dirty.add(followed);
    this.#saySoon();
  }

  /**
   * In the same turn, at whose end HTTP/2 writes: one message for everything that one sync of the
   * disk covered.
   */
  #saySoon(): void {
    if (this.#isSaying || this.#stream === undefined) return;
    this.#isSaying = true;
    void Promise.resolve().then(() => this.#say());
  }

  /** Never rejects. */
  async #say(): Promise<void> {
    for (;;) {
      const stream = this.#stream;
      const message = stream === undefined ? undefined : this.#message();
      if (message === undefined) break;
      if (stream?.write(message) === false) await stream.drained();
    }
    this.#isSaying = false;
  }

  #message(): WireReplicateRequest | undefined {
    const unsubscribe = this.#unsubscribe.splice(0, limits.changesPerMessage);
    const ready = [...this.#ready].slice(0, limits.changesPerMessage);
    for (const followed of ready) this.#ready.delete(followed);
    const subscribe = ready.map((followed) => this.#subscribe(followed));
    const durable = [...this.#dirty].flatMap(({ partition, state }) => {
      if (state.kind !== "subscribed") return [];
      state.reportedEnd = partition.log.ackedEndOffset;
      return { subscriptionId: state.id, durableEndOffset: state.reportedEnd };
    });
    this.#dirty.clear();
    const isNews = unsubscribe.length + subscribe.length + durable.length > 0;
    if (!isNews && !this.#returnsMuch) return undefined;
    const windowBytes = this.#returnedBytes;
    this.#returnedBytes = 0;
    return { open: undefined, unsubscribe, subscribe, durable, windowBytes };
  }

  /** Says with the subscription how far the log is durable: that counts if the logs agree. */
  #subscribe(followed: Followed) {
    const { leaderEpoch, log, partition, topicId } = followed.partition;
    const id = this.#nextId;
    this.#nextId += 1;
    followed.state = { kind: "subscribed", id, reportedEnd: -1 };
    this.#byId.set(id, followed);
    this.#dirty.add(followed);
    const common = { subscriptionId: id, topicId: topicIdBytes(topicId), partition, leaderEpoch };
    const end = endOf(log);
    const isKept = followed.keptEnd > 0 && end.logEndOffset === followed.keptEnd;
    return { ...common, ...end, ...(isKept ? { lastEpoch: undefined } : {}) };
  }
}

/** What is committed is on every replica in sync: a leader without it has lost it. */
const losesCommitted = (leader: number, repair: Repair, log: PartitionLog): MillraceError =>
  MillraceError.refusal(
    ErrorCode.UNAVAILABLE,
    `broker ${leader} leads without records that were committed: its log allows this one to keep ` +
      `what is below offset ${repair.offset}, and ${log.highWatermark} is the high watermark: ` +
      "this replica keeps them, and does not follow",
  );
