/**
 * A produce stream: requests in, results out, in order per partition. While more than the window is
 * unanswered, nothing is read, and HTTP/2 makes the client wait.
 */

import { ErrorCode, MillraceError } from "@millrace/errors";
import { batchesKept } from "@millrace/log";
import { Acks, Guarantee } from "@millrace/proto/common";
import type { WireProduceRequest, WireProduceResponse, WireProduceResult } from "@millrace/record";
import type { ServerStream } from "@millrace/rpc";
import { checkFeatures, featureLevel } from "../features.ts";
import { limits } from "../limits.ts";
import { readHandshake } from "../stream-handshake.ts";
import { type Appender, wirePartitionError } from "./appender.ts";
import type { AppendOrder } from "./pending-append.ts";

type ProduceStream = ServerStream<WireProduceRequest, WireProduceResponse>;

const empty: WireProduceResponse = { opened: undefined, results: [], drain: undefined };

const violation = (what: string): MillraceError =>
  MillraceError.refusal(ErrorCode.STREAM_PROTOCOL_VIOLATION, `${what}: see ProduceService.Produce`);

const anyPartition = "*";

/** One stream. `run` resolves once the client has half-closed and every request is answered. */
export class ProduceSession {
  readonly #stream: ProduceStream;
  readonly #appender: Appender;
  #acks: Acks = Acks.ALL;
  #windowBytes: number = limits.produceWindowBytesMax;
  #inFlightBytes = 0;
  #inFlight = 0;
  #results: WireProduceResult[] = [];
  #flushing = false;
  #full = false;
  /** Called by the next answer, and when the client is gone. */
  #wake: () => void = () => {};
  /** Highest order epoch of a failed request, by partition. */
  readonly #failedEpochs = new Map<string, number>();

  constructor(stream: ProduceStream, appender: Appender) {
    this.#stream = stream;
    this.#appender = appender;
  }

  async run(): Promise<void> {
    const { context } = this.#stream;
    const stopDrain = this.#appender.onDrain(context, (graceMs) => {
      this.#stream.write({ ...empty, drain: { graceMs, reason: "the server is stopping" } });
    });
    const onAbort = (): void => this.#wake();
    context.signal.addEventListener("abort", onAbort);
    try {
      await this.#open();
      for (;;) {
        const request = this.#stream.tryRead() ?? (await this.#stream.read());
        if (request === undefined) break;
        this.#accept(request);
        await this.#appender.waitForCapacity();
        if (this.#isBeyondWindow) await this.#waitForWindow();
        // Stop reading until the client drains its responses.
        if (this.#full) await this.#stream.drained();
        this.#full = false;
      }
      while (this.#inFlight > 0) await this.#nextAnswer();
      this.#flush();
    } finally {
      stopDrain();
      context.signal.removeEventListener("abort", onAbort);
    }
  }

  get #isBeyondWindow(): boolean {
    // A request costs memory besides its bytes, and may have none.
    return this.#inFlightBytes > this.#windowBytes || this.#inFlight > limits.produceInFlightMax;
  }

  /** A client that is gone is not waited for: reading tells why it left. */
  async #waitForWindow(): Promise<void> {
    const { signal } = this.#stream.context;
    while (this.#isBeyondWindow && !signal.aborted) await this.#nextAnswer();
  }

  #nextAnswer(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = resolve;
    });
  }

  async #open(): Promise<void> {
    const first = await readHandshake(this.#stream, this.#appender.clock);
    const open = first.open;
    if (open === undefined) throw violation("the first message has no open");
    checkFeatures(open.requiredFeatures);
    if (first.body !== undefined) throw violation("the first message carries a batch");
    this.#appender.checkClient(open.clientId, open.clusterId);
    this.#acks = open.acks === Acks.UNSPECIFIED ? Acks.ALL : open.acks;
    if (Acks[this.#acks] === undefined) {
      throw MillraceError.refusal(
        ErrorCode.INVALID_REQUEST,
        `acks ${open.acks} is unknown: use all, leader or none`,
      );
    }
    if (open.windowBytes > 0) {
      this.#windowBytes = Math.min(open.windowBytes, limits.produceWindowBytesMax);
    }
    const { clusterId, brokerId } = this.#appender.identity;
    const opened = {
      windowBytes: this.#windowBytes,
      messageBytesMax: limits.messageBytesMax,
      clusterId,
      brokerId,
      featureLevel,
      producerBatches: batchesKept,
    };
    this.#stream.write({ ...empty, opened });
  }

  #accept(request: WireProduceRequest): void {
    if (request.open !== undefined) throw violation("a second open");
    if (request.body === undefined) throw violation(`request ${request.requestId} has no batch`);
    const bytes = request.body.length;
    this.#inFlightBytes += bytes;
    this.#inFlight += 1;
    const { requestId } = request;
    const target = request.orderEpoch === 0 ? request : { ...request, order: this.#order(request) };
    this.#appender.append(target, request.body, this.#acks, (outcome) => {
      this.#inFlightBytes -= bytes;
      this.#inFlight -= 1;
      this.#answer(
        "error" in outcome
          ? {
              requestId,
              baseOffset: undefined,
              appendTimeMs: undefined,
              logStartOffset: undefined,
              guarantee: Guarantee.UNSPECIFIED,
              duplicate: false,
              error: wirePartitionError(outcome.error),
              windowBytes: bytes,
            }
          : { requestId, ...outcome, error: undefined, windowBytes: bytes },
      );
      this.#wake();
    });
  }

  #order(request: WireProduceRequest): AppendOrder {
    const { orderEpoch, partition, topic } = request;
    // A copy: a view would keep the message until the answer.
    const topicId = new Uint8Array(request.topicId);
    const failed = this.#failedEpochs;
    // Keys are built only after a failure.
    const key = (): string => `${partition}/${topic}/${Buffer.from(topicId).toString("hex")}`;
    return {
      check: () => {
        if (failed.size === 0) return;
        if (orderEpoch > Math.max(failed.get(key()) ?? 0, failed.get(anyPartition) ?? 0)) return;
        throw MillraceError.refusal(
          ErrorCode.PRECEDING_REQUEST_FAILED,
          `an earlier request of partition ${partition} failed: send both again, with a higher order_epoch`,
        );
      },
      failed: () => {
        // Beyond the bound a failure counts for all partitions: more retries, but never a wrong
        // order.
        const name = failed.size < limits.failedPartitionsMax ? key() : anyPartition;
        failed.set(name, Math.max(orderEpoch, failed.get(name) ?? 0));
      },
    };
  }

  /**
   * Results of one commit leave in one message, or in few, within the same turn of the event loop,
   * at whose end HTTP/2 writes.
   */
  #answer(result: WireProduceResult): void {
    this.#results.push(result);
    if (this.#flushing) return;
    this.#flushing = true;
    void Promise.resolve().then(() => this.#flush());
  }

  #flush(): void {
    this.#flushing = false;
    if (this.#results.length === 0) return;
    const all = this.#results;
    this.#results = [];
    for (let at = 0; at < all.length; at += limits.produceResultsMax) {
      const results = all.slice(at, at + limits.produceResultsMax);
      this.#full = !this.#stream.write({ opened: undefined, results, drain: undefined });
    }
  }
}
