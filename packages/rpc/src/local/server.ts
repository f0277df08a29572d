/** The server of the in-memory carrier. */
import { ErrorCode, InvariantError, MillraceError } from "@millrace/errors";
import type { Binding, CallContext, Codec, RpcServer, ServiceBinding } from "../api.ts";
import { toWireStatus } from "../status.ts";
import { LocalEnd } from "./end.ts";
import { cancelled, deadlinePassed } from "./errors.ts";
import { Keepalive, type KeepaliveTimes } from "./keepalive.ts";
import { type Frame, forever, type LocalTransport, type Socket } from "./transport.ts";

/** As in the carrier over grpc-js. */
const keepaliveTimes: KeepaliveTimes = { timeMs: 30_000, timeoutMs: 10_000 };

type Opening = Extract<Frame, { readonly kind: "open" }>;

/** The codec of a call that is not served. Nobody reads it. */
const noCodec: Codec<never> = {
  encode: () => new Uint8Array(0),
  decode: () => {
    throw new InvariantError("a call that is not served was read");
  },
};

/** The status frame of a handler's end. */
const statusFrame = (stream: number, thrown?: unknown): Frame => ({
  kind: "status",
  stream,
  status: thrown === undefined ? undefined : toWireStatus(thrown),
});

interface ServedCall {
  readonly end: LocalEnd<never, never>;
  /** The call is over for the client: its handler is told. */
  readonly abort: (reason: MillraceError) => void;
}

/** One connection, seen by the server. */
class ServedConnection {
  readonly #server: LocalServer;
  readonly #transport: LocalTransport;
  readonly #socket: Socket;
  readonly #keepalive: Keepalive;
  readonly #calls = new Map<number, ServedCall>();

  constructor(server: LocalServer, transport: LocalTransport, socket: Socket) {
    this.#server = server;
    this.#transport = transport;
    this.#socket = socket;
    this.#keepalive = new Keepalive({
      clock: transport.clock,
      times: keepaliveTimes,
      ping: () => socket.send({ kind: "ping" }),
      onSilence: () => {
        socket.abort();
        this.over();
      },
    });
  }

  take(frame: Frame): void {
    this.#keepalive.heard();
    if (frame.kind === "ping") this.#socket.send({ kind: "pong" });
    else if (frame.kind === "open") this.#begin(frame);
    else if (frame.kind === "cancel") {
      this.#calls.get(frame.stream)?.abort(frame.deadline ? deadlinePassed() : cancelled());
    } else if (frame.kind !== "pong") this.#calls.get(frame.stream)?.end.take(frame);
  }

  /** The connection is over: so are its calls. */
  over(): void {
    this.#keepalive.stop();
    this.#server.connections.delete(this);
    for (const call of [...this.#calls.values()]) call.abort(cancelled());
  }

  /** Ends the connection after what was sent. Calls that are not finished are cut off. */
  close(): void {
    this.over();
    this.#socket.close();
  }

  #begin({ stream, path, timeoutMs, metadata }: Opening): void {
    const { clock } = this.#transport;
    const binding = this.#server.binding(path);
    const { input, output } = binding?.method ?? { input: noCodec, output: noCodec };
    const controller = new AbortController();
    const abort = (reason: MillraceError): void => {
      if (!controller.signal.aborted) controller.abort(reason);
      end.fail(reason);
    };
    const stopTimer = Number.isFinite(timeoutMs)
      ? clock.timer(timeoutMs, () => abort(deadlinePassed()))
      : () => {};
    const over = this.#server.begin();
    const end = new LocalEnd<never, never>(
      {
        stream,
        input,
        output,
        isAlive: () => this.#transport.alive,
        send: (frame) => this.#socket.send(frame),
        onOver: () => {
          stopTimer();
          this.#calls.delete(stream);
          over();
        },
        onTooLarge: (error) => end.breakOff(statusFrame(stream, error), error),
      },
      true,
    );
    this.#calls.set(stream, { end, abort });
    const context: CallContext = {
      signal: controller.signal,
      draining: this.#server.draining,
      timeoutMs,
      peer: this.#socket.peer,
      metadata,
    };
    run(binding, path, context, end).then(
      () => end.finishWith(statusFrame(stream)),
      (thrown: unknown) => end.finishWith(statusFrame(stream, thrown ?? new Error("no reason"))),
    );
  }
}

const run = async (
  binding: Binding | undefined,
  path: string,
  context: CallContext,
  end: LocalEnd<never, never>,
): Promise<void> => {
  if (binding === undefined) {
    throw new MillraceError(ErrorCode.UNSUPPORTED_OPERATION, `${path} is not served here`);
  }
  if (context.draining.aborted) {
    throw new MillraceError(ErrorCode.SHUTTING_DOWN, "the server is stopping: retry elsewhere");
  }
  if (binding.kind === "bidi_streaming") {
    await binding.handler(Object.assign(end, { context }));
    return;
  }
  const request = await end.read();
  if (request === undefined) throw new MillraceError(ErrorCode.INVALID_REQUEST, "no request");
  if (binding.kind === "unary") end.write(await binding.handler(request, context));
  else {
    await binding.handler(request, Object.assign(end, { context }));
  }
};

export class LocalServer implements RpcServer {
  readonly endpoint: string;
  readonly connections = new Set<ServedConnection>();
  readonly #transport: LocalTransport;
  readonly #bindings = new Map<string, Binding>();
  readonly #draining = new AbortController();
  readonly #closeListener: () => void;
  #open = 0;
  #onIdle: (() => void) | undefined;

  /** Throws UNAVAILABLE when the port is taken. */
  constructor(transport: LocalTransport, endpoint: string, services: readonly ServiceBinding[]) {
    this.#transport = transport;
    for (const service of services) {
      for (const binding of service.bindings) this.#bindings.set(binding.method.path, binding);
    }
    const listening = transport.listen(endpoint, (socket) => {
      const connection = new ServedConnection(this, transport, socket);
      this.connections.add(connection);
      return {
        onOpen: () => {},
        onFrame: (frame) => connection.take(frame),
        onOver: () => connection.over(),
      };
    });
    this.endpoint = listening.endpoint;
    this.#closeListener = listening.close;
  }

  get draining(): AbortSignal {
    return this.#draining.signal;
  }

  binding(path: string): Binding | undefined {
    return this.#bindings.get(path);
  }

  /** A call begins. The result is to be called once everything of it was sent, or it broke. */
  begin(): () => void {
    this.#open += 1;
    return () => {
      this.#open -= 1;
      if (this.#open === 0) this.#onIdle?.();
    };
  }

  async shutdown(graceMs: number): Promise<void> {
    if (!this.#transport.alive) return forever();
    this.#draining.abort();
    if (this.#open > 0) {
      await new Promise<void>((resolve) => {
        const cancel = this.#transport.clock.timer(graceMs, resolve);
        this.#onIdle = () => {
          cancel();
          resolve();
        };
      });
    }
    this.#closeListener();
    for (const connection of [...this.connections]) connection.close();
  }
}
