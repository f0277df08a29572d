/**
 * The client side of the grpc-js carrier: channels that connect, notice trouble, and dial again.
 */
import type { OutgoingHttpHeaders } from "node:http2";
import type { Duplex as NodeDuplex } from "node:stream";
import {
  Client,
  connectivityState,
  credentials,
  type CallOptions as GrpcCallOptions,
  Metadata,
  status,
} from "@grpc/grpc-js";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { CallOptions, Channel, ClientStream, Dialer, DialOptions, Method } from "../../api.ts";
import { refusedChannel } from "../../refused.ts";
import { asBuffer, GrpcDuplex, identity } from "../duplex.ts";
import { errorOf, fromMap } from "../metadata.ts";
import { connectionWindowBytes } from "../windows.ts";
import { whenConnected } from "./connection.ts";
import { failureText } from "./failure-text.ts";
import { type Failure, Http2Call } from "./http2-call.ts";

export interface GrpcClientOptions {
  /** Largest message received, bytes. Default 64 MiB. */
  readonly messageBytesMax?: number;
  /**
   * Longest wait for a connection (TCP and HTTP/2 settings), milliseconds. Afterwards waiting calls
   * fail with UNAVAILABLE, and the next call dials again. Default 5,000.
   */
  readonly connectTimeoutMs?: number;
  /** Silence before a ping, with or without open calls, milliseconds. Default 20,000. */
  readonly keepaliveTimeMs?: number;
  /**
   * Longest wait for the answer to a ping, after which the connection closes, ms. Default 10,000.
   */
  readonly keepaliveTimeoutMs?: number;
}

const mib = 1024 * 1024;
/** Largest message sent, and received by default, bytes. */
const messageBytesMaxDefault = 64 * mib;
const unaryTimeoutMsDefault = 30_000;
const connectTimeoutMsDefault = 5_000;
/** Consecutive calls without any answer after which the channel dials again (grpc-node #3040). */
const failuresMax = 3;
/**
 * Statuses that grpc-js also produces by itself when a connection does not work. Without our
 * details they do not prove that the server answered.
 */
const transportStatuses: ReadonlySet<number> = new Set([
  status.UNAVAILABLE,
  status.DEADLINE_EXCEEDED,
  status.INTERNAL,
  status.UNKNOWN,
]);

/** A dialer of plaintext HTTP/2 connections. */
export const grpcDialer = (options: GrpcClientOptions = {}): Dialer => ({
  dial: (endpoint, { authority = "", tls = false }: DialOptions = {}) =>
    tls ? refusedChannel(endpoint, noTls(endpoint)) : new GrpcChannel(endpoint, authority, options),
});

/** Plaintext to a listener that waits for TLS would only time out. */
const noTls = (endpoint: string): MillraceError =>
  new MillraceError(
    ErrorCode.UNSUPPORTED_OPERATION,
    `${endpoint} wants TLS, which this client does not speak: use a listener without it`,
  );

interface Supervision {
  readonly cancel: (reason?: unknown) => void;
  /** The stream is over. */
  readonly end: () => void;
}

/** The grpc-js client that a call began on, and when. */
interface Attempt {
  readonly client: Client;
  readonly startedMs: number;
}

class GrpcChannel implements Channel {
  readonly endpoint: string;
  readonly #authority: string;
  readonly #options: GrpcClientOptions;
  #client: Client;
  readonly #live = new Set<(reason: MillraceError) => void>();
  /** Keeps the process alive while a stream is open. */
  #hold: NodeJS.Timeout | undefined;
  /** Errors for the calls of clients that were given up before they connected. */
  readonly #givenUp = new WeakMap<Client, MillraceError>();
  #connectTimer: NodeJS.Timeout | undefined;
  #failures = 0;
  #lastHeardMs = Number.NEGATIVE_INFINITY;
  #closed = false;

  /** An empty `authority` means the host and port of the endpoint. */
  constructor(endpoint: string, authority: string, options: GrpcClientOptions) {
    this.endpoint = endpoint;
    this.#authority = authority;
    this.#options = options;
    this.#client = this.#connect();
  }

  unary<I, O>(method: Method<I, O>, request: I, options: CallOptions = {}): Promise<O> {
    const timeoutMs = options.timeoutMs ?? unaryTimeoutMsDefault;
    return new Promise((resolve, reject) => {
      this.#refuseWhenClosed(options.signal);
      const bytes = asBuffer(method.input.encode(request));
      const attempt = this.#attempt();
      const call = attempt.client.makeUnaryRequest(
        method.path,
        identity,
        identity,
        bytes,
        fromMap(options.metadata),
        callOptions(timeoutMs),
        (error, reply) => {
          options.signal?.removeEventListener("abort", onAbort);
          if (error !== null) {
            reject(this.#judge(attempt, options.signal, error));
            return;
          }
          this.#heard(attempt);
          try {
            resolve(method.output.decode(reply ?? Buffer.alloc(0)));
          } catch (thrown) {
            reject(thrown);
          }
        },
      );
      this.#superviseConnect();
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
    const attempt = this.#attempt();
    const call = attempt.client.makeServerStreamRequest(
      method.path,
      identity,
      identity,
      asBuffer(method.input.encode(request)),
      fromMap(options.metadata),
      callOptions(options.timeoutMs),
    );
    return this.#stream(method, call as unknown as NodeDuplex, call, attempt, options);
  }

  bidi<I, O>(method: Method<I, O>, options: CallOptions = {}): ClientStream<I, O> {
    const { signal, timeoutMs } = options;
    this.#refuseWhenClosed(signal);
    const headers = this.#headers(method.path, options);
    const attempt = this.#attempt();
    let late: NodeJS.Timeout | undefined;
    let stopWaiting = (): void => {};
    const release = (): void => {
      clearTimeout(late);
      stopWaiting();
    };
    const over = this.#supervise(attempt, signal, (error) => {
      release();
      call.fail(error);
    });
    const call = new Http2Call<O, I>(method.output, method.input, {
      messageBytesMax: this.#options.messageBytesMax ?? messageBytesMaxDefault,
      sentBytesMax: messageBytesMaxDefault,
      headers,
      onAnswer: () => this.#heard(attempt),
      onEnd: (failed) => {
        release();
        over.end();
        if (failed === undefined) this.#heard(attempt);
        else call.fail(this.#judge(attempt, signal, failed));
      },
    });
    // One that no timer can wait for is the server's alone.
    if (isBounded(timeoutMs) && timeoutMs <= timerMsMax)
      late = setTimeout(() => call.ends(deadlineFailure), Math.max(0, timeoutMs));
    stopWaiting = this.#begin(call, attempt, method.path);
    return Object.assign(call, { cancel: over.cancel });
  }

  /**
   * Begins the call once there is a connection. Where none can be made, grpc-js tells the calls
   * that it has why: one of its own fails as this one has to.
   */
  #begin<I, O>(call: Http2Call<O, I>, { client }: Attempt, path: string): () => void {
    this.#superviseConnect();
    let probe: { cancel(): void } | undefined;
    let isOver = false;
    const wait = (): (() => void) =>
      whenConnected(client, {
        ready: (session) => call.begin(session),
        failed: (closed) => {
          if (closed) call.ends(closedFailure);
          else ask();
        },
      });
    const ask = (): void => {
      const asked = client.makeBidiStreamRequest(path, identity, identity);
      probe = asked;
      asked.on("error", (error: Failure) => {
        if (!isOver && probe === asked) call.ends(error);
      });
      const { TRANSIENT_FAILURE } = connectivityState;
      client
        .getChannel()
        .watchConnectivityState(TRANSIENT_FAILURE, Number.POSITIVE_INFINITY, () => {
          if (isOver || probe !== asked) return;
          probe = undefined;
          asked.cancel();
          stopWaiting = wait();
        });
    };
    let stopWaiting = wait();
    return () => {
      isOver = true;
      stopWaiting();
      probe?.cancel();
    };
  }

  /** Throws at once for metadata that no header can carry. */
  #headers(path: string, { metadata, timeoutMs }: CallOptions): () => OutgoingHttpHeaders {
    const deadlineMs = performance.now() + (timeoutMs ?? 0);
    const headers = {
      ...fromMap(metadata).toHttp2Headers(),
      ":method": "POST",
      ":scheme": "http",
      ":authority": this.#authority === "" ? this.endpoint : this.#authority,
      ":path": path,
      "content-type": "application/grpc",
      "grpc-accept-encoding": "identity",
      te: "trailers",
    };
    return () =>
      isBounded(timeoutMs)
        ? { ...headers, "grpc-timeout": timeoutOf(deadlineMs - performance.now()) }
        : headers;
  }

  close(): void {
    this.#closed = true;
    const reason = new MillraceError(ErrorCode.CANCELLED, "the channel is closed");
    for (const cancel of [...this.#live]) cancel(reason);
    clearTimeout(this.#connectTimer);
    this.#client.close();
  }

  #stream<I, O>(
    method: Method<I, O>,
    stream: NodeDuplex,
    call: { cancel(): void; on(event: "error", listener: (error: Failure) => void): unknown },
    attempt: Attempt,
    { signal }: CallOptions,
  ): ClientStream<I, O> {
    this.#superviseConnect();
    const duplex = new GrpcDuplex<O, I>(stream, method.output, method.input);
    const over = this.#supervise(attempt, signal, (error) => {
      duplex.fail(error);
      call.cancel();
      stream.resume();
    });
    call.on("error", (error) => {
      over.end();
      duplex.fail(this.#judge(attempt, signal, error));
    });
    stream.on("metadata", () => this.#heard(attempt));
    stream.on("status", ({ code }: { code: number }) => {
      over.end();
      if (code !== status.OK) return;
      this.#heard(attempt);
      duplex.finish();
    });
    return Object.assign(duplex, { end: () => duplex.endWrites(), cancel: over.cancel });
  }

  /** Fails an open stream when its caller cancels it, its signal is aborted, the channel closed. */
  #supervise(
    attempt: Attempt,
    signal: AbortSignal | undefined,
    fail: (error: MillraceError) => void,
  ): Supervision {
    const cancel = (reason?: unknown): void => {
      const error = reason === undefined ? cancelled() : MillraceError.from(reason);
      // The caller gives up the stream because the server is silent.
      if (error.code === ErrorCode.UNAVAILABLE) this.#unanswered(attempt);
      end();
      fail(error);
    };
    const onAbort = (): void => cancel(signal?.reason);
    const end = (): void => {
      this.#live.delete(cancel);
      signal?.removeEventListener("abort", onAbort);
      if (this.#live.size === 0) clearInterval(this.#hold);
    };
    signal?.addEventListener("abort", onAbort, { once: true });
    // grpc-js does so for its own calls.
    if (this.#live.size === 0) this.#hold = setInterval(() => {}, timerMsMax);
    this.#live.add(cancel);
    return { cancel, end };
  }

  #attempt(): Attempt {
    return { client: this.#client, startedMs: performance.now() };
  }

  /** The server answered: the connection works. */
  #heard({ client }: Attempt): void {
    this.#failures = 0;
    this.#lastHeardMs = performance.now();
    if (client === this.#client) this.#superviseNoMore();
  }

  /** The error of a failed call. Counts calls that end without a sign of the server. */
  #judge(attempt: Attempt, signal: AbortSignal | undefined, failure: Failure): MillraceError {
    if (signal?.aborted === true) return abortError(signal);
    const error = errorOf(failure, (text) => failureText(this.endpoint, text));
    if (failure.code === status.CANCELLED) return error;
    // Our servers send details with every error, so a status with them is an answer.
    if (error.facts !== undefined || !transportStatuses.has(failure.code)) {
      this.#heard(attempt);
      return error;
    }
    this.#unanswered(attempt);
    return failure.code === status.UNAVAILABLE
      ? (this.#givenUp.get(attempt.client) ?? error)
      : error;
  }

  /** A call ended without an answer. Dials again after `failuresMax` in a row. */
  #unanswered({ client, startedMs }: Attempt): void {
    if (client !== this.#client || this.#lastHeardMs > startedMs) return;
    this.#failures += 1;
    if (this.#failures >= failuresMax) this.#redial();
  }

  /** Bounds the wait for the server's HTTP/2 settings, which grpc-js does not. */
  #superviseConnect(): void {
    const client = this.#client;
    if (this.#connectTimer !== undefined) return;
    if (client.getChannel().getConnectivityState(false) === connectivityState.READY) return;
    const timeoutMs = this.#options.connectTimeoutMs ?? connectTimeoutMsDefault;
    this.#connectTimer = setTimeout(() => {
      this.#connectTimer = undefined;
      if (client !== this.#client) return;
      const state = client.getChannel().getConnectivityState(false);
      if (state !== connectivityState.CONNECTING) return;
      this.#givenUp.set(
        client,
        new MillraceError(
          ErrorCode.UNAVAILABLE,
          `${this.endpoint} did not complete a connection within ${timeoutMs} ms: ` +
            "check that a Millrace server listens there, and the network",
        ),
      );
      this.#redial();
    }, timeoutMs);
    this.#connectTimer.unref();
  }

  /** What was supervised has connected; the connection after it has a time of its own. */
  #superviseNoMore(): void {
    clearTimeout(this.#connectTimer);
    this.#connectTimer = undefined;
  }

  /** Replaces the connection. Open calls stay on the old one until they end. */
  #redial(): void {
    if (this.#closed) return;
    this.#failures = 0;
    this.#superviseNoMore();
    const old = this.#client;
    this.#client = this.#connect();
    old.close();
  }

  #connect(): Client {
    return new Client(this.endpoint, credentials.createInsecure(), {
      "grpc.max_receive_message_length": this.#options.messageBytesMax ?? messageBytesMaxDefault,
      "grpc.max_send_message_length": messageBytesMaxDefault,
      ...(this.#authority === "" ? {} : { "grpc.default_authority": this.#authority }),
      "grpc.enable_retries": 0,
      "grpc.service_config_disable_resolution": 1,
      "grpc.use_local_subchannel_pool": 1,
      // Proxy variables are meant for web traffic. Connect to brokers directly.
      "grpc.enable_http_proxy": 0,
      "grpc.keepalive_time_ms": this.#options.keepaliveTimeMs ?? 20_000,
      "grpc.keepalive_timeout_ms": this.#options.keepaliveTimeoutMs ?? 10_000,
      // Without this, calls shorter than the keepalive time never find a frozen connection.
      "grpc.keepalive_permit_without_calls": 1,
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

const isBounded = (timeoutMs: number | undefined): timeoutMs is number =>
  timeoutMs !== undefined && timeoutMs < Number.POSITIVE_INFINITY;

const callOptions = (timeoutMs: number | undefined): GrpcCallOptions =>
  isBounded(timeoutMs) ? { deadline: Date.now() + timeoutMs } : {};

/** Longest period of a timer. */
const timerMsMax = 2 ** 31 - 1;

/** At most eight digits and a unit. Rounded up: a server that is early would look like a fault. */
const timeoutOf = (leftMs: number): string => {
  const ms = Math.ceil(Math.max(0, leftMs));
  return ms < 1e8 ? `${ms}m` : `${Math.min(Math.ceil(ms / 1000), 99_999_999)}S`;
};

/** As grpc-js tells its own calls. */
const deadlineFailure: Failure = {
  code: status.DEADLINE_EXCEEDED,
  details: "Deadline exceeded",
  metadata: new Metadata(),
};
const closedFailure: Failure = {
  code: status.UNAVAILABLE,
  details: "Channel closed before call started",
  metadata: new Metadata(),
};

const cancelled = (): MillraceError => new MillraceError(ErrorCode.CANCELLED, "cancelled");

const abortError = (signal: AbortSignal): MillraceError =>
  signal.reason instanceof MillraceError
    ? signal.reason
    : new MillraceError(ErrorCode.CANCELLED, "cancelled", { cause: signal.reason });
