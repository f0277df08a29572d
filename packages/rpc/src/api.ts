/**
 * Remote calls as the rest of the system sees them. Two carriers implement this: `@millrace/rpc/grpc`
 * (grpc-js) and the simulator's network (`@millrace/rpc/local` over a `Link`). Code that serves or
 * calls never knows which one it runs on.
 *
 * Every failure is a `MillraceError`. Streams are pulled: nothing is read from the peer that nobody
 * asked for, beyond a bounded read-ahead.
 */
import type { DescMethod, DescService, MessageShape } from "@bufbuild/protobuf";

/** Turns messages of one type into bytes and back. `decode` may return views of `bytes`. */
export interface Codec<T> {
  encode(message: T): Uint8Array;
  /** The pieces whose concatenation `encode` returns, for carriers that can send them from where they are. They must not
   * change until they are sent. */
  parts?(message: T): readonly Uint8Array[];
  decode(bytes: Uint8Array): T;
}

/** A method of a service. Hot methods override the generated codecs with hand-written ones; then the
 * message types are the hand-written ones too. */
export interface Method<I, O> {
  readonly desc: DescMethod;
  /** `/millrace.broker.v1.ProduceService/Produce`. */
  readonly path: string;
  readonly kind: "unary" | "server_streaming" | "client_streaming" | "bidi_streaming";
  readonly input: Codec<I>;
  readonly output: Codec<O>;
  /** Largest request, bytes; larger ones are refused before they are received. Undefined: the carrier's limit for
   * methods that carry no records. */
  readonly inputBytesMax?: number;
}

/** What a handler knows of its call. */
export interface CallContext {
  /** Aborted when the peer cancels, the connection breaks or the deadline passes. Its reason is a
   * MillraceError. */
  readonly signal: AbortSignal;
  /** Aborted when the server begins to shut down: streams tell their clients (in-band Drain), finish
   * what is in flight and end. One signal per server. */
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
  /** The next message if one is there already. Never waits. */
  tryRead(): In | undefined;
  /** The next message; undefined once the peer has ended its side and all was read. Rejects with the
   * status when the stream failed. */
  read(): Promise<In | undefined>;
  /** Queues a message; returns false when the queue is above its byte bound, then await `drained`.
   * Writing to an ended or failed stream does nothing and returns false. */
  write(message: Out): boolean;
  /** Resolves once the queue is below its bound, or the stream is over. Never rejects. */
  drained(): Promise<void>;
  /** Bytes queued and not yet handed to the transport. */
  queuedBytes(): number;
}

/** The server's side of a stream. The handler's promise ends it: resolve = OK, reject = that error. */
export interface ServerStream<In, Out> extends Duplex<In, Out> {
  readonly context: CallContext;
}

/** The client's side of a stream. */
export interface ClientStream<Out, In> extends Duplex<In, Out> {
  /** Half-closes: no more writes. */
  end(): void;
  /** Ends at once, both ways. Pending and later reads reject with `reason`. */
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

/** A service to serve: its descriptor and one binding per method (a missing one is an error at start). */
export interface ServiceBinding {
  readonly desc: DescService;
  readonly bindings: readonly Binding[];
}

/** Handlers of a generated service, typed from its descriptor. `override` replaces codecs (and so the
 * message types) of hot methods. */
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

/** A connection to one endpoint that connects by itself, and again after it broke. */
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

/** Makes channels; what a client gets instead of a transport. */
export interface Dialer {
  dial(endpoint: string): Channel;
}

/** A running server. */
export interface RpcServer {
  /** `host:port` really bound. */
  readonly endpoint: string;
  /** Refuses new calls with SHUTTING_DOWN, waits up to `graceMs` for open ones, then cuts them. */
  shutdown(graceMs: number): Promise<void>;
}

/** Starts servers. */
export interface Listener {
  listen(endpoint: string, services: readonly ServiceBinding[]): Promise<RpcServer>;
}
