/** Moves batches from partition queues to brokers: readiness, order, retries, deadlines. */
import type { CompressionName, Env } from "@millrace/env";
import { ErrorCode, MillraceError, must } from "@millrace/errors";
import { BatchBuilder, crcOf, type HotProduceResult } from "@millrace/record";
import { backoffMs } from "../backoff.ts";
import type { Connections } from "../connections.ts";
import { isRetriable, wantsRefresh } from "../failures.ts";
import type { MetadataCache } from "../metadata.ts";
import type { Batch, PartitionQueue } from "./batch.ts";
import { Sender, type SenderContext, type SenderEvents } from "./sender.ts";

export interface DispatchOptions {
  readonly acks: number;
  readonly clientId: string;
  /** Undefined: adaptive. */
  readonly lingerMs: number | undefined;
  readonly compression: "none" | CompressionName;
  readonly compressionLevel: number | undefined;
  readonly deliveryTimeoutMs: number;
  readonly requestTimeoutMs: number;
  readonly inFlightPerPartitionMax: number;
}

export interface DispatchContext {
  readonly env: Pick<Env, "clock" | "random" | "compressor" | "logger">;
  readonly connections: Connections;
  readonly metadata: MetadataCache;
}

/** How a batch ended; called once per batch. */
export interface DispatchEvents {
  onDone(queue: PartitionQueue, batch: Batch, outcome: HotProduceResult | MillraceError): void;
}

/** Longest wait of an adaptive batch while its broker is busy, milliseconds. */
const adaptiveLingerMs = 5;
/** Attempts after which a topic that the metadata lack counts as deleted. */
const unknownTopicAttempts = 5;
const sweepMs = 1_000;
const spareBuildersMax = 256;

/** Owns the senders. Everything happens within event-loop turns of `clock.defer` and of answers. */
export class Dispatcher implements SenderEvents {
  readonly #options: DispatchOptions;
  readonly #context: DispatchContext;
  readonly #events: DispatchEvents;
  readonly #senders = new Map<string, Sender>();
  readonly #active = new Set<PartitionQueue>();
  readonly #spares: BatchBuilder[] = [];
  #listed: PartitionQueue[] = [];
  #deferred = false;
  #flushes = 0;
  #stopped = false;
  #nextBatchId = 1;
  #cancelSweep: (() => void) | undefined;

  constructor(options: DispatchOptions, context: DispatchContext, events: DispatchEvents) {
    this.#options = options;
    this.#context = context;
    this.#events = events;
  }

  /** A new open batch at the end of the queue. */
  openBatch(queue: PartitionQueue): Batch {
    const batch: Batch = {
      id: this.#nextBatchId,
      createdMs: this.#context.env.clock.monoMs(),
      builder: this.#spares.pop() ?? new BatchBuilder(),
      bytes: 0,
      recordCount: 0,
      waiters: [],
      sealed: false,
      compressing: false,
      body: undefined,
      bodyCrc: 0,
      attempts: 0,
      lastError: undefined,
      done: false,
    };
    this.#nextBatchId += 1;
    queue.batches.push(batch);
    this.#active.add(queue);
    this.#armSweep();
    return batch;
  }

  /** Closes a batch; compression begins at once. */
  seal(queue: PartitionQueue, batch: Batch): void {
    batch.sealed = true;
    if (this.#options.compression !== "none") this.#encode(queue, batch);
  }

  /** Has the queue looked at when this event-loop turn ends. */
  list(queue: PartitionQueue): void {
    if (queue.listed) return;
    queue.listed = true;
    this.#listed.push(queue);
    if (this.#deferred) return;
    this.#deferred = true;
    this.#context.env.clock.defer(this.#run);
  }

  /** While at least one flush is on, no batch lingers. */
  beginFlush(): void {
    this.#flushes += 1;
    for (const queue of this.#active) this.list(queue);
  }

  endFlush(): void {
    this.#flushes -= 1;
  }

  /** Fails everything with `error` and ends the streams. */
  stop(error: MillraceError): void {
    this.#stopped = true;
    this.#cancelSweep?.();
    for (const queue of this.#active) {
      queue.cancelTimer?.();
      for (const batch of [...queue.inFlight, ...queue.retries, ...queue.batches]) {
        this.#finish(queue, batch, error);
      }
    }
    for (const sender of this.#senders.values()) sender.stop();
  }

  onWritten(queue: PartitionQueue, batch: Batch, result: HotProduceResult): void {
    queue.answered(batch);
    this.#finish(queue, batch, result);
    this.list(queue);
  }

  onFailed(queue: PartitionQueue, batch: Batch, error: MillraceError): void {
    queue.answered(batch);
    const { clock, random } = this.#context.env;
    const nowMs = clock.monoMs();
    batch.lastError = error;
    if (error.leaderHint !== undefined) {
      this.#context.metadata.applyHint(queue.topic, queue.partition, error.leaderHint);
    } else if (wantsRefresh(error)) void this.#context.metadata.tryRefresh();
    if (this.#stopped || !isRetriable(error)) this.#finish(queue, batch, error);
    else if (this.#expired(batch, nowMs)) this.#finish(queue, batch, this.#timedOut(batch, queue));
    else if (error.code === ErrorCode.PRECEDING_REQUEST_FAILED) {
      // Nothing is wrong with this one: it waits as long as the one before it.
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
    this.list(queue);
  }

  onReady(sender: Sender): void {
    if (sender.waiting.size > 0) {
      for (const queue of sender.waiting) this.list(queue);
      sender.waiting.clear();
    }
    if (sender.lingering.size > 0 && sender.idle) {
      for (const queue of sender.lingering) this.list(queue);
      sender.lingering.clear();
    }
  }

  onLost(sender: Sender): void {
    void this.#context.metadata.tryRefresh().then(() => this.onReady(sender));
  }

  readonly #run = (): void => {
    this.#deferred = false;
    const queues = this.#listed;
    this.#listed = [];
    for (const queue of queues) {
      queue.listed = false;
      if (!this.#stopped) this.#drive(queue);
    }
  };

  /** Sends what may be sent of a partition. */
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
        this.#noLeader(queue, batch, nowMs);
        return;
      }
      const sender = this.#senderFor(leader.endpoint);
      queue.sender = sender;
      if (!batch.sealed && !this.#ripe(queue, batch, sender, nowMs)) return;
      if (!sender.ready(queue)) return;
      if (batch.body === undefined && !this.#encode(queue, batch)) return;
      if (!sender.offer(queue, batch, leader)) return;
      queue.batches.shift();
    }
    if (queue.batches.length === 0 && queue.inFlight.length === 0) this.#active.delete(queue);
  }

  /** True when an open batch may go now; else it will be looked at again in time. */
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

  /** Makes the body. False while it is being compressed. */
  #encode(queue: PartitionQueue, batch: Batch): boolean {
    batch.sealed = true;
    if (batch.compressing) return false;
    const builder = must(batch.builder, "builder of a batch without a body");
    const { compression, compressionLevel: level } = this.#options;
    if (compression === "none") {
      batch.body = builder.viewPlain();
      batch.bodyCrc = crcOf(batch.body);
      return true;
    }
    batch.compressing = true;
    const { compressor } = this.#context.env;
    builder
      .finish({ compression, compressor, ...(level === undefined ? {} : { level }) })
      .then((body) => {
        this.#encoded(batch, builder, body);
        this.list(queue);
      })
      .catch((thrown: unknown) => {
        const at = queue.batches.indexOf(batch);
        if (at >= 0) queue.batches.splice(at, 1);
        this.#finish(queue, batch, MillraceError.from(thrown));
        this.list(queue);
      });
    return false;
  }

  #encoded(batch: Batch, builder: BatchBuilder, body: Buffer): void {
    batch.compressing = false;
    batch.body = body;
    batch.bodyCrc = crcOf(body);
    batch.builder = undefined;
    this.#spare(builder);
  }

  #spare(builder: BatchBuilder): void {
    builder.reset();
    if (this.#spares.length < spareBuildersMax) this.#spares.push(builder);
  }

  #noLeader(queue: PartitionQueue, batch: Batch, nowMs: number): void {
    const { metadata, env } = this.#context;
    if (metadata.peek(queue.topic) === undefined && batch.attempts >= unknownTopicAttempts) {
      queue.batches.shift();
      this.#finish(queue, batch, unknownTopic(queue.topic));
      this.list(queue);
      return;
    }
    queue.notBeforeMs = nowMs + backoffMs(batch.attempts, env.random);
    batch.attempts += 1;
    this.#wakeAt(queue, queue.notBeforeMs);
    void metadata.tryRefresh().then(() => this.list(queue));
  }

  #senderFor(endpoint: string): Sender {
    let sender = this.#senders.get(endpoint);
    if (sender === undefined) {
      const { env, connections, metadata } = this.#context;
      const context: SenderContext = {
        clock: env.clock,
        random: env.random,
        logger: env.logger,
        clientId: this.#options.clientId,
        acks: this.#options.acks,
        clusterId: () => metadata.clusterId,
      };
      sender = new Sender(endpoint, connections.channel(endpoint), context, this);
      this.#senders.set(endpoint, sender);
    }
    return sender;
  }

  #wakeAt(queue: PartitionQueue, atMs: number): void {
    if (queue.cancelTimer !== undefined && queue.timerAtMs <= atMs) return;
    queue.cancelTimer?.();
    queue.timerAtMs = atMs;
    const { clock } = this.#context.env;
    queue.cancelTimer = clock.timer(Math.max(0, atMs - clock.monoMs()), () => {
      queue.cancelTimer = undefined;
      queue.timerAtMs = Number.POSITIVE_INFINITY;
      this.list(queue);
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

  /** Ends what has waited too long. */
  #sweep(): void {
    const nowMs = this.#context.env.clock.monoMs();
    for (const queue of this.#active) {
      for (let head = queue.batches[0]; head !== undefined; head = queue.batches[0]) {
        if (!this.#expired(head, nowMs) || head.compressing) break;
        queue.batches.shift();
        this.#finish(queue, head, this.#timedOut(head, queue));
      }
      const oldest = queue.inFlight[0];
      if (oldest !== undefined && this.#expired(oldest, nowMs)) {
        queue.sender?.reset(this.#timedOut(oldest, queue));
      }
      this.list(queue);
    }
    for (const sender of this.#senders.values()) {
      const sentMs = sender.oldestSentMs;
      if (sentMs === undefined || nowMs - sentMs < this.#options.requestTimeoutMs) continue;
      sender.reset(
        new MillraceError(
          ErrorCode.UNAVAILABLE,
          `${sender.endpoint} left a batch unanswered for ${this.#options.requestTimeoutMs} ms: ` +
            "check the server",
        ),
      );
    }
  }

  #expired(batch: Batch, nowMs: number): boolean {
    return nowMs - batch.createdMs >= this.#options.deliveryTimeoutMs;
  }

  #timedOut(batch: Batch, queue: PartitionQueue): MillraceError {
    const cause = batch.lastError ?? queue.sender?.lastError;
    const why = cause === undefined ? "" : ` (last: ${cause.codeName}: ${cause.message})`;
    return new MillraceError(
      ErrorCode.DEADLINE_EXCEEDED,
      `not acknowledged within ${this.#options.deliveryTimeoutMs} ms${why}: ` +
        "check the cluster, or raise deliveryTimeoutMs",
      { cause },
    );
  }

  #finish(queue: PartitionQueue, batch: Batch, outcome: HotProduceResult | MillraceError): void {
    if (batch.done) return;
    batch.done = true;
    // The memory of a batch that failed is not used again: a stream that is being given up may still read it.
    if (batch.builder !== undefined && !(outcome instanceof MillraceError))
      this.#spare(batch.builder);
    batch.builder = undefined;
    batch.body = undefined;
    this.#events.onDone(queue, batch, outcome);
  }
}

const unknownTopic = (topic: string): MillraceError =>
  new MillraceError(
    ErrorCode.UNKNOWN_TOPIC_OR_PARTITION,
    `topic ${JSON.stringify(topic)} does not exist any more: create it, or check the name`,
  );
