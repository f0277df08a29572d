/** Calling over grpc-js. */

import type { Duplex as NodeDuplex } from "node:stream";
import { Client, credentials, type CallOptions as GrpcCallOptions } from "@grpc/grpc-js";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { CallOptions, Channel, ClientStream, Dialer, Method } from "../api.ts";
import { asBuffer, GrpcDuplex, identity } from "./duplex.ts";
import { errorOf, fromMap } from "./metadata.ts";
import { connectionWindowBytes } from "./windows.ts";

export interface GrpcClientOptions {
  /** Largest message received, bytes. Default 64 MiB. */
  readonly messageBytesMax?: number;
}

const mib = 1024 * 1024;
const unaryTimeoutMsDefault = 30_000;
/** After so many failures of the transport in a row the connection is made anew (grpc-node #3040). */
const failuresMax = 3;

/** A dialer of plaintext HTTP/2 connections. */
export const grpcDialer = (options: GrpcClientOptions = {}): Dialer => ({
  dial: (endpoint) => new GrpcChannel(endpoint, options),
});

type Failure = Parameters<typeof errorOf>[0];

class GrpcChannel implements Channel {
  readonly endpoint: string;
  readonly #options: GrpcClientOptions;
  #client: Client;
  readonly #live = new Set<(reason: MillraceError) => void>();
  #failures = 0;
  #closed = false;

  constructor(endpoint: string, options: GrpcClientOptions) {
    this.endpoint = endpoint;
    this.#options = options;
    this.#client = this.#connect();
  }

  unary<I, O>(method: Method<I, O>, request: I, options: CallOptions = {}): Promise<O> {
    const timeoutMs = options.timeoutMs ?? unaryTimeoutMsDefault;
    return new Promise((resolve, reject) => {
      this.#refuseWhenClosed(options.signal);
      const bytes = asBuffer(method.input.encode(request));
      const call = this.#client.makeUnaryRequest(
        method.path,
        identity,
        identity,
        bytes,
        fromMap(options.metadata),
        callOptions(timeoutMs),
        (error, reply) => {
          options.signal?.removeEventListener("abort", onAbort);
          if (error !== null) {
            reject(this.#seen(options.signal, error));
            return;
          }
          this.#failures = 0;
          try {
            resolve(method.output.decode(reply ?? Buffer.alloc(0)));
          } catch (thrown) {
            reject(thrown);
          }
        },
      );
      const onAbort = (): void => call.cancel();
      options.signal?.addEventListener("abort", onAbort, { once: true });
    });
  }

  serverStream<I, O>(
    method: Method<I, O>,
    request: I,
    options: CallOptions = {},
  ): ClientStream<never, O> {
    this.#refuseWhenClosed(options.signal);
    const call = this.#client.makeServerStreamRequest(
      method.path,
      identity,
      identity,
      asBuffer(method.input.encode(request)),
      fromMap(options.metadata),
      callOptions(options.timeoutMs),
    );
    return this.#stream(method, call as unknown as NodeDuplex, call, options);
  }

  bidi<I, O>(method: Method<I, O>, options: CallOptions = {}): ClientStream<I, O> {
    this.#refuseWhenClosed(options.signal);
    const call = this.#client.makeBidiStreamRequest(
      method.path,
      identity,
      identity,
      fromMap(options.metadata),
      callOptions(options.timeoutMs),
    );
    return this.#stream(method, call as unknown as NodeDuplex, call, options);
  }

  close(): void {
    this.#closed = true;
    const reason = new MillraceError(ErrorCode.CANCELLED, "the channel is closed");
    for (const cancel of [...this.#live]) cancel(reason);
    this.#client.close();
  }

  #stream<I, O>(
    method: Method<I, O>,
    stream: NodeDuplex,
    call: { cancel(): void; on(event: "error", seen: (error: Failure) => void): unknown },
    { signal }: CallOptions,
  ): ClientStream<I, O> {
    const duplex = new GrpcDuplex<O, I>(stream, method.output, method.input);
    const cancel = (reason?: unknown): void => {
      const error = reason === undefined ? cancelled() : MillraceError.from(reason);
      duplex.fail(error);
      call.cancel();
      stream.resume();
    };
    const onAbort = (): void => cancel(signal?.reason);
    if (signal?.aborted === true) onAbort();
    else signal?.addEventListener("abort", onAbort, { once: true });
    this.#live.add(cancel);
    const over = (): void => {
      this.#live.delete(cancel);
      signal?.removeEventListener("abort", onAbort);
    };
    call.on("error", (error) => {
      over();
      duplex.fail(this.#seen(signal, error));
    });
    stream.on("status", ({ code }: { code: number }) => {
      over();
      if (code !== 0) return;
      this.#failures = 0;
      duplex.finish();
    });
    return Object.assign(duplex, { end: () => duplex.endWrites(), cancel });
  }

  /** The error of a failed call; counts what says that the connection itself is bad. */
  #seen(signal: AbortSignal | undefined, failure: Failure): MillraceError {
    if (signal?.aborted === true) return abortError(signal);
    const error = errorOf(failure);
    const transport = failure.code === 14 && error.code === ErrorCode.UNAVAILABLE;
    this.#failures = transport ? this.#failures + 1 : 0;
    if (this.#failures < failuresMax || this.#closed) return error;
    this.#failures = 0;
    this.#client.close();
    this.#client = this.#connect();
    return error;
  }

  #connect(): Client {
    return new Client(this.endpoint, credentials.createInsecure(), {
      "grpc.max_receive_message_length": this.#options.messageBytesMax ?? 64 * mib,
      "grpc.max_send_message_length": 64 * mib,
      "grpc.enable_retries": 0,
      "grpc.service_config_disable_resolution": 1,
      "grpc.use_local_subchannel_pool": 1,
      "grpc.keepalive_time_ms": 20_000,
      "grpc.keepalive_timeout_ms": 10_000,
      "grpc.initial_reconnect_backoff_ms": 50,
      "grpc.min_reconnect_backoff_ms": 50,
      "grpc.max_reconnect_backoff_ms": 2000,
      "grpc-node.flow_control_window": connectionWindowBytes,
    });
  }

  #refuseWhenClosed(signal: AbortSignal | undefined): void {
    if (signal?.aborted === true) throw abortError(signal);
    if (this.#closed) throw new MillraceError(ErrorCode.CANCELLED, "the channel is closed");
  }
}

const callOptions = (timeoutMs: number | undefined): GrpcCallOptions =>
  timeoutMs === undefined || timeoutMs === Number.POSITIVE_INFINITY
    ? {}
    : { deadline: Date.now() + timeoutMs };

const cancelled = (): MillraceError => new MillraceError(ErrorCode.CANCELLED, "cancelled");

const abortError = (signal: AbortSignal): MillraceError =>
  signal.reason instanceof MillraceError
    ? signal.reason
    : new MillraceError(ErrorCode.CANCELLED, "cancelled", { cause: signal.reason });
