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
import { StreamRetries } from "./stream-retries.ts";

export interface HeartbeatsOptions {
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly dialer: Dialer;
  readonly view: ClusterView;
  readonly identity: { readonly clusterId: string; readonly brokerId: number };
  /** Epoch of this broker's registration; 0 while it has none. */
  readonly brokerEpoch: () => number;
  /** Partitions with a log on the disk, whatever the metadata says. */
  readonly logCount: () => number;
  /** How long records have waited to be committed, the longest, ms. */
  readonly commitLagMs: () => number;
}

type Stream = ClientStream<HeartbeatRequest, HeartbeatResponse>;

const method = methodOf(ReplicaService.method.heartbeat);

/** Longest pause before a stream is opened anew, ms. */
const pauseMsMax = 1_000;
/** Longest wait for the answer to an opening, ms. */
const openTimeoutMs = 2_000;
/** Beats without an answer before the controller is taken for dead. */
const answersMissedMax = 3;
/** Longest wait of a stop for the controller to have heard the goodbye, ms. */
const goodbyeMsMax = 500;

export class Heartbeats {
  readonly #options: HeartbeatsOptions;
  readonly #retries: StreamRetries;
  #stream: Stream | undefined;
  /** Ends the stream, also while it is being opened. */
  #endAttempt: () => void = () => {};
  #cancelBeat: Cancel = () => {};
  #cancelSilence: Cancel = () => {};
  #done: Promise<void> = Promise.resolve();

  constructor(options: HeartbeatsOptions) {
    this.#options = options;
    const { clock, logger, random } = options;
    this.#retries = new StreamRetries({
      ...{ clock, random, pauseMsMax },
      attempt: (opened) => this.#attempt(opened),
      onFailure: (err) => {
        logger.warn({ err }, "heartbeats do not reach the controller: trying again");
      },
    });
  }

  /** Beats from now on; once. */
  start(): void {
    this.#done = this.#retries.run();
  }

  /** Says goodbye, so that the controller does not take the end for a death. */
  async close(): Promise<void> {
    this.#retries.stop();
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

  /** One stream, from its opening to its end. */
  async #attempt(opened: () => void): Promise<void> {
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
      opened();
      this.#stream = stream;
      if (!this.#retries.isStopped) this.#beatLater(stream, intervalMs, { endpoint, epoch });
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
      const { commitLagMs, logCount } = this.#options;
      const told = { logCount: logCount(), commitLagMs: Math.round(commitLagMs()) };
      stream.write(create(HeartbeatRequestSchema, told));
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
}
