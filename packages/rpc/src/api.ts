/**
 * Remote calls as the rest of the system sees them. Two carriers implement this:
 * `@millrace/rpc/grpc` (grpc-js) and `@millrace/rpc/local` (over the simulated network). Code that
 * serves or calls never knows which one it runs on.
 *
 * Every failure is a `MillraceError`. Streams are pulled: beyond a bounded read-ahead, a carrier
 * reads from the peer only what its user asks for.
 */
import type { DescMethod, DescService, MessageShape } from "@bufbuild/protobuf";

/** Encodes and decodes messages of one type. `decode` may return views of `bytes`. */
export interface Codec<T> {
  encode(message: T): Uint8Array;
  /**
   * The pieces whose concatenation `encode` returns, for carriers that can send them without a
   * copy. They must not change until they are sent.
   */
  parts?(message: T): readonly Uint8Array[];
  decode(bytes: Uint8Array): T;
}

/**
 * A method of a service. The stream methods have hand-written codecs, and with them other message
 * types.
 */
export interface Method<I, O> {
  readonly desc: DescMethod;
  /** `/millrace.broker.v1.ProduceService/Produce`. */
  readonly path: string;
  readonly kind: "unary" | "server_streaming" | "client_streaming" | "bidi_streaming";
  readonly input: Codec<I>;
  readonly output: Codec<O>;
  /**
   * Largest request, bytes; larger ones are refused before they are received. Undefined: the limit
   * of the carrier for methods that carry no records.
   */
  readonly inputBytesMax?: number;
}

/** What a handler knows about its call. */
export interface CallContext {
  /**
   * Aborted when the peer cancels, the connection breaks or the deadline passes. Its reason is a
   * MillraceError.
   */
  readonly signal: AbortSignal;
  /**
   * Aborted when the server begins to shut down: streams tell their clients (in-band Drain), finish
   * what is in flight and end. One signal per server.
   */
  readonly draining: AbortSignal;
  /** Milliseconds left until the caller's deadline when the call arrived; Infinity without one. */
  readonly timeoutMs: number;
  /** Address of the peer, for logs. */
  readonly peer: string;
  /** Request metadata, ASCII values, lower-case names; `traceparent` among them. */
  readonly metadata: ReadonlyMap<string, string>;
}

/** One side of an open stream. Not safe for two concurrent readers or two concurrent writers. */
export interface Duplex<In, Out> {
  /** The next message if one has arrived. Never waits. */
  tryRead(): In | undefined;
  /**
   * The next message; undefined once the peer has half-closed and everything was read. Rejects with
   * the status of a failed stream.
   */
  read(): Promise<In | undefined>;
  /**
   * Queues a message. Returns false when the queue is above its byte bound: await `drained` before
   * the next. On an ended or failed stream it does nothing and returns false.
   */
  write(message: Out): boolean;
  /** Resolves once the queue is below its bound, or the stream is over. Never rejects. */
  drained(): Promise<void>;
  /** Bytes queued and not yet handed to the transport. */
  queuedBytes(): number;
}

/**
 * The server's side of a stream. It ends with the promise of the handler: OK, or the error that it
 * rejects with.
 */
export interface ServerStream<In, Out> extends Duplex<In, Out> {
  readonly context: CallContext;
}

/** The client's side of a stream. */
export interface ClientStream<Out, In> extends Duplex<In, Out> {
  /** Half-closes: no more writes. */
  end(): void;
  /** Ends both directions at once. Pending and later reads reject with `reason`. */
  cancel(reason?: unknown): void;
}

export type UnaryHandler<I, O> = (request: I, context: CallContext) => Promise<O>;
export type ServerStreamingHandler<I, O> = (
  request: I,
  stream: ServerStream<never, O>,
) => Promise<void>;
export type BidiHandler<I, O> = (stream: ServerStream<I, O>) => Promise<void>;

/** A method with its handler. */
export type Binding =
  | {
      readonly kind: "unary";
      readonly method: Method<never, never>;
      readonly handler: UnaryHandler<never, never>;
    }
  | {
      readonly kind: "server_streaming";
      readonly method: Method<never, never>;
      readonly handler: ServerStreamingHandler<never, never>;
    }
  | {
      readonly kind: "bidi_streaming";
      readonly method: Method<never, never>;
      readonly handler: BidiHandler<never, never>;
    };

/** A service with one binding per method; a missing one is an error at start. */
export interface ServiceBinding {
  readonly desc: DescService;
  readonly bindings: readonly Binding[];
}

/**
 * Handlers of a generated service, typed from its descriptor. `Override` replaces the handlers of
 * methods with hand-written codecs.
 */
export type Handlers<S extends DescService, Override extends object = Record<never, never>> = {
  [K in Exclude<keyof S["method"], keyof Override>]: S["method"][K] extends {
    methodKind: infer M;
    input: infer I extends import("@bufbuild/protobuf").DescMessage;
    output: infer O extends import("@bufbuild/protobuf").DescMessage;
  }
    ? M extends "unary"
      ? UnaryHandler<MessageShape<I>, MessageShape<O>>
      : M extends "server_streaming"
        ? ServerStreamingHandler<MessageShape<I>, MessageShape<O>>
        : BidiHandler<MessageShape<I>, MessageShape<O>>
    : never;
} & { [K in keyof Override]: Override[K] };

/** Options of a call. */
export interface CallOptions {
  /** Deadline from now. Unary calls must have one; default 30,000. Streams have none by default. */
  readonly timeoutMs?: number;
  readonly signal?: AbortSignal;
  readonly metadata?: ReadonlyMap<string, string>;
}

/** A connection to one endpoint. It connects by itself, and again after it broke. */
export interface Channel {
  readonly endpoint: string;
  unary<I, O>(method: Method<I, O>, request: I, options?: CallOptions): Promise<O>;
  serverStream<I, O>(
    method: Method<I, O>,
    request: I,
    options?: CallOptions,
  ): ClientStream<never, O>;
  bidi<I, O>(method: Method<I, O>, options?: CallOptions): ClientStream<I, O>;
  close(): void;
}

/** What an `Endpoint` says besides host and port. */
export interface DialOptions {
  /** Name to send as `:authority`, and to expect in the server's certificate. */
  readonly authority?: string;
  /** True: the connection begins with TLS. */
  readonly tls?: boolean;
}

/** Opens channels; what a client gets instead of a transport. */
export interface Dialer {
  /**
   * `endpoint` is `host:port`, IPv6 in brackets. Never throws: on a channel that the carrier cannot
   * open, as one with TLS today, every call fails with UNSUPPORTED_OPERATION.
   */
  dial(endpoint: string, options?: DialOptions): Channel;
}

/** A running server. */
export interface RpcServer {
  /** The bound `host:port`. */
  readonly endpoint: string;
  /** Refuses new calls with SHUTTING_DOWN, waits up to `graceMs` for open ones, then ends them. */
  shutdown(graceMs: number): Promise<void>;
}

/** Starts servers. */
export interface Listener {
  listen(endpoint: string, services: readonly ServiceBinding[]): Promise<RpcServer>;
}
