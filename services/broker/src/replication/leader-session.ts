/**
 * A replication stream as the leader serves it. At the end of each turn of the event loop it frames
 * what its partitions have appended, before the leader's own fsync is over; who is behind the tail
 * cache is read from files, a few at a time.
 */
import type { Cancel, Clock, Random } from "@millrace/env";
import { assert, ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import type { PartitionLog, ReadResult } from "@millrace/log";
import {
  blankReplicateResponse,
  readStored,
  type TopicId,
  topicIdOf,
  type WireReplicaAppend,
  type WireReplicaDivergence,
  type WireReplicaDurable,
  type WireReplicaRefusal,
  type WireReplicaSubscription,
  type WireReplicateOpen,
  type WireReplicateRequest,
  type WireReplicateResponse,
} from "@millrace/record";
import { refuseOtherCluster, type ServerStream } from "@millrace/rpc";
import { checkFeatures, featureLevel } from "../features.ts";
import type { InSyncReplica } from "../partitions/in-sync.ts";
import { wirePartitionError } from "../produce/appender.ts";
import { readHandshake } from "../stream-handshake.ts";
import { type Divergence, divergenceOf } from "./agreement.ts";
import type { CatchUpRate } from "./catch-up-rate.ts";
import { replicationLimits as limits } from "./replication-limits.ts";

/**
 * What a leader knows of its followers, from its beginning to its end. A leader may begin anew in
 * the same epoch, when the metadata go back.
 */
export interface LeaderTerm {
  readonly log: PartitionLog;
}

/** A partition as followers see it. */
export interface LedPartition {
  /**
   * The term of the leader, the same object all along. Throws NOT_LEADER, FENCED_LEADER_EPOCH and
   * so on. In the synchronous section of each use.
   */
  requireLeader(leaderEpoch: number): LeaderTerm;
  /** Calls `wake` once: after the next append or progress, or when the role changes. */
  onceMoved(wake: () => void): () => void;
  /**
   * A follower has made its log durable up to an offset. False where that counts for nothing: its
   * registration is over, or it is no replica.
   */
  durable(follower: InSyncReplica, endOffset: number): boolean;
  /** Whether acknowledgements wait for a follower. */
  isInSync(follower: InSyncReplica): boolean;
}

/** What a session needs of its broker. */
export interface LeaderContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly identity: { readonly clusterId: string; readonly brokerId: number };
  /** Epoch of this broker's registration. */
  readonly brokerEpoch: () => number;
  /** Epoch of another broker's registration, as far as it is known here. */
  readonly registered: (brokerId: number) => number | undefined;
  /** Throws UNKNOWN_TOPIC_OR_PARTITION, NOT_LEADER, LEADER_NOT_AVAILABLE. */
  readonly find: (topicId: TopicId, partition: number) => LedPartition;
  /** Of all sessions together, for replicas that are not in sync. */
  readonly catchUpRate: Pick<CatchUpRate, "reserve" | "spent">;
}

type ReplicateStream = ServerStream<WireReplicateRequest, WireReplicateResponse>;

type SubscriptionState =
  /** Has sent all there is: what moves the partition queues it. */
  | { readonly kind: "waiting"; readonly stop: () => void }
  /** May have something to send. */
  | { readonly kind: "queued" }
  /** Its batches are being read from files. */
  | { readonly kind: "reading" }
  | { readonly kind: "over" };

/** What a subscription is about. */
interface Place {
  readonly id: number;
  readonly partition: LedPartition;
  readonly term: LeaderTerm;
  readonly log: PartitionLog;
  readonly leaderEpoch: number;
}

type Progress = Pick<ReadResult, "highWatermark" | "logStartOffset">;

interface Subscription extends Place {
  /** First offset that was not sent. */
  sentEnd: number;
  toldHighWatermark: number;
  toldLogStart: number;
  /** Its high watermark has been put off for long enough. */
  isDue: boolean;
  state: SubscriptionState;
}

/** Throws unless the leader is that of the subscription, and knows what it has said. */
const requireTerm = ({ leaderEpoch, partition, term }: Place): void => {
  if (partition.requireLeader(leaderEpoch) === term) return;
  const text = `the leader has begun anew in epoch ${leaderEpoch}: subscribe again`;
  throw MillraceError.refusal(ErrorCode.LEADER_NOT_AVAILABLE, text);
};

const isLed = (place: Place): boolean => {
  try {
    requireTerm(place);
    return true;
  } catch {
    return false;
  }
};

const queued: SubscriptionState = { kind: "queued" };
const reading: SubscriptionState = { kind: "reading" };
const over: SubscriptionState = { kind: "over" };

const violation = (what: string): MillraceError =>
  MillraceError.refusal(
    ErrorCode.STREAM_PROTOCOL_VIOLATION,
    `${what}: see ReplicationService.Replicate`,
  );

export class LeaderSession {
  readonly #stream: ReplicateStream;
  readonly #context: LeaderContext;
  readonly #subscriptions = new Map<number, Subscription>();
  /** Queued ones, in order. */
  #ready: Subscription[] = [];
  /** Of those, the ones that the tail cache does not have. */
  readonly #behind: Subscription[] = [];
  #reads = 0;
  /** Those whose read waits for the rate, with how to end the wait. */
  readonly #throttled = new Map<Subscription, Cancel>();
  /** Those that have waited for it, or need not. */
  readonly #admitted = new Set<Subscription>();
  /** Those whose high watermark is put off: batches may carry it. */
  readonly #untold = new Set<Subscription>();
  #cancelTelling: Cancel | undefined;
  readonly #refusals: WireReplicaRefusal[] = [];
  readonly #divergences: WireReplicaDivergence[] = [];
  /** Subscriptions that are to be told where the logs differ. */
  readonly #differing = new Set<number>();
  /** One after the other, since each may read from a file. Never rejects. */
  #telling: Promise<void> = Promise.resolve();
  #follower: InSyncReplica = { brokerId: 0, brokerEpoch: 0 };
  #windowBytes: number = limits.windowBytesMax;
  #sentBytes = 0;
  #framing = false;
  #isOver = false;
  #cancelHeartbeat: () => void = () => {};

  constructor(stream: ReplicateStream, context: LeaderContext) {
    this.#stream = stream;
    this.#context = context;
  }

  /** Resolves when the follower ends the stream; rejects when it breaks the protocol. */
  async run(): Promise<void> {
    try {
      await this.#open();
      this.#heartbeat();
      for (;;) {
        const request = this.#stream.tryRead() ?? (await this.#stream.read());
        if (request === undefined) return;
        if (request.open !== undefined) throw violation("a second open");
        this.#take(request);
      }
    } finally {
      this.#isOver = true;
      this.#cancelHeartbeat();
      this.#cancelTelling?.();
      for (const cancel of this.#throttled.values()) cancel();
      for (const subscription of this.#subscriptions.values()) move(subscription, over);
      this.#subscriptions.clear();
    }
  }

  async #open(): Promise<void> {
    const { clock, brokerEpoch } = this.#context;
    const first = await readHandshake(this.#stream, clock);
    const { open } = first;
    if (open === undefined) throw violation("the first message has no open");
    checkFeatures(open.requiredFeatures);
    this.#checkFollower(open);
    const { brokerId } = open;
    this.#follower = { brokerId, brokerEpoch: open.brokerEpoch };
    if (open.windowBytes > 0) this.#windowBytes = Math.min(open.windowBytes, limits.windowBytesMax);
    const opened = {
      windowBytes: this.#windowBytes,
      heartbeatIntervalMs: limits.heartbeatIntervalMs,
      brokerEpoch: brokerEpoch(),
      featureLevel,
    };
    this.#stream.write({ ...blankReplicateResponse, opened });
    this.#take(first);
  }

  #checkFollower({ brokerEpoch, brokerId, clusterId, leaderBrokerId }: WireReplicateOpen): void {
    const { identity, registered } = this.#context;
    if (clusterId === "") throw violation("the opening names no cluster");
    refuseOtherCluster(identity.clusterId, clusterId);
    if (leaderBrokerId !== identity.brokerId || brokerId === identity.brokerId) {
      throw MillraceError.refusal(
        ErrorCode.INVALID_REQUEST,
        `broker ${brokerId} asks for broker ${leaderBrokerId}, and this is broker ` +
          `${identity.brokerId}: refresh the metadata`,
      );
    }
    const known = registered(brokerId) ?? 0;
    if (brokerEpoch < known) throw staleEpoch(brokerId, brokerEpoch, known);
  }

  #heartbeat(): void {
    const { clock, random } = this.#context;
    const ms = limits.heartbeatIntervalMs * (0.5 + random.float());
    this.#cancelHeartbeat = clock.timer(ms, () => {
      this.#stream.write(blankReplicateResponse);
      this.#heartbeat();
    });
  }

  #take({ unsubscribe, subscribe, durable, windowBytes }: WireReplicateRequest): void {
    for (const id of unsubscribe) this.#drop(id);
    for (const wanted of subscribe) this.#subscribe(wanted);
    for (const report of durable) this.#report(report);
    if (windowBytes > 0) {
      this.#sentBytes = Math.max(0, this.#sentBytes - windowBytes);
      this.#frameSoon();
    }
  }

  #subscribe(wanted: WireReplicaSubscription): void {
    const { lastEpoch, leaderEpoch, logEndOffset, partition, subscriptionId: id } = wanted;
    if (this.#subscriptions.has(id) || this.#differing.has(id)) {
      throw violation(`subscription ${id} is in use`);
    }
    if (this.#subscriptions.size >= limits.subscriptionsMax) {
      throw violation(`more than ${limits.subscriptionsMax} subscriptions`);
    }
    try {
      const led = this.#context.find(idOf(wanted.topicId), partition);
      const term = led.requireLeader(leaderEpoch);
      const { log } = term;
      const divergence = divergenceOf(log, { logEndOffset, lastEpoch });
      const place = { id, partition: led, term, log, leaderEpoch };
      const isInside = logEndOffset > log.logStartOffset || log.logEndOffset === logEndOffset;
      if (divergence === undefined && isInside) {
        this.#begin(place, logEndOffset);
        return;
      }
      // One that ends where this log starts may follow only if a batch begins there. What it says
      // in the same message of its durability is passed over; it reports what it is sent.
      const isBefore = divergence === undefined || lastEpoch === undefined;
      this.#differ(place, divergence ?? beginningOf(log), isBefore ? logEndOffset : undefined);
    } catch (thrown) {
      this.#refuse(id, thrown);
    }
  }

  #begin(place: Place, sentEnd: number): void {
    const told = { toldHighWatermark: -1, toldLogStart: -1 };
    const subscription = { ...place, ...told, sentEnd, isDue: false, state: over };
    this.#subscriptions.set(place.id, subscription);
    this.#enqueue(subscription);
  }

  /** `endsAt`: where the follower's log ends, if nothing of it can differ. */
  #differ(place: Place, divergence: Divergence, endsAt?: number): void {
    this.#differing.add(place.id);
    this.#telling = this.#telling.then(() => this.#tell(place, divergence, endsAt));
  }

  /**
   * Says where the logs differ, and where a follower that begins anew has to begin: with the first
   * batch, inside of which the log may start. Never rejects.
   */
  async #tell(place: Place, divergence: Divergence, endsAt: number | undefined): Promise<void> {
    const { id, log } = place;
    try {
      const firstBatch = await firstBatchOf(log);
      if (this.#isOver || !this.#differing.delete(id)) return;
      requireTerm(place);
      if (endsAt === firstBatch) {
        // What a read at the log start finds follows.
        this.#begin(place, log.logStartOffset);
        return;
      }
      const told = { subscriptionId: id, ...divergence, logStartOffset: firstBatch };
      this.#divergences.push(told);
      this.#frameSoon();
    } catch (thrown) {
      if (this.#differing.delete(id) || !this.#isOver) this.#refuse(id, thrown);
    }
  }

  #report({ durableEndOffset, subscriptionId: id }: WireReplicaDurable): void {
    const subscription = this.#subscriptions.get(id);
    if (subscription === undefined) return;
    const { partition, sentEnd } = subscription;
    try {
      requireTerm(subscription);
      if (durableEndOffset > sentEnd) {
        throw MillraceError.refusal(
          ErrorCode.INVALID_REQUEST,
          `the follower claims offsets up to ${durableEndOffset}, it was sent ${sentEnd}`,
        );
      }
      if (partition.durable(this.#follower, durableEndOffset)) return;
      const { brokerEpoch, brokerId } = this.#follower;
      throw staleEpoch(brokerId, brokerEpoch, this.#context.registered(brokerId) ?? 0);
    } catch (thrown) {
      this.#refuse(id, thrown);
    }
  }

  #drop(id: number): void {
    const subscription = this.#subscriptions.get(id);
    if (subscription !== undefined) {
      move(subscription, over);
      this.#throttled.get(subscription)?.();
      this.#throttled.delete(subscription);
      this.#admitted.delete(subscription);
      this.#untold.delete(subscription);
    }
    this.#subscriptions.delete(id);
    this.#differing.delete(id);
  }

  #refuse(id: number, thrown: unknown): void {
    this.#drop(id);
    const error = wirePartitionError(MillraceError.from(thrown));
    this.#refusals.push({ subscriptionId: id, error });
    this.#frameSoon();
  }

  #enqueue(subscription: Subscription): void {
    move(subscription, queued);
    this.#ready.push(subscription);
    this.#frameSoon();
  }

  /** At the end of the turn: what all partitions append in it leaves in one message. */
  #frameSoon(): void {
    if (this.#framing || this.#isOver) return;
    this.#framing = true;
    this.#context.clock.defer(() => void this.#frameAll());
  }

  /** Frames until nothing is left that may be sent. Never rejects. */
  async #frameAll(): Promise<void> {
    while (!this.#isOver) {
      const message = this.#frame();
      if (message === undefined) break;
      if (!this.#stream.write(message)) await this.#stream.drained();
    }
    this.#framing = false;
  }

  /** One message, or undefined when there is nothing to say. */
  #frame(): WireReplicateResponse | undefined {
    const appends: WireReplicaAppend[] = [];
    let bytes = 0;
    const left: Subscription[] = [];
    for (const subscription of this.#ready) {
      if (subscription.state !== queued) continue;
      if (bytes >= limits.messageBytesMax || this.#sentBytes >= this.#windowBytes) {
        left.push(subscription);
        continue;
      }
      const append = this.#tailOf(subscription);
      if (append === undefined) continue;
      appends.push(append);
      const more = bytesOf(append);
      bytes += more;
      this.#sentBytes += more;
      if (more > 0) left.push(subscription);
    }
    this.#ready = left;
    const refuse = this.#refusals.splice(0, limits.changesPerMessage);
    const diverge = this.#divergences.splice(0, limits.changesPerMessage);
    if (appends.length + refuse.length + diverge.length === 0) return undefined;
    return { ...blankReplicateResponse, appends, diverge, refuse };
  }

  /**
   * What there is to send of a queued subscription, from memory. Without anything it waits, or is
   * read from files.
   */
  #tailOf(subscription: Subscription): WireReplicaAppend | undefined {
    const { log, sentEnd } = subscription;
    try {
      requireTerm(subscription);
      const found = log.tryReadTail(sentEnd, limits.appendBytesMax, "log_end");
      if (found !== undefined) return this.#appendOf(subscription, found);
      move(subscription, reading);
      this.#behind.push(subscription);
      this.#readBehind();
    } catch (thrown) {
      this.#fail(subscription, thrown);
    }
    return undefined;
  }

  #appendOf(subscription: Subscription, found: ReadResult): WireReplicaAppend | undefined {
    const { chunks, highWatermark, logStartOffset, nextOffset } = found;
    subscription.sentEnd = nextOffset;
    if (found.bytes === 0) {
      this.#wait(subscription);
      if (!this.#isToTell(subscription, found)) return undefined;
    }
    subscription.isDue = false;
    subscription.toldHighWatermark = highWatermark;
    subscription.toldLogStart = logStartOffset;
    const { id: subscriptionId } = subscription;
    return { subscriptionId, highWatermark, logStartOffset, batches: chunks };
  }

  #tellSoon(subscription: Subscription): void {
    this.#untold.add(subscription);
    this.#cancelTelling ??= this.#context.clock.timer(limits.highWatermarkDelayMs, () => {
      this.#cancelTelling = undefined;
      const untold = [...this.#untold];
      this.#untold.clear();
      for (const one of untold) {
        one.isDue = true;
        // Any other state comes to it by itself.
        if (one.state.kind === "waiting") this.#enqueue(one);
      }
    });
  }

  #wait(subscription: Subscription): void {
    const stop = subscription.partition.onceMoved(() => this.#moved(subscription));
    move(subscription, { kind: "waiting", stop });
  }

  /** Most often it is progress, which is put off: a turn for a frame would find nothing to say. */
  #moved(subscription: Subscription): void {
    const { log, sentEnd } = subscription;
    const isNothing = log.logEndOffset === sentEnd && !this.#isToTell(subscription, log);
    if (isNothing && isLed(subscription)) this.#wait(subscription);
    else this.#enqueue(subscription);
  }

  /**
   * Whether progress is told without batches. A log start is, at once: another leader must not
   * serve again what was deleted. A high watermark is put off.
   */
  #isToTell(subscription: Subscription, { highWatermark, logStartOffset }: Progress): boolean {
    if (logStartOffset !== subscription.toldLogStart) return true;
    if (highWatermark === subscription.toldHighWatermark) return false;
    if (!subscription.isDue) this.#tellSoon(subscription);
    return subscription.isDue;
  }

  /** Reads from files what the tail cache does not have any more. */
  #readBehind(): void {
    while (this.#reads < limits.catchUpReadsMax) {
      const subscription = this.#behind.shift();
      if (subscription === undefined) return;
      if (subscription.state !== reading || this.#throttle(subscription)) continue;
      const isThrottled = this.#admitted.delete(subscription);
      this.#reads += 1;
      void this.#readOne(subscription, isThrottled).finally(() => {
        this.#reads -= 1;
        if (!this.#isOver) this.#readBehind();
      });
    }
  }

  /** True when the read has to wait: it comes to the front then. A follower in sync never waits. */
  #throttle(subscription: Subscription): boolean {
    const { catchUpRate, clock } = this.#context;
    if (this.#admitted.has(subscription)) return false;
    if (subscription.partition.isInSync(this.#follower)) return false;
    const waitMs = catchUpRate.reserve(limits.appendBytesMax, clock.monoMs());
    this.#admitted.add(subscription);
    if (waitMs <= 0) return false;
    const cancel = clock.timer(waitMs, () => {
      this.#throttled.delete(subscription);
      this.#behind.unshift(subscription);
      this.#readBehind();
    });
    this.#throttled.set(subscription, cancel);
    return true;
  }

  /** Never rejects. */
  async #readOne(subscription: Subscription, isThrottled: boolean): Promise<void> {
    const { log } = subscription;
    try {
      const found = await log.read(subscription.sentEnd, limits.appendBytesMax, "log_end");
      if (isThrottled) this.#context.catchUpRate.spent(limits.appendBytesMax, found.bytes);
      if (subscription.state !== reading) return;
      requireTerm(subscription);
      move(subscription, queued);
      const append = this.#appendOf(subscription, found);
      if (append !== undefined) {
        this.#sentBytes += bytesOf(append);
        this.#stream.write({ ...blankReplicateResponse, appends: [append] });
      }
      if (subscription.state === queued) this.#enqueue(subscription);
    } catch (thrown) {
      if (subscription.state === reading) this.#fail(subscription, thrown);
    }
  }

  /** Its offset was deleted meanwhile: the follower begins anew. Anything else is told. */
  #fail(subscription: Subscription, thrown: unknown): void {
    const { id, leaderEpoch, log, partition, term } = subscription;
    if (!hasCode(thrown, ErrorCode.OFFSET_OUT_OF_RANGE)) {
      this.#refuse(id, thrown);
      return;
    }
    this.#drop(id);
    this.#differ({ id, partition, term, log, leaderEpoch }, beginningOf(log));
  }
}

const move = (subscription: Subscription, state: SubscriptionState): void => {
  if (subscription.state.kind === "waiting") subscription.state.stop();
  subscription.state = state;
};

/** For a follower that has nothing of what the log still has. */
const beginningOf = ({ logStartOffset }: PartitionLog): Divergence => ({
  ...{ leaderEpoch: 0, endOffset: logStartOffset, logStartOffset },
});

/** Base offset of the batch that a read at the log start finds; the log end where there is none. */
const firstBatchOf = async (log: PartitionLog): Promise<number> => {
  if (log.logStartOffset === log.logEndOffset) return log.logEndOffset;
  const { chunks } = await log.read(log.logStartOffset, 1, "log_end");
  const found = readStored(Buffer.concat(chunks), 0);
  assert(!("fault" in found), "a read begins with a whole batch");
  return found.baseOffset;
};

const bytesOf = ({ batches }: WireReplicaAppend): number =>
  batches.reduce((sum, { length }) => sum + length, 0);

const idOf = (topicId: Uint8Array): TopicId => {
  if (topicId.length === 16) return topicIdOf(topicId);
  throw MillraceError.refusal(
    ErrorCode.INVALID_REQUEST,
    `topic_id has ${topicId.length} bytes: send 16`,
  );
};

const staleEpoch = (brokerId: number, epoch: number, known: number): MillraceError =>
  MillraceError.refusal(
    ErrorCode.STALE_BROKER_EPOCH,
    `broker ${brokerId} was registered under epoch ${epoch}, which is over: it is ${known} now`,
  );
