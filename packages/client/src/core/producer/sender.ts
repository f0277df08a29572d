/** The produce stream to one broker. */
import type { Clock, Logger, Random } from "@millrace/env";
import { ErrorCode, MillraceError, must, sizeText } from "@millrace/errors";
import {
  blankProduceRequest,
  HEADROOM_BYTES,
  type WireProduceRequest,
  type WireProduceResponse,
  type WireProduceResult,
} from "@millrace/record";
import type { Channel, ClientStream } from "@millrace/rpc";
import { backoffMs } from "../backoff.ts";
import { leaderSilentMs } from "../deadlines.ts";
import { fromWire } from "../failures.ts";
import type { Leader } from "../metadata/index.ts";
import { produceMethod } from "../methods.ts";
import { owesAnswer, silentMs } from "../state.ts";
import type { Batch } from "./batch.ts";
import type { PartitionQueue, Route } from "./partition-queue.ts";

/** What a sender tells its producer. */
export interface SenderEvents {
  /** The broker wrote the batch. */
  onWritten(queue: PartitionQueue, batch: Batch, result: WireProduceResult): void;
  /** The broker refused the batch. By `error.spec.sideEffects`, it may have been written. */
  onFailed(queue: PartitionQueue, batch: Batch, error: MillraceError): void;
  /** The stream broke before the answer. */
  onUnanswered(queue: PartitionQueue, batch: Batch, error: MillraceError): void;
  /** The stream can take batches again. */
  onReady(sender: Sender): void;
  /** The stream broke. The metadata may be stale. */
  onLost(sender: Sender, error: MillraceError): void;
  /** The server is stopping, and ended the stream once all was answered. */
  onStopping(sender: Sender, error: MillraceError): void;
}

export interface SenderContext {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly clientId: string;
  readonly acks: number;
  readonly clusterId: () => string;
  /** Without them the server must not take the stream. */
  readonly requiredFeatures: readonly string[];
}

interface Sent {
  readonly queue: PartitionQueue;
  readonly batch: Batch;
  readonly sentMs: number;
}

type Stream = ClientStream<WireProduceRequest, WireProduceResponse>;

/** Window to ask for, bytes. The server may grant less. */
const windowBytesWanted = 16 * 1024 * 1024;
/** Upper bound of the bytes of a request besides its body. */
const requestOverheadBytes = 512;

/**
 * Sends batches to one broker over one stream. Opens the stream on demand, and again after a
 * failure.
 */
export class Sender implements Route {
  /** `host:port`, for texts. */
  readonly endpoint: string;
  /** Queues that wait for room in the window, in the order in which they came. */
  readonly waiting = new Set<PartitionQueue>();
  /** Queues whose open batch goes as soon as nothing is in flight. */
  readonly lingering = new Set<PartitionQueue>();
  readonly #context: SenderContext;
  readonly #channel: Channel;
  readonly #events: SenderEvents;
  readonly #sent = new Map<number, Sent>();
  #stream: Stream | undefined;
  #state: "closed" | "opening" | "open" | "draining" | "backing_off" = "closed";
  #congested = false;
  #windowBytes = 0;
  #inFlightBytes = 0;
  #messageBytesMax = 0;
  #producerBatches = 1;
  #nextRequestId = 1;
  #failures = 0;
  #stopped = false;
  #lastError: MillraceError | undefined;
  /** When the stream was opened last, monotonic. */
  #openedMs = 0;
  #cancelTimer: () => void = () => {};

  constructor(channel: Channel, context: SenderContext, events: SenderEvents) {
    this.endpoint = channel.endpoint;
    this.#channel = channel;
    this.#context = context;
    this.#events = events;
  }

  /** True when no request waits for an answer. */
  get idle(): boolean {
    return this.#sent.size === 0;
  }

  /** Time at which the oldest unanswered request was sent; undefined when idle. */
  get oldestSentMs(): number | undefined {
    for (const { sentMs } of this.#sent.values()) return sentMs;
    return undefined;
  }

  /** True when a small batch can be sent now. Otherwise remembers the queue and opens the stream if
   * needed, so that an open batch takes records until it can go. */
  ready(queue: PartitionQueue): boolean {
    if (this.#state === "closed") this.#open();
    const full = this.#inFlightBytes > 0 && this.#inFlightBytes >= this.#windowBytes;
    if (this.#state === "open" && !this.#congested && !full) return true;
    this.waiting.add(queue);
    return false;
  }

  /**
   * Batches of an idempotent producer that may be unanswered in each partition, as the server says;
   * 1 when it does not.
   */
  get producerBatches(): number {
    return this.#producerBatches;
  }

  /** Whether the server must have a feature. */
  requires(feature: string | undefined): boolean {
    return feature !== undefined && this.#context.requiredFeatures.includes(feature);
  }

  /** Why the stream broke last; undefined once it opened. */
  get lastError(): MillraceError | undefined {
    return this.#lastError;
  }

  /** Why nothing moves: the stream is broken, or the server owes an answer. */
  trouble(nowMs: number): MillraceError | undefined {
    if (this.#lastError !== undefined) return this.#lastError;
    const sinceMs = this.#state === "opening" ? this.#openedMs : this.oldestSentMs;
    if (sinceMs === undefined || nowMs - sinceMs < silentMs) return undefined;
    return owesAnswer(this.endpoint, nowMs - sinceMs);
  }

  /** Opens a stream that broke, although nothing is to be sent. */
  reopen(): void {
    if (this.#state === "closed") this.#open();
  }

  /** Why a batch must not be sent: the server would end the stream. Holds while `ready` does. */
  tooLarge(batch: Batch): MillraceError | undefined {
    const bytes = must(batch.body, "body of a batch to send").length + requestOverheadBytes;
    const max = this.#messageBytesMax;
    if (bytes <= max) return undefined;
    return new MillraceError(
      ErrorCode.MESSAGE_TOO_LARGE,
      `a request of ${sizeText(bytes)} exceeds the server's limit of ${sizeText(max)}: ` +
        "send smaller records",
    );
  }

  /** Sends the batch if the window has room. Otherwise remembers the queue for `onReady`. */
  offer(queue: PartitionQueue, batch: Batch, leader: Leader): boolean {
    const body = must(batch.body, "body of a batch to send");
    if (this.#state === "closed") this.#open();
    const bytes = body.length;
    const fits = this.#inFlightBytes === 0 || this.#inFlightBytes + bytes <= this.#windowBytes;
    if (this.#state !== "open" || this.#congested || !fits) {
      this.waiting.add(queue);
      return false;
    }
    const requestId = this.#nextRequestId;
    this.#nextRequestId += 1;
    this.#sent.set(requestId, { queue, batch, sentMs: this.#context.clock.monoMs() });
    this.#inFlightBytes += bytes;
    queue.sent(batch, leader.topicId);
    this.#write({
      open: undefined,
      requestId,
      topicId: leader.topicId,
      topic: leader.topicId.length === 0 ? queue.topic : "",
      partition: queue.partition,
      leaderEpoch: leader.leaderEpoch,
      body,
      bodyCrc: batch.bodyCrc,
      orderEpoch: queue.orderEpoch,
      expectedEndOffset: batch.expectedEndOffset,
      expectedLastOffsetForKey: batch.expectedLastOffsetForKey,
      // A body in its builder's memory has room before it for the head of the request.
      headroomBytes: batch.builder === undefined ? 0 : HEADROOM_BYTES,
    });
    return true;
  }

  /** Gives up the stream; what is unanswered fails with `error`. */
  reset(error: MillraceError): void {
    if (this.#stream !== undefined) this.#lost(this.#stream, error);
  }

  /** Ends the stream for good. */
  stop(): void {
    this.#stopped = true;
    this.#cancelTimer();
    const stream = this.#stream;
    this.#stream = undefined;
    this.#state = "closed";
    if (stream === undefined) return;
    if (this.#sent.size === 0) stream.end();
    else stream.cancel();
    this.#sent.clear();
  }

  #write(message: WireProduceRequest): void {
    const stream = this.#stream;
    if (stream === undefined || stream.write(message)) return;
    this.#congested = true;
    void stream.drained().then(() => {
      if (this.#stream !== stream) return;
      this.#congested = false;
      this.#events.onReady(this);
    });
  }

  #open(): void {
    if (this.#stopped) return;
    this.#state = "opening";
    this.#openedMs = this.#context.clock.monoMs();
    this.#congested = false;
    const stream = this.#channel.bidi(produceMethod);
    this.#stream = stream;
    this.#write({
      ...blankProduceRequest,
      open: {
        clientId: this.#context.clientId,
        acks: this.#context.acks,
        windowBytes: windowBytesWanted,
        clusterId: this.#context.clusterId(),
        requiredFeatures: this.#context.requiredFeatures,
      },
    });
    this.#cancelTimer = this.#context.clock.timer(leaderSilentMs, () => {
      this.#lost(stream, unanswered(this.endpoint, leaderSilentMs));
    });
    void this.#receive(stream);
  }

  /** Reads answers until the stream ends. Never rejects. */
  async #receive(stream: Stream): Promise<void> {
    try {
      for (;;) {
        const message = stream.tryRead() ?? (await stream.read());
        if (this.#stream !== stream) return;
        if (message === undefined) break;
        this.#take(stream, message);
      }
      this.#lost(stream, new MillraceError(ErrorCode.UNAVAILABLE, "the server ended the stream"));
    } catch (thrown) {
      this.#lost(stream, MillraceError.from(thrown));
    }
  }

  #take(stream: Stream, message: WireProduceResponse): void {
    const { opened } = message;
    if (opened !== undefined) {
      this.#cancelTimer();
      this.#failures = 0;
      this.#lastError = undefined;
      this.#state = "open";
      this.#windowBytes = opened.windowBytes;
      this.#messageBytesMax = opened.messageBytesMax;
      this.#producerBatches = Math.max(1, opened.producerBatches);
    }
    for (const result of message.results) this.#answer(result);
    if (message.drain !== undefined && this.#state === "open") this.#state = "draining";
    if (this.#state === "draining" && this.#sent.size === 0) {
      this.#stream = undefined;
      stream.end();
      this.#lastError = stopping(this.endpoint);
      this.#backOff();
      this.#events.onStopping(this, this.#lastError);
      return;
    }
    this.#events.onReady(this);
  }

  #answer(result: WireProduceResult): void {
    const sent = this.#sent.get(result.requestId);
    if (sent === undefined) return;
    this.#sent.delete(result.requestId);
    this.#inFlightBytes -= sent.batch.body?.length ?? 0;
    if (result.error === undefined) this.#events.onWritten(sent.queue, sent.batch, result);
    else this.#events.onFailed(sent.queue, sent.batch, fromWire(result.error));
  }

  #lost(stream: Stream, error: MillraceError): void {
    if (this.#stream !== stream) return;
    this.#cancelTimer();
    this.#stream = undefined;
    this.#lastError = error;
    stream.cancel(error);
    this.#context.logger.debug({ err: error, endpoint: this.endpoint }, "produce stream lost");
    const sent = [...this.#sent.values()];
    this.#sent.clear();
    this.#inFlightBytes = 0;
    this.#backOff();
    for (const { queue, batch } of sent) this.#events.onUnanswered(queue, batch, error);
    this.#events.onLost(this, error);
  }

  #backOff(): void {
    this.#state = "backing_off";
    const ms = backoffMs(this.#failures, this.#context.random);
    this.#failures += 1;
    this.#cancelTimer = this.#context.clock.timer(ms, () => {
      this.#state = "closed";
      this.#events.onReady(this);
    });
  }
}

const stopping = (endpoint: string): MillraceError =>
  new MillraceError(ErrorCode.SHUTTING_DOWN, `${endpoint} is stopping`);

const unanswered = (endpoint: string, ms: number): MillraceError =>
  new MillraceError(
    ErrorCode.UNAVAILABLE,
    `${endpoint} did not answer within ${ms} ms: check the server and the network`,
  );
