/** The client of the in-memory carrier: channels that connect, notice trouble, and dial again. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { CallOptions, Channel, ClientStream, Method } from "../api.ts";
import type { ConnectionTrouble } from "../connection-error.ts";
import { LocalEnd } from "./end.ts";
import { abortError, broken, cancelled, deadlinePassed } from "./errors.ts";
import { Keepalive, type KeepaliveTimes } from "./keepalive.ts";
import type { Frame, LocalTransport, Socket } from "./transport.ts";

/** As in the carrier over grpc-js. */
const keepaliveTimes: KeepaliveTimes = { timeMs: 20_000, timeoutMs: 10_000 };
const connectTimeoutMs = 5_000;
const unaryTimeoutMsDefault = 30_000;
/** Consecutive calls without any answer after which the channel dials again. */
const failuresMax = 3;

/** A stream that waits for its connection, with its first frame. */
interface Waiting {
  readonly end: LocalEnd<unknown, unknown>;
  readonly first: Frame;
}

/** One connection of a channel. */
class ClientConnection {
  readonly #transport: LocalTransport;
  readonly #endpoint: string;
  readonly #onOver: () => void;
  readonly #socket: Socket;
  readonly #ends = new Map<number, LocalEnd<unknown, unknown>>();
  #waiting: Waiting[] | undefined = [];
  #keepalive: Keepalive | undefined;
  #stopConnectTimer = (): void => {};
  #retired = false;
  #over = false;

  constructor(transport: LocalTransport, endpoint: string, onOver: () => void) {
    this.#transport = transport;
    this.#endpoint = endpoint;
    this.#onOver = onOver;
    this.#socket = transport.connect(endpoint, {
      onOpen: () => this.#open(),
      onFrame: (frame) => this.#take(frame),
      onOver: (why) => this.#fail(why, this.#textOf(why)),
    });
    this.#stopConnectTimer = transport.clock.timer(connectTimeoutMs, () => {
      this.#socket.abort();
      const text = `${endpoint} did not complete a connection within ${connectTimeoutMs} ms`;
      this.#fail("silent", text);
    });
  }

  /** When the server was heard last, monotonic ms. */
  get heardMs(): number {
    return this.#keepalive?.heardMs ?? Number.NEGATIVE_INFINITY;
  }

  get connected(): boolean {
    return this.#waiting === undefined;
  }

  send(frame: Frame): void {
    this.#socket.send(frame);
  }

  /** Adds a stream, whose first frame goes out once the connection is made. */
  add(end: LocalEnd<unknown, unknown>, first: Frame): void {
    this.#ends.set(end.stream, end);
    if (this.#waiting === undefined) end.connected(first);
    else this.#waiting.push({ end, first });
  }

  remove(stream: number): void {
    this.#ends.delete(stream);
    if (this.#retired && this.#ends.size === 0) this.#close();
  }

  /** Closes the connection once its streams are over. */
  retire(): void {
    this.#retired = true;
    if (this.#ends.size === 0) this.#close();
  }

  #open(): void {
    this.#stopConnectTimer();
    this.#keepalive = new Keepalive({
      clock: this.#transport.clock,
      times: keepaliveTimes,
      ping: () => this.#socket.send({ kind: "ping" }),
      onSilence: () => {
        this.#socket.abort();
        this.#fail("silent", this.#textOf("silent"));
      },
    });
    const waiting = this.#waiting ?? [];
    this.#waiting = undefined;
    for (const { end, first } of waiting) end.connected(first);
  }

  #take(frame: Frame): void {
    this.#keepalive?.heard();
    if (frame.kind === "ping") this.#socket.send({ kind: "pong" });
    else if (frame.kind !== "pong") this.#ends.get(frame.stream)?.take(frame);
  }

  #textOf(why: ConnectionTrouble): string {
    return why === "refused"
      ? `${this.#endpoint} refused the connection`
      : `the connection to ${this.#endpoint} broke (${why})`;
  }

  #fail(why: ConnectionTrouble, text: string): void {
    if (!this.#end()) return;
    for (const end of [...this.#ends.values()]) end.fail(broken(why, text));
  }

  #close(): void {
    if (this.#end()) this.#socket.close();
  }

  /** False if the connection is over already. */
  #end(): boolean {
    if (this.#over) return false;
    this.#over = true;
    this.#stopConnectTimer();
    this.#keepalive?.stop();
    this.#onOver();
    return true;
  }
}

export class LocalChannel implements Channel {
  readonly endpoint: string;
  readonly #transport: LocalTransport;
  readonly #live = new Set<(error: MillraceError) => void>();
  #connection: ClientConnection | undefined;
  #nextStream = 1;
  #failures = 0;
  #closed = false;

  constructor(transport: LocalTransport, endpoint: string) {
    this.#transport = transport;
    this.endpoint = endpoint;
  }

  async unary<I, O>(method: Method<I, O>, request: I, options: CallOptions = {}): Promise<O> {
    const timeoutMs = options.timeoutMs ?? unaryTimeoutMsDefault;
    const stream = this.#open(method, { ...options, timeoutMs });
    stream.write(request);
    stream.end();
    const reply = await stream.read();
    if (reply === undefined) throw broken("closed", "the call ended without an answer");
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
    const error = new MillraceError(ErrorCode.CANCELLED, "the channel is closed");
    for (const cancel of [...this.#live]) cancel(error);
    this.#connection?.retire();
  }

  #open<I, O>(method: Method<I, O>, options: CallOptions): ClientStream<I, O> {
    const { signal, timeoutMs = Number.POSITIVE_INFINITY, metadata = new Map() } = options;
    if (signal?.aborted === true) throw abortError(signal);
    if (this.#closed) throw new MillraceError(ErrorCode.CANCELLED, "the channel is closed");
    const { clock } = this.#transport;
    const connection = this.#connect();
    const stream = this.#nextStream++;
    const startedMs = clock.monoMs();
    const giveUp = (error: MillraceError, deadline: boolean): void => {
      const unanswered = deadline || error.code === ErrorCode.UNAVAILABLE;
      if (unanswered) this.#judge(connection, startedMs);
      end.breakOff({ kind: "cancel", stream, deadline }, error);
    };
    const cancel = (reason?: unknown): void =>
      giveUp(reason === undefined ? cancelled() : MillraceError.from(reason), false);
    const onAbort = (): void => giveUp(abortError(signal), false);
    const stopTimer = Number.isFinite(timeoutMs)
      ? clock.timer(timeoutMs, () => giveUp(deadlinePassed(), true))
      : () => {};
    const end = new LocalEnd<O, I>(
      {
        stream,
        input: method.output,
        output: method.input,
        isAlive: () => this.#transport.alive,
        send: (frame) => connection.send(frame),
        onOver: () => {
          stopTimer();
          signal?.removeEventListener("abort", onAbort);
          this.#live.delete(cancel);
          connection.remove(stream);
        },
        onTooLarge: (error) => end.breakOff({ kind: "cancel", stream, deadline: false }, error),
      },
      connection.connected,
    );
    signal?.addEventListener("abort", onAbort, { once: true });
    this.#live.add(cancel);
    const { path } = method;
    connection.add(end as LocalEnd<unknown, unknown>, {
      ...{ kind: "open", stream, path, timeoutMs, metadata },
    });
    return Object.assign(end, { end: () => end.finishWith({ kind: "end", stream }), cancel });
  }

  #connect(): ClientConnection {
    if (this.#connection !== undefined) return this.#connection;
    const connection = new ClientConnection(this.#transport, this.endpoint, () => {
      if (this.#connection === connection) this.#connection = undefined;
    });
    this.#connection = connection;
    this.#failures = 0;
    return connection;
  }

  /** A call was given up. Dials again after `failuresMax` in a row without a sign of the server. */
  #judge(connection: ClientConnection, startedMs: number): void {
    if (connection !== this.#connection) return;
    this.#failures = connection.heardMs > startedMs ? 0 : this.#failures + 1;
    if (this.#failures < failuresMax) return;
    this.#connection = undefined;
    connection.retire();
  }
}
