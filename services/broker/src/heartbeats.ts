/**
 * Tells the active controller that this broker is alive: one stream on a connection of its own, so
 * that no load of clients and no other call holds up a beat. When the controller is silent, or is
 * another one, the stream is opened anew.
 */
import { create } from "@bufbuild/protobuf";
import type { Cancel, Clock, Logger, Random } from "@millrace/env";
import { type Endpoint, ErrorCode, formatEndpoint, MillraceError } from "@millrace/errors";
import {
  type HeartbeatRequest,
  HeartbeatRequestSchema,
  type HeartbeatResponse,
  ReplicaService,
} from "@millrace/proto/controller";
import { type ClientStream, type Dialer, methodOf } from "@millrace/rpc";
import type { ClusterView } from "./metadata/view.ts";

export interface HeartbeatsOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly dialer: Dialer;
  readonly view: ClusterView;
  readonly identity: { readonly clusterId: string; readonly brokerId: number };
  /** Epoch of this broker's registration; 0 while it has none. */
  readonly brokerEpoch: () => number;
}

type Stream = ClientStream<HeartbeatRequest, HeartbeatResponse>;

const method = methodOf(ReplicaService.method.heartbeat);

/** Pauses after a stream has ended, ms; doubled with each one in a row that was not opened. */
const retryMsMin = 50;
const retryMsMax = 1_000;
/** Longest wait for the answer to an opening, ms. */
const openTimeoutMs = 2_000;
/** Beats without an answer before the controller is taken for dead. */
const answersMissedMax = 3;
/** Longest wait of a stop for the controller to have heard the goodbye, ms. */
const goodbyeMsMax = 500;

export class Heartbeats {
  readonly #options: HeartbeatsOptions;
  #stream: Stream | undefined;
  /** Ends the stream, also while it is being opened. */
  #endAttempt: () => void = () => {};
  #wake: () => void = () => {};
  #cancelBeat: Cancel = () => {};
  #cancelSilence: Cancel = () => {};
  #isClosed = false;
  #done: Promise<void> = Promise.resolve();

  constructor(options: HeartbeatsOptions) {
    this.#options = options;
  }

  /** Beats from now on; once. */
  start(): void {
    if (!this.#isClosed) this.#done = this.#run();
  }

  /** Says goodbye, so that the controller does not take the end for a death. */
  async close(): Promise<void> {
    this.#isClosed = true;
    this.#wake();
    const stream = this.#stream;
    if (stream === undefined) this.#endAttempt();
    else {
      this.#cancelBeat();
      stream.write(create(HeartbeatRequestSchema, { goodbye: true }));
      stream.end();
    }
    const cancel = this.#options.clock.timer(goodbyeMsMax, () => this.#endAttempt());
    await this.#done;
    cancel();
  }

  /** Never rejects. */
  async #run(): Promise<void> {
    const { logger } = this.#options;
    let failures = 0;
    while (!this.#isClosed) {
      const attempt = { opened: false };
      const failure = await this.#attempt(attempt).catch((thrown: unknown) =>
        MillraceError.from(thrown),
      );
      if (this.#isClosed) break;
      if (attempt.opened) failures = 0;
      if (failure !== undefined && failures === 0) {
        logger.warn({ err: failure }, "heartbeats do not reach the controller: trying again");
      }
      await this.#pause(failures);
      failures += 1;
    }
  }

  /** One stream, from its opening to its end. */
  async #attempt(attempt: { opened: boolean }): Promise<undefined> {
    const epoch = this.#options.brokerEpoch();
    const endpoint = this.#options.view.current.internalController;
    if (endpoint === undefined || epoch === 0) {
      const text = "no controller is active, or this broker is not registered: retry";
      throw MillraceError.refusal(ErrorCode.NOT_CONTROLLER, text);
    }
    const channel = this.#options.dialer.dial(formatEndpoint(endpoint), endpoint);
    const stream = channel.bidi(method);
    this.#endAttempt = () => stream.cancel();
    try {
      const intervalMs = await this.#open(stream, epoch);
      attempt.opened = true;
      this.#stream = stream;
      if (!this.#isClosed) this.#beatLater(stream, intervalMs, { endpoint, epoch });
      for (;;) {
        this.#expectAnswer(stream, intervalMs);
        if ((await stream.read()) === undefined) return;
      }
    } finally {
      this.#stream = undefined;
      this.#cancelBeat();
      this.#cancelSilence();
      stream.cancel();
      channel.close();
    }
  }

  /** Returns the interval of the beats. */
  async #open(stream: Stream, epoch: number): Promise<number> {
    const { clock, identity } = this.#options;
    const open = { ...identity, brokerEpoch: BigInt(epoch) };
    stream.write(create(HeartbeatRequestSchema, { open }));
    const late = new MillraceError(
      ErrorCode.DEADLINE_EXCEEDED,
      `the controller has not answered within ${openTimeoutMs} ms`,
    );
    const cancel = clock.timer(openTimeoutMs, () => stream.cancel(late));
    const first = await stream.read().finally(cancel);
    const intervalMs = first?.opened?.intervalMs ?? 0;
    if (intervalMs > 0) return intervalMs;
    const text = "the controller ended the stream, or answered without an interval";
    throw new MillraceError(ErrorCode.STREAM_PROTOCOL_VIOLATION, text);
  }

  /** Beats by the clock, whatever was answered so far. */
  #beatLater(
    stream: Stream,
    intervalMs: number,
    to: { readonly endpoint: Endpoint; readonly epoch: number },
  ): void {
    this.#cancelBeat = this.#options.clock.timer(intervalMs, () => {
      const { brokerEpoch, view } = this.#options;
      const { internalController: now } = view.current;
      const isMoved = now !== undefined && formatEndpoint(now) !== formatEndpoint(to.endpoint);
      if (isMoved || brokerEpoch() !== to.epoch) {
        const text = "the controller has moved, or this broker has registered anew";
        stream.cancel(MillraceError.refusal(ErrorCode.STALE_BROKER_EPOCH, text));
        return;
      }
      stream.write(create(HeartbeatRequestSchema, {}));
      this.#beatLater(stream, intervalMs, to);
    });
  }

  #expectAnswer(stream: Stream, intervalMs: number): void {
    const silenceMs = intervalMs * answersMissedMax;
    this.#cancelSilence();
    this.#cancelSilence = this.#options.clock.timer(silenceMs, () => {
      const text = `the controller has been silent for ${silenceMs} ms`;
      stream.cancel(new MillraceError(ErrorCode.UNAVAILABLE, text));
    });
  }

  async #pause(failures: number): Promise<void> {
    const { clock, random } = this.#options;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    const ms = Math.min(retryMsMax, retryMsMin * 2 ** Math.min(failures, 10));
    const cancel = clock.timer(ms * (0.5 + random.float()), resolve);
    await promise;
    cancel();
  }
}
