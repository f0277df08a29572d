/**
 * The in-memory carrier: hosts, and connections whose faults a `Link` decides. Messages pass
 * through the codecs and are copied, flow control is real, and the clock drives every event, so a
 * simulation is repeatable.
 */
import type { Clock } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type {
  Binding,
  CallContext,
  CallOptions,
  Channel,
  ClientStream,
  Codec,
  Dialer,
  Listener,
  Method,
  RpcServer,
  ServerStream,
  ServiceBinding,
} from "../api.ts";
import { LocalEnd, statusFrame } from "./end.ts";
import { type Frame, keepaliveMs, type Link, perfectLink, Wire } from "./wire.ts";

export interface LocalNetworkOptions {
  readonly clock: Clock;
  readonly link?: Link;
}

const unaryTimeoutMsDefault = 30_000;

const unavailable = (what: string): MillraceError =>
  new MillraceError(ErrorCode.UNAVAILABLE, `${what}: retry, or try another server`);

const cancelled = (): MillraceError =>
  new MillraceError(ErrorCode.CANCELLED, "the peer cancelled the call, or its connection broke");

const deadlinePassed = (): MillraceError =>
  new MillraceError(ErrorCode.DEADLINE_EXCEEDED, "the call's deadline passed: allow more time");

interface Call {
  readonly from: string;
  readonly timeoutMs: number;
  readonly metadata: ReadonlyMap<string, string>;
  readonly peer: string;
}

/** Both ends of an open stream, and how to break it. */
interface OpenStream {
  readonly from: string;
  readonly to: string;
  readonly endpoint: string;
  readonly break: (how: "reset" | "silent") => void;
  /** The handler has ended; only its last frames are still under way. */
  finishing: boolean;
}

class LocalServer implements RpcServer {
  readonly endpoint: string;
  readonly #network: LocalNetwork;
  readonly #bindings = new Map<string, Binding>();
  readonly #draining = new AbortController();
  #open = 0;
  #idle: (() => void) | undefined;

  constructor(network: LocalNetwork, endpoint: string, services: readonly ServiceBinding[]) {
    this.#network = network;
    this.endpoint = endpoint;
    for (const service of services) {
      for (const binding of service.bindings) this.#bindings.set(binding.method.path, binding);
    }
  }

  async shutdown(graceMs: number): Promise<void> {
    this.#draining.abort();
    if (this.#open > 0) {
      await new Promise<void>((resolve) => {
        const cancel = this.#network.clock.timer(graceMs, resolve);
        this.#idle = () => {
          cancel();
          resolve();
        };
      });
    }
    this.#network.remove(this);
  }

  /** Runs a call. `end` is the server's end of its stream. */
  serve(
    path: string,
    call: Call,
    end: LocalEnd<unknown, unknown>,
    controller: AbortController,
    ended: () => void,
  ): void {
    const binding = this.#bindings.get(path);
    const context: CallContext = {
      signal: controller.signal,
      draining: this.#draining.signal,
      ...call,
    };
    this.#open += 1;
    this.#run(binding, path, context, end)
      .then(
        () => end.finishWith(statusFrame()),
        (thrown: unknown) => end.finishWith(statusFrame(thrown ?? new Error("no reason"))),
      )
      .finally(() => {
        ended();
        this.#open -= 1;
        if (this.#open === 0) this.#idle?.();
      });
  }

  codecs(path: string): { input: Codec<unknown>; output: Codec<unknown> } | undefined {
    return this.#bindings.get(path)?.method as
      | { input: Codec<unknown>; output: Codec<unknown> }
      | undefined;
  }

  async #run(
    binding: Binding | undefined,
    path: string,
    context: CallContext,
    end: LocalEnd<unknown, unknown>,
  ): Promise<void> {
    if (binding === undefined) {
      throw new MillraceError(ErrorCode.UNSUPPORTED_OPERATION, `${path} is not served here`);
    }
    if (context.draining.aborted) {
      throw new MillraceError(ErrorCode.SHUTTING_DOWN, "the server is stopping: retry elsewhere");
    }
    if (binding.kind === "bidi_streaming") {
      await binding.handler(
        Object.assign(end, { context }) as unknown as ServerStream<never, never>,
      );
      return;
    }
    const request = await end.read();
    if (request === undefined) throw new MillraceError(ErrorCode.INVALID_REQUEST, "no request");
    if (binding.kind === "unary") end.write(await binding.handler(request as never, context));
    else {
      const stream = Object.assign(end, { context }) as unknown as ServerStream<never, never>;
      await binding.handler(request as never, stream);
    }
  }
}

export class LocalNetwork {
  readonly clock: Clock;
  readonly #link: Link;
  readonly #servers = new Map<string, LocalServer>();
  readonly #streams = new Set<OpenStream>();
  #nextPort = 1000;

  constructor({ clock, link = perfectLink }: LocalNetworkOptions) {
    this.clock = clock;
    this.#link = link;
  }

  /** Servers on a host. Endpoints are `host:port`; port 0 picks one. */
  listener(host: string): Listener {
    return {
      listen: async (endpoint, services) => {
        const wanted = endpoint.slice(endpoint.lastIndexOf(":") + 1);
        const port = wanted === "0" ? String(this.#nextPort++) : wanted;
        const bound = `${host}:${port}`;
        if (this.#servers.has(bound)) throw unavailable(`${bound} is in use`);
        const server = new LocalServer(this, bound, services);
        this.#servers.set(bound, server);
        return server;
      },
    };
  }

  /** Channels from a host. */
  dialer(host: string): Dialer {
    return { dial: (endpoint) => new LocalChannel(this, host, endpoint) };
  }

  /**
   * The process of the host died: its servers are gone, its connections break, and nothing reaches
   * it any more.
   */
  kill(host: string): void {
    for (const [endpoint] of this.#servers) {
      if (endpoint.startsWith(`${host}:`)) this.#servers.delete(endpoint);
    }
    for (const stream of [...this.#streams]) {
      if (stream.from === host || stream.to === host) stream.break("reset");
    }
  }

  /** Breaks every connection between two hosts. */
  cut(a: string, b: string, how: "reset" | "silent" = "reset"): void {
    for (const stream of [...this.#streams]) {
      const between =
        (stream.from === a && stream.to === b) || (stream.from === b && stream.to === a);
      if (between) stream.break(how);
    }
  }

  remove(server: LocalServer): void {
    if (this.#servers.get(server.endpoint) === server) this.#servers.delete(server.endpoint);
    for (const stream of [...this.#streams]) {
      if (stream.endpoint === server.endpoint && !stream.finishing) stream.break("reset");
    }
  }

  /** Opens a stream. Failures show on the end of the client. */
  open<I, O>(from: string, endpoint: string, method: Method<I, O>, call: Call): LocalEnd<O, I> {
    const to = hostOf(endpoint);
    const client = new LocalEnd<O, I>(method.output, method.input);
    const server = this.#servers.get(endpoint);
    if (server === undefined || this.#link.refuses(from, to)) {
      const error = unavailable(`no connection to ${endpoint}`);
      this.clock.timer(this.#link.delayMs(from, to), () => client.fail(error));
      return client;
    }
    this.#connect(from, to, client, server, method.path, call);
    return client;
  }

  /** A connection carries all streams of a host to an endpoint. */
  #breakConnection(from: string, endpoint: string, how: "reset" | "silent"): void {
    for (const stream of [...this.#streams]) {
      if (stream.from === from && stream.endpoint === endpoint) stream.break(how);
    }
  }

  #connect<I, O>(
    from: string,
    to: string,
    client: LocalEnd<O, I>,
    server: LocalServer,
    path: string,
    call: Call,
  ): void {
    const codecs = server.codecs(path) ?? { input: raw, output: raw };
    const far = new LocalEnd<unknown, unknown>(codecs.input, codecs.output);
    const controller = new AbortController();
    const open: OpenStream = {
      from,
      to,
      endpoint: server.endpoint,
      finishing: false,
      break: (how) => {
        up.cut();
        down.cut();
        this.#streams.delete(open);
        const waitMs = how === "silent" ? keepaliveMs : this.#link.delayMs(from, to);
        const error = unavailable(`the connection to ${server.endpoint} broke`);
        this.clock.timer(waitMs, () => client.fail(error));
        this.clock.timer(waitMs, () => {
          if (!controller.signal.aborted) controller.abort(cancelled());
          far.fail(cancelled());
        });
      },
    };
    const wire = (a: string, b: string, arrive: (frame: Frame) => void): Wire =>
      new Wire({
        clock: this.clock,
        delayMs: () => this.#link.delayMs(a, b),
        fate: () => this.#link.fate(a, b),
        arrive,
        broken: (how) => this.#breakConnection(from, server.endpoint, how),
      });
    const up = wire(from, to, (frame) => {
      if (frame.kind === "cancel") {
        const reason = frame.deadline ? deadlinePassed() : cancelled();
        if (!controller.signal.aborted) controller.abort(reason);
        far.fail(reason);
        this.#streams.delete(open);
        return;
      }
      if (frame.kind === "open")
        server.serve(path, call, far, controller, () => {
          open.finishing = true;
        });
      else far.take(frame);
    });
    const down = wire(to, from, (frame) => {
      client.take(frame);
      if (frame.kind === "status") this.#streams.delete(open);
    });
    client.wire = up;
    far.wire = down;
    client.onRead = (bytes) => this.clock.defer(() => far.acknowledge(bytes));
    far.onRead = (bytes) => this.clock.defer(() => client.acknowledge(bytes));
    client.onTooLarge = (error) => {
      client.breakOff({ kind: "cancel", deadline: false });
      client.fail(error);
    };
    far.onTooLarge = (error) => {
      far.breakOff(statusFrame(error));
      far.fail(error);
    };
    this.#streams.add(open);
    // The opening of a call is a frame of its own: the server sees calls without messages, too.
    up.send({ kind: "open" });
  }
}

const raw: Codec<unknown> = {
  encode: () => new Uint8Array(0),
  decode: (bytes) => bytes,
};

const hostOf = (endpoint: string): string => endpoint.slice(0, endpoint.lastIndexOf(":"));

class LocalChannel implements Channel {
  readonly endpoint: string;
  readonly #network: LocalNetwork;
  readonly #host: string;
  readonly #live = new Set<(error: MillraceError) => void>();
  #closed = false;

  constructor(network: LocalNetwork, host: string, endpoint: string) {
    this.#network = network;
    this.#host = host;
    this.endpoint = endpoint;
  }

  async unary<I, O>(method: Method<I, O>, request: I, options: CallOptions = {}): Promise<O> {
    const timeoutMs = options.timeoutMs ?? unaryTimeoutMsDefault;
    const stream = this.#open(method, { ...options, timeoutMs });
    stream.write(request);
    stream.end();
    const reply = await stream.read();
    if (reply === undefined) throw unavailable("the call ended without an answer");
    // The status follows the answer.
    await stream.read();
    return reply;
  }

  serverStream<I, O>(
    method: Method<I, O>,
    request: I,
    options: CallOptions = {},
  ): ClientStream<never, O> {
    const stream = this.#open(method, options);
    stream.write(request);
    stream.end();
    return stream as unknown as ClientStream<never, O>;
  }

  bidi<I, O>(method: Method<I, O>, options: CallOptions = {}): ClientStream<I, O> {
    return this.#open(method, options);
  }

  close(): void {
    this.#closed = true;
    for (const cancel of [...this.#live]) {
      cancel(new MillraceError(ErrorCode.CANCELLED, "the channel is closed"));
    }
  }

  #open<I, O>(method: Method<I, O>, options: CallOptions): ClientStream<I, O> {
    const { signal, timeoutMs = Number.POSITIVE_INFINITY, metadata = new Map() } = options;
    if (signal?.aborted === true) throw abortError(signal);
    if (this.#closed) throw new MillraceError(ErrorCode.CANCELLED, "the channel is closed");
    const call = { from: this.#host, timeoutMs, metadata, peer: this.#host };
    const end = this.#network.open(this.#host, this.endpoint, method, call);
    const giveUp = (error: MillraceError, deadline: boolean): void => {
      end.breakOff({ kind: "cancel", deadline });
      end.fail(error);
    };
    const cancel = (reason?: unknown): void => {
      giveUp(reason === undefined ? cancelled() : MillraceError.from(reason), false);
    };
    const onAbort = (): void => giveUp(abortError(signal), false);
    signal?.addEventListener("abort", onAbort, { once: true });
    const stopTimer = Number.isFinite(timeoutMs)
      ? this.#network.clock.timer(timeoutMs, () => giveUp(deadlinePassed(), true))
      : () => {};
    this.#live.add(cancel);
    end.onOver = () => {
      stopTimer();
      signal?.removeEventListener("abort", onAbort);
      this.#live.delete(cancel);
    };
    return Object.assign(end, { end: () => end.finishWith({ kind: "end" }), cancel });
  }
}

const abortError = (signal: AbortSignal | undefined): MillraceError =>
  signal?.reason instanceof MillraceError
    ? signal.reason
    : new MillraceError(ErrorCode.CANCELLED, "cancelled", { cause: signal?.reason });
