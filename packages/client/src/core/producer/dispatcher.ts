/** Moves batches from partition queues to brokers. Decides when, in which order, and how often. */
import type { CompressionName, Env } from "@millrace/env";
import { ErrorCode, formatEndpoint, MillraceError, must } from "@millrace/errors";
import { BatchBuilder, type WireProduceResult } from "@millrace/record";
import { backoffMs } from "../backoff.ts";
import type { Connections } from "../connections.ts";
import { replacedSilentMs, suspectMs } from "../deadlines.ts";
import { isRetriable, wantsRefresh } from "../failures.ts";
import { isSameTopic, type Leader, type MetadataCache } from "../metadata/index.ts";
import type { HeldUp } from "../state.ts";
import { Batch } from "./batch.ts";
import { isConditionCode, provesUnwritten, takeBehind } from "./condition.ts";
import { heldUpBy } from "./held-up.ts";
import type { PartitionQueue } from "./partition-queue.ts";
import { ProducerIds } from "./producer-ids.ts";
import { Sender, type SenderEvents } from "./sender.ts";
import { Senders } from "./senders.ts";
import { splitBatch } from "./split.ts";

export interface DispatchOptions {
  readonly acks: number;
  readonly clientId: string;
  /** Undefined: a batch waits only while its broker is busy. */
  readonly lingerMs: number | undefined;
  readonly compression: "none" | CompressionName;
  readonly compressionLevel: number | undefined;
  readonly deliveryTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly inFlightPerPartitionMax: number;
  readonly idempotence: boolean;
}

export interface DispatchContext {
  readonly env: Pick<Env, "clock" | "random" | "compressor" | "logger">;
  readonly connections: Connections;
  readonly metadata: MetadataCache;
}

/** What a dispatcher tells its producer. */
export interface DispatchEvents {
  /** `parts` take the place of a batch that was too large. */
  onSplit(batch: Batch, parts: readonly Batch[]): void;
  /** How a batch ended; called once per batch that was not split. */
  onDone(queue: PartitionQueue, batch: Batch, outcome: WireProduceResult | MillraceError): void;
  /** A stream to this `host:port` broke, or ended because the server is stopping. */
  onLost(server: string, error: MillraceError): void;
}

/** Longest wait of a batch for a busy broker without `lingerMs`, milliseconds. */
const adaptiveLingerMs = 5;
/** Refreshes in a row that must miss a partition before it counts as deleted. */
const unknownTopicAttempts = 5;
const sweepMs = 1_000;
const spareBuildersMax = 256;

/**
 * Owns the senders, one per broker. Queues that may have something to send are scheduled, and
 * looked at together when the event-loop turn ends.
 */
export class Dispatcher implements SenderEvents {
  readonly #options: DispatchOptions;
  readonly #context: DispatchContext;
  readonly #events: DispatchEvents;
  readonly #senders: Senders;
  readonly #active = new Set<PartitionQueue>();
  readonly #spares: BatchBuilder[] = [];
  /** Undefined without idempotence. */
  readonly #ids: ProducerIds | undefined;
  readonly #waitingForId = new Set<PartitionQueue>();
  #scheduled: PartitionQueue[] = [];
  #deferred = false;
  #flushes = 0;
  #stopped = false;
  #nextBatchId = 1;
  #cancelSweep: (() => void) | undefined;
  readonly #stopFollowing: () => void;

  constructor(options: DispatchOptions, context: DispatchContext, events: DispatchEvents) {
    this.#options = options;
    this.#context = context;
    this.#events = events;
    const { clientId, idempotence } = options;
    const { clock, logger, random } = context.env;
    const { acks } = options;
    const clusterId = (): string => context.metadata.clusterId;
    this.#senders = new Senders(context.connections, (channel, requiredFeatures) => {
      const base = { clock, random, logger, clientId, acks, clusterId };
      return new Sender(channel, { ...base, requiredFeatures }, this);
    });
    const shared = { clock, random, connections: context.connections, clientId };
    this.#ids = idempotence ? new ProducerIds(shared, (error) => this.#onId(error)) : undefined;
    this.#stopFollowing = context.metadata.onChange(() => this.#followLeaders());
  }

  /** Appends a new open batch to the queue. */
  openBatch(queue: PartitionQueue): Batch {
    const builder = this.#spares.pop() ?? new BatchBuilder();
    const batch = new Batch(this.#nextBatchId, this.#context.env.clock.monoMs(), builder);
    this.#nextBatchId += 1;
    queue.batches.push(batch);
    this.#active.add(queue);
    this.#armSweep();
    return batch;
  }

  /** Ends an open batch. Compression begins at once. */
  seal(queue: PartitionQueue, batch: Batch): void {
    batch.seal();
    if (this.#options.compression !== "none") this.#encode(queue, batch);
  }

  /** Looks at the queue when this event-loop turn ends. */
  schedule(queue: PartitionQueue): void {
    if (queue.scheduled) return;
    queue.scheduled = true;
    this.#scheduled.push(queue);
    if (this.#deferred) return;
    this.#deferred = true;
    this.#context.env.clock.defer(this.#run);
  }

  /** Until `endFlush`, batches are sent without waiting for more records. */
  beginFlush(): void {
    this.#flushes += 1;
    for (const queue of this.#active) this.schedule(queue);
  }

  endFlush(): void {
    this.#flushes -= 1;
  }

  /** Fails everything with `error` and ends the streams. */
  stop(error: MillraceError): void {
    this.#stopped = true;
    this.#stopFollowing();
    this.#cancelSweep?.();
    this.#ids?.close();
    for (const queue of this.#active) {
      queue.cancelTimer?.();
      for (const batch of [...queue.inFlight, ...queue.retries, ...queue.batches]) {
        this.#finish(queue, batch, error);
      }
    }
    for (const sender of this.#senders.all()) sender.stop();
  }

  onWritten(queue: PartitionQueue, batch: Batch, result: WireProduceResult): void {
    queue.answered(batch);
    this.#finish(queue, batch, result);
    this.schedule(queue);
  }

  onUnanswered(queue: PartitionQueue, batch: Batch, error: MillraceError): void {
    if (!batch.refused) batch.maybeWritten = true;
    this.#failed(queue, batch, error);
  }

  onFailed(queue: PartitionQueue, batch: Batch, error: MillraceError): void {
    if (error.spec.sideEffects) batch.maybeWritten = true;
    else queue.refusedFrom(batch);
    this.#failed(queue, batch, error);
  }

  #failed(queue: PartitionQueue, batch: Batch, error: MillraceError): void {
    queue.answered(batch);
    const { clock, random } = this.#context.env;
    const nowMs = clock.monoMs();
    batch.lastError = error;
    if (error.leaderHint !== undefined) {
      this.#context.metadata.applyHint(queue.topic, queue.partition, error.leaderHint);
    } else if (wantsRefresh(error)) void this.#context.metadata.renew();
    const splits = error.code === ErrorCode.MESSAGE_TOO_LARGE && batch.recordCount > 1;
    // One that may have been written under its sequences must not get others.
    const renumbers = breaksSequences(queue, batch, error) && !batch.maybeWritten;
    if (this.#stopped || !(splits || renumbers || isRetriable(error))) {
      this.#finish(queue, batch, error);
    } else if (batch.preceding !== undefined) {
      this.#finish(queue, batch, batch.preceding);
    } else if (splits) {
      lowerLimit(queue, batch);
      queue.retries.push(batch);
    } else if (this.#expired(batch, nowMs))
      this.#finish(queue, batch, this.#timedOut(batch, queue));
    else if (error.code === ErrorCode.PRECEDING_REQUEST_FAILED) {
      // Nothing is wrong with this batch: it waits as long as the one before it.
      batch.attempts -= 1;
      queue.retries.push(batch);
    } else {
      queue.retries.push(batch);
      const pauseMs =
        error.leaderHint !== undefined && batch.attempts === 1
          ? (error.retryAfterMs ?? 0)
          : backoffMs(batch.attempts - 1, random, error.retryAfterMs);
      queue.notBeforeMs = Math.max(queue.notBeforeMs, nowMs + pauseMs);
    }
    this.schedule(queue);
  }

  onReady(sender: Sender): void {
    if (sender.waiting.size > 0) {
      for (const queue of sender.waiting) this.schedule(queue);
      sender.waiting.clear();
    }
    if (sender.lingering.size > 0 && sender.idle) {
      for (const queue of sender.lingering) this.schedule(queue);
      sender.lingering.clear();
    }
  }

  onLost(sender: Sender, error: MillraceError): void {
    // The server does not know conditions: others go on by another stream.
    const isTooOld = error.code === ErrorCode.UNSUPPORTED_OPERATION;
    for (const queue of isTooOld ? [...sender.waiting] : []) {
      for (const batch of queue.batches.filter((one) => sender.requires(one.requiredFeature))) {
        this.#remove(queue, batch, error);
      }
    }
    this.#events.onLost(sender.endpoint, error);
    void this.#context.metadata.renew(sender.endpoint).then(() => this.onReady(sender));
  }

  onStopping(sender: Sender, error: MillraceError): void {
    this.#events.onLost(sender.endpoint, error);
  }

  /** Which of these queues are held up, and why. Streams that broke while idle are opened again. */
  heldUp(queues: Iterable<PartitionQueue>): HeldUp[] {
    const { env, metadata } = this.#context;
    const nowMs = env.clock.monoMs();
    const found: HeldUp[] = [];
    for (const queue of queues) {
      const { topic, partition } = queue;
      const leader = metadata.leaderOf(topic, partition);
      const sender = leader && this.#senders.next(queue, leader.endpoint);
      const error = heldUpBy(queue, sender, nowMs);
      if (error === undefined) continue;
      found.push({ topic, partition, error });
      sender?.reopen();
    }
    return found;
  }

  readonly #run = (): void => {
    this.#deferred = false;
    const queues = this.#scheduled;
    this.#scheduled = [];
    for (const queue of queues) {
      queue.scheduled = false;
      if (!this.#stopped) this.#drive(queue);
    }
  };

  /** Batches wait no longer for a leader that was replaced, or for one that was missing. */
  #followLeaders(): void {
    const { metadata } = this.#context;
    for (const queue of this.#active) {
      const isLed = metadata.leaderOf(queue.topic, queue.partition) !== undefined;
      if (queue.timesLeaderless > 0 && isLed) queue.notBeforeMs = 0;
      this.schedule(queue);
    }
  }

  /** Sends the batches of a partition that may go now. */
  #drive(queue: PartitionQueue): void {
    queue.requeueRetries();
    if (queue.retries.length > 0) return;
    const nowMs = this.#context.env.clock.monoMs();
    if (nowMs < queue.notBeforeMs) {
      this.#wakeAt(queue, queue.notBeforeMs);
      return;
    }
    while (queue.inFlight.length < this.#options.inFlightPerPartitionMax) {
      const batch = queue.batches[0];
      if (batch === undefined) break;
      const leader = this.#context.metadata.leaderOf(queue.topic, queue.partition);
      if (leader === undefined) {
        this.#noLeader(queue, nowMs);
        return;
      }
      queue.timesLeaderless = 0;
      queue.timesMissing = 0;
      const sender = this.#senders.next(queue, leader.endpoint);
      // Order holds within one stream and topic id: the old leader answers before the new one is
      // asked.
      if (queue.inFlight.length > 0 && !isSameWay(queue, sender, leader)) return;
      queue.route = sender;
      if (batch.state === "open" && !this.#ripe(queue, batch, sender, nowMs)) return;
      if (!sender.ready(queue) || !this.#identify(queue, batch, sender, leader)) return;
      if (!this.#prepare(queue, batch)) return;
      const refusal = sender.tooLarge(batch);
      if (refusal !== undefined) {
        this.#refuse(queue, batch, refusal);
        return;
      }
      if (!sender.offer(queue, batch, leader)) return;
      queue.batches.shift();
    }
    if (queue.batches.length === 0 && queue.inFlight.length === 0) this.#active.delete(queue);
  }

  /** True when the batch can be sent. False while it is being compressed or split. */
  #prepare(queue: PartitionQueue, batch: Batch): boolean {
    batch.seal();
    if (batch.state === "sealed" && !this.#encode(queue, batch)) return false;
    if (batch.state !== "encoded") return false;
    if (batch.recordCount > 1 && batch.recordBytes > queue.limits.batchBytesMax) {
      this.#split(queue, batch);
      return false;
    }
    if (batch.body !== undefined) return true;
    if (this.#ids !== undefined) batch.stamp ??= queue.sequences.take(batch.recordCount);
    batch.assemble();
    return true;
  }

  /**
   * True when the batch can go as far as its sequences are concerned: it has some, or can get the
   * next ones. After a batch that failed for good, those that may have been written are sent again
   * with the sequences that they have; once all of them are answered, the others get new ones.
   */
  #identify(queue: PartitionQueue, batch: Batch, sender: Sender, leader: Leader): boolean {
    if (this.#ids === undefined) return true;
    const { inFlight, sequences } = queue;
    if (inFlight.length >= sender.producerBatches) return false;
    if (sequences.isBroken && !batch.maybeWritten) {
      if (inFlight.length > 0) return false;
      queue.renumber();
    }
    if (batch.stamp !== undefined || sequences.hasId) return true;
    const id = this.#ids.other(sequences.usedId);
    if (id !== undefined) sequences.begin(id);
    else {
      this.#waitingForId.add(queue);
      this.#ids.ask(leader.endpoint);
    }
    return id !== undefined;
  }

  /** There is a producer id, or the call for one failed. */
  #onId(error: MillraceError | undefined): void {
    const queues = [...this.#waitingForId];
    this.#waitingForId.clear();
    if (error !== undefined && wantsRefresh(error)) void this.#context.metadata.renew();
    for (const queue of queues) {
      const [first] = queue.batches;
      if (error !== undefined && isRetriable(error)) {
        if (first !== undefined) first.lastError = error;
      } else if (error !== undefined) {
        for (const batch of queue.batches.splice(0)) this.#finish(queue, batch, error);
      }
      this.schedule(queue);
    }
  }

  /** Splits a batch that the server would not take, or fails it; it is the next one to be sent. */
  #refuse(queue: PartitionQueue, batch: Batch, refusal: MillraceError): void {
    batch.lastError = refusal;
    if (batch.recordCount > 1) {
      lowerLimit(queue, batch);
      this.#split(queue, batch);
    } else this.#remove(queue, batch, refusal);
  }

  #split(queue: PartitionQueue, batch: Batch): void {
    batch.state = "splitting";
    if (batch.body === undefined) batch.assemble();
    splitBatch(batch, queue.limits.batchBytesMax, this.#context.env.compressor).then(
      (parts) => {
        const at = queue.batches.indexOf(batch);
        if (batch.state !== "splitting" || at < 0) return;
        queue.batches.splice(at, 1, ...parts);
        batch.finish();
        this.#events.onSplit(batch, parts);
        this.schedule(queue);
      },
      (thrown: unknown) => this.#remove(queue, batch, MillraceError.from(thrown)),
    );
  }

  /** True when an open batch may go now. Otherwise schedules its queue for later. */
  #ripe(queue: PartitionQueue, batch: Batch, sender: Sender, nowMs: number): boolean {
    const { lingerMs } = this.#options;
    if (this.#flushes > 0) return true;
    if (lingerMs === undefined && sender.idle) return true;
    const atMs = batch.createdMs + (lingerMs ?? adaptiveLingerMs);
    if (nowMs >= atMs) return true;
    if (lingerMs === undefined) sender.lingering.add(queue);
    this.#wakeAt(queue, atMs);
    return false;
  }

  /** Compresses the records of a sealed batch. False while that goes on. */
  #encode(queue: PartitionQueue, batch: Batch): boolean {
    const { compression, compressionLevel: level } = this.#options;
    if (compression === "none") {
      batch.state = "encoded";
      return true;
    }
    const builder = must(batch.builder, "builder of a batch that is not compressed");
    batch.state = "encoding";
    const { compressor } = this.#context.env;
    builder.pack({ compression, compressor, ...(level === undefined ? {} : { level }) }).then(
      (packed) => {
        if (batch.state !== "encoding") return;
        batch.packed = packed;
        batch.state = "encoded";
        batch.builder = undefined;
        this.#spare(builder);
        this.schedule(queue);
      },
      (thrown: unknown) => this.#remove(queue, batch, MillraceError.from(thrown)),
    );
    return false;
  }

  /** Fails a batch that waits in the queue. */
  #remove(queue: PartitionQueue, batch: Batch, error: MillraceError): void {
    const at = queue.batches.indexOf(batch);
    if (at >= 0) queue.batches.splice(at, 1);
    this.#finish(queue, batch, error);
    this.schedule(queue);
  }

  #spare(builder: BatchBuilder): void {
    builder.reset();
    if (this.#spares.length < spareBuildersMax) this.#spares.push(builder);
  }

  #noLeader(queue: PartitionQueue, nowMs: number): void {
    const { metadata, env } = this.#context;
    const known = metadata.peek(queue.topic)?.partitions[queue.partition] !== undefined;
    if (!known && queue.timesMissing >= unknownTopicAttempts) {
      queue.timesMissing = 0;
      for (const batch of queue.batches.splice(0)) this.#finish(queue, batch, deleted(queue));
      this.schedule(queue);
      return;
    }
    queue.notBeforeMs = nowMs + backoffMs(queue.timesLeaderless, env.random);
    queue.timesLeaderless += 1;
    queue.timesMissing = known ? 0 : queue.timesMissing + 1;
    this.#wakeAt(queue, queue.notBeforeMs);
    void metadata.renew().then(() => this.schedule(queue));
  }

  #wakeAt(queue: PartitionQueue, atMs: number): void {
    if (queue.cancelTimer !== undefined && queue.timerAtMs <= atMs) return;
    queue.cancelTimer?.();
    queue.timerAtMs = atMs;
    const { clock } = this.#context.env;
    queue.cancelTimer = clock.timer(Math.max(0, atMs - clock.monoMs()), () => {
      queue.cancelTimer = undefined;
      queue.timerAtMs = Number.POSITIVE_INFINITY;
      this.schedule(queue);
    });
  }

  #armSweep(): void {
    if (this.#cancelSweep !== undefined || this.#stopped) return;
    const ms = Math.min(sweepMs, this.#options.deliveryTimeoutMs / 4);
    this.#cancelSweep = this.#context.env.clock.timer(ms, () => {
      this.#cancelSweep = undefined;
      this.#sweep();
      if (this.#active.size > 0) this.#armSweep();
    });
  }

  /** Fails batches past their deadline, and gives up streams whose broker does not answer. */
  #sweep(): void {
    const nowMs = this.#context.env.clock.monoMs();
    for (const queue of this.#active) {
      for (let head = queue.batches[0]; head !== undefined; head = queue.batches[0]) {
        if (!this.#expired(head, nowMs)) break;
        queue.batches.shift();
        this.#finish(queue, head, this.#timedOut(head, queue));
      }
      this.#leaveOldLeader(queue, nowMs);
      const oldest = queue.inFlight[0];
      if (oldest !== undefined && this.#expired(oldest, nowMs)) {
        queue.route?.reset(this.#timedOut(oldest, queue));
      }
      this.schedule(queue);
    }
    for (const sender of this.#senders.all()) {
      const sentMs = sender.oldestSentMs;
      if (sentMs === undefined) continue;
      const silentMs = nowMs - sentMs;
      if (silentMs >= suspectMs) this.#context.metadata.suspect(sender.endpoint, suspectMs);
      if (silentMs < this.#options.requestTimeoutMs) continue;
      sender.reset(
        new MillraceError(
          ErrorCode.UNAVAILABLE,
          `${sender.endpoint} left a batch unanswered for ${this.#options.requestTimeoutMs} ms: ` +
            "check the server",
        ),
      );
    }
  }

  /** A leader that was replaced, and answers nothing, hangs: it is not waited for. */
  #leaveOldLeader({ topic, partition, inFlight, route }: PartitionQueue, nowMs: number): void {
    const leader = this.#context.metadata.leaderOf(topic, partition);
    const sentMs = route?.oldestSentMs;
    if (leader === undefined || route === undefined || sentMs === undefined) return;
    if (inFlight.length === 0 || this.#senders.leadsTo(route, leader.endpoint)) return;
    if (nowMs - sentMs < replacedSilentMs) return;
    route.reset(
      new MillraceError(
        ErrorCode.UNAVAILABLE,
        `${route.endpoint}, which led ${topic}/${partition} before ${formatEndpoint(leader.endpoint)}, left a batch ` +
          `unanswered for ${Math.round(nowMs - sentMs)} ms: check the server`,
      ),
    );
  }

  #expired(batch: Batch, nowMs: number): boolean {
    return nowMs - batch.createdMs >= this.#options.deliveryTimeoutMs;
  }

  #timedOut(batch: Batch, queue: PartitionQueue): MillraceError {
    const cause = batch.lastError ?? queue.route?.lastError;
    const why = cause === undefined ? "" : ` (last: ${cause.codeName}: ${cause.message})`;
    return new MillraceError(
      ErrorCode.DEADLINE_EXCEEDED,
      `a batch was not acknowledged within ${this.#options.deliveryTimeoutMs} ms${why}: ` +
        "check the cluster, or raise deliveryTimeoutMs",
      { cause },
    );
  }

  #finish(queue: PartitionQueue, batch: Batch, outcome: WireProduceResult | MillraceError): void {
    if (batch.state === "done") return;
    // Reuse the memory of written batches only: a compressor or an abandoned stream may still read
    // that of a failed one.
    const { builder } = batch;
    if (builder !== undefined && !(outcome instanceof MillraceError)) this.#spare(builder);
    batch.finish();
    if (outcome instanceof MillraceError) {
      const isUncertain = batch.maybeWritten && !provesUnwritten(batch, outcome);
      // Who loses every race would need a new epoch for each.
      const isMismatch = isConditionCode(outcome.code) && !isUncertain;
      if (isMismatch) queue.needsOrderEpoch = true;
      const { recordCount, stamp } = batch;
      if (stamp !== undefined && !(isMismatch && queue.sequences.takeBack(stamp, recordCount))) {
        queue.sequences.break();
      }
      this.#events.onDone(queue, batch, isUncertain ? uncertain(outcome) : outcome);
      // Conditions on keys stand for themselves: no batch behind relies on another.
      if (batch.expectedEndOffset === undefined || this.#stopped) return;
      for (const one of takeBehind(queue, batch, outcome)) {
        this.#finish(queue, one, must(one.preceding, "failure before a batch"));
      }
    } else this.#events.onDone(queue, batch, outcome);
  }
}

/** A batch of this size was refused as too large. */
const lowerLimit = ({ limits }: PartitionQueue, { recordBytes }: Batch): void => {
  const half = Math.max(1, Math.floor(recordBytes / 2));
  limits.batchBytesMax = Math.min(limits.batchBytesMax, half);
};

/** Whether a batch would go to where those in flight went. */
const isSameWay = ({ route, topicId }: PartitionQueue, sender: Sender, leader: Leader): boolean =>
  route === sender && topicId !== undefined && isSameTopic(topicId, leader.topicId);

/** Whether the broker refused the sequences of a batch, which the queue has to know. */
const breaksSequences = (queue: PartitionQueue, batch: Batch, { code }: MillraceError): boolean => {
  if (batch.stamp === undefined) return false;
  if (code === ErrorCode.INVALID_PRODUCER_EPOCH) queue.sequences.fence();
  else if (code === ErrorCode.OUT_OF_ORDER_SEQUENCE) queue.sequences.break();
  else return false;
  return true;
};

/** The error of a batch, an earlier attempt of which may have been written: it says so. */
const uncertain = (error: MillraceError): MillraceError => {
  if (error.spec.sideEffects) return error;
  return new MillraceError(
    ErrorCode.UNAVAILABLE,
    "a batch may have been written, although sending it again failed " +
      `(${error.codeName}: ${error.message}): read the partition before you send it once more`,
    { cause: error },
  );
};

const deleted = ({ topic, partition }: PartitionQueue): MillraceError =>
  new MillraceError(
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    `${topic}-${partition} no longer exists: create it, or check the name`,
  );
