/**
 * The accept loop of a server, and the hooks on its connections and calls: the sockets behind the
 * decisions of `admission.ts`. The listener of grpc-js has no limit on connections and waits
 * forever for a preface.
 */
import {
  constants,
  type IncomingHttpHeaders,
  type ServerHttp2Session,
  type ServerHttp2Stream,
} from "node:http2";
import { createServer, type Server as NetServer, type Socket } from "node:net";
import {
  type ConnectionInjector,
  type Metadata,
  type Server,
  ServerCredentials,
} from "@grpc/grpc-js";
import { ErrorCode, InvariantError, MillraceError } from "@millrace/errors";
import { hookConnections } from "../windows.ts";
import type { Admission, AdmittedConnection, ConnectionHandle } from "./admission/admission.ts";
import {
  type AdmittedStream,
  type CallShape,
  compressed,
  type StreamHandle,
} from "./admission/admitted-stream.ts";
import { resetLater, respond } from "./http2/respond.ts";
import { takeTimeout } from "./timeout.ts";

/** Request header by which a handler finds its call. A value from the client is overwritten. */
const callHeader = "millrace-call";
const sweepIntervalMs = 250;
/** Calls that begin in one turn of the event loop. */
export const startedPerTurn = 16;
/**
 * Error codes of connections that Node ended because the peer broke HTTP/2, or reset too many
 * streams.
 */
const protocolFaults = new Set(["ERR_HTTP2_ERROR", "ERR_HTTP2_TOO_MANY_INVALID_FRAMES"]);

export interface ConnectionListenerOptions {
  readonly admission: Admission;
  /** The requests that a method takes. */
  readonly shapeOf: (path: string) => CallShape;
  readonly onConnections: (open: number) => void;
  /** Serves a call, or returns false to leave it to grpc-js. */
  readonly serve: (
    path: string,
    stream: ServerHttp2Stream,
    headers: IncomingHttpHeaders,
    call: PendingCall,
  ) => boolean;
}

/** A call between its headers and its end. */
export class PendingCall implements StreamHandle {
  readonly #stream: ServerHttp2Stream;
  admitted: AdmittedStream | undefined;
  /** It may start, and waits for its turn. */
  ready = false;
  /** A handler has started. */
  begun = false;
  /** Lets the handler end the call with an error. */
  onFail: ((error: MillraceError) => void) | undefined;

  constructor(stream: ServerHttp2Stream) {
    this.#stream = stream;
  }

  unreadBytes(): number {
    return this.ready ? this.#stream.readableLength : 0;
  }

  refuse(error: MillraceError, atOnce: boolean): void {
    const stream = this.#stream;
    if (stream.closed || stream.destroyed) return;
    if (!stream.headersSent) {
      // Further input is dropped; without a reader, its window would fill.
      if (!this.begun) stream.resume();
      respond(stream, error);
      this.onFail?.(error);
    } else if (atOnce || this.onFail === undefined) {
      stream.close(constants.NGHTTP2_ENHANCE_YOUR_CALM);
    } else {
      this.onFail(error);
      resetLater(stream);
    }
  }
}

const headerBytesOf = (headers: IncomingHttpHeaders): number => {
  let bytes = 0;
  for (const [name, value] of Object.entries(headers)) {
    const values = Array.isArray(value) ? value : [value ?? ""];
    for (const one of values) bytes += name.length + one.length;
  }
  return bytes;
};

const socketKey = ({
  remoteAddress,
  remotePort,
}: Pick<Socket, "remoteAddress" | "remotePort">): string =>
  `${remoteAddress ?? ""} ${remotePort ?? 0}`;

class SocketConnection implements ConnectionHandle {
  readonly #socket: Socket;
  session: ServerHttp2Session | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
  }

  close(politely: boolean): void {
    if (politely && this.session !== undefined) this.session.close();
    else if (this.session === undefined) this.#socket.destroy();
    else this.session.destroy(undefined, constants.NGHTTP2_ENHANCE_YOUR_CALM);
  }

  bytesRead(): number {
    return this.#socket.bytesRead;
  }

  bytesWritten(): number {
    return this.#socket.bytesWritten;
  }

  setStreamWindow(bytes: number): void {
    const { session } = this;
    if (session === undefined || session.closed || session.destroyed) return;
    session.settings({ initialWindowSize: bytes });
  }

  setConnectionWindow(bytes: number): void {
    const { session } = this;
    if (session === undefined || session.closed || session.destroyed) return;
    session.setLocalWindowSize(bytes);
  }
}

interface WaitingCall {
  readonly path: string;
  readonly stream: ServerHttp2Stream;
  readonly headers: IncomingHttpHeaders;
  readonly call: PendingCall;
  readonly start: () => void;
}

export class ConnectionListener {
  readonly #options: ConnectionListenerOptions;
  readonly #injector: ConnectionInjector;
  readonly #listener: NetServer;
  readonly #sockets = new Set<Socket>();
  readonly #byKey = new Map<string, { handle: SocketConnection; connection: AdmittedConnection }>();
  readonly #bySession = new WeakMap<object, AdmittedConnection>();
  readonly #calls = new Map<string, PendingCall>();
  /** Calls that wait for their start; those that ended meanwhile are skipped. */
  readonly #waiting: WaitingCall[] = [];
  #callCount = 0;
  #draining: MillraceError | undefined;
  #wakeIdle: () => void = () => {};
  #sweeper: NodeJS.Timeout | undefined;

  /** Must be called before anything is served. */
  constructor(server: Server, options: ConnectionListenerOptions) {
    this.#options = options;
    this.#injector = server.createConnectionInjector(ServerCredentials.createInsecure());
    const hooked = hookConnections(server, {
      session: (session) => this.#onSession(session),
      stream: (stream, headers, start) => {
        const call = new PendingCall(stream);
        const path = String(headers[constants.HTTP2_HEADER_PATH] ?? "");
        this.#onStream({ path, stream, headers, call, start });
      },
    });
    if (!hooked) throw new InvariantError("grpc-js hides its connections");
    this.#listener = createServer({ noDelay: true }, (socket) => this.#onSocket(socket));
  }

  /** Listens; returns the port. Rejects with the system's error. */
  async listen(host: string, port: number): Promise<number> {
    await new Promise<void>((resolve, reject) => {
      this.#listener.once("error", reject);
      this.#listener.listen({ host, port }, resolve);
    });
    // EMFILE, for example. Open connections are served on.
    this.#listener.on("error", () => this.#options.admission.refused("connections"));
    this.#sweep();
    const address = this.#listener.address();
    return typeof address === "object" && address !== null ? address.port : port;
  }

  /** Takes no more connections and calls. Calls that cannot start yet end with this error. */
  drain(why: MillraceError): void {
    this.#draining = why;
    this.#listener.close();
    for (const call of this.#calls.values()) {
      if (!call.ready) call.refuse(why, false);
    }
  }

  /** Resolves once every connection is closed. */
  async idle(): Promise<void> {
    while (this.#sockets.size > 0) {
      await new Promise<void>((resolve) => {
        this.#wakeIdle = resolve;
      });
    }
  }

  /** Closes the remaining connections. */
  close(): void {
    clearInterval(this.#sweeper);
    for (const socket of this.#sockets) socket.destroy();
  }

  /** The call that has this request metadata. */
  callOf(metadata: Metadata): PendingCall | undefined {
    const [id] = metadata.get(callHeader);
    metadata.remove(callHeader);
    return typeof id === "string" ? this.#calls.get(id) : undefined;
  }

  #sweep(): void {
    const { admission } = this.#options;
    const delays = [0, 0, 0, 0];
    let dueMs = performance.now() + sweepIntervalMs;
    this.#sweeper = setInterval(() => {
      const nowMs = performance.now();
      delays.shift();
      delays.push(Math.max(0, nowMs - dueMs));
      dueMs = nowMs + sweepIntervalMs;
      admission.sweep(nowMs, delays.reduce((sum, one) => sum + one, 0) / delays.length);
    }, sweepIntervalMs);
    this.#sweeper.unref();
  }

  #onSocket(socket: Socket): void {
    const { admission } = this.#options;
    const handle = new SocketConnection(socket);
    const connection = admission.connect(socket.remoteAddress ?? "", handle);
    if (connection === undefined) {
      socket.resetAndDestroy();
      return;
    }
    const key = socketKey(socket);
    this.#byKey.set(key, { handle, connection });
    this.#sockets.add(socket);
    this.#options.onConnections(this.#sockets.size);
    // `close` follows, and ends its calls. Peers that go away are no fault of the server.
    socket.on("error", () => {});
    socket.once("close", () => {
      this.#sockets.delete(socket);
      this.#byKey.delete(key);
      connection.closed();
      this.#wakeIdle();
      this.#options.onConnections(this.#sockets.size);
    });
    this.#injector.injectConnection(socket);
  }

  #onSession(session: ServerHttp2Session): void {
    const found = this.#byKey.get(socketKey(session.socket));
    if (found === undefined) {
      session.destroy();
      return;
    }
    const { handle, connection } = found;
    handle.session = session;
    this.#bySession.set(session, connection);
    session.on("error", ({ code }: NodeJS.ErrnoException) => {
      if (protocolFaults.has(code ?? "")) this.#options.admission.refused("protocol");
    });
    session.once("remoteSettings", () => connection.settled());
    session.on("remoteSettings", () => connection.controlFrame());
    session.on("ping", () => connection.controlFrame());
  }

  /** An admitted call waits until a handler may start. */
  #onStream(waiting: WaitingCall): void {
    const { path, stream, headers, call } = waiting;
    const connection =
      stream.session === undefined ? undefined : this.#bySession.get(stream.session);
    // Counted at once: the reset limit of HTTP/2 lets through what has already arrived, hundreds of
    // calls with their headers.
    stream.once("aborted", () => {
      // A stream that ends with its connection is destroyed already.
      if (!call.begun && !stream.destroyed) connection?.abandoned();
    });
    const admitted =
      this.#whyNot(headers) ??
      this.#draining ??
      connection?.open(path, this.#options.shapeOf(path), call) ??
      new MillraceError(ErrorCode.UNAVAILABLE, "the connection is closing");
    if (admitted instanceof MillraceError) {
      stream.resume();
      respond(stream, admitted);
      return;
    }
    call.admitted = admitted;
    this.#callCount += 1;
    const id = String(this.#callCount);
    headers[callHeader] = id;
    this.#calls.set(id, call);
    // Before a handler starts, there is no other listener for errors.
    stream.on("error", () => {});
    stream.once("close", () => {
      this.#calls.delete(id);
      admitted.closed();
    });
    meterInput(stream, admitted, () => {
      call.ready = true;
      this.#startLater(waiting);
    });
  }

  /**
   * A handler costs many times what a stream costs, so it starts in a later turn of the event loop,
   * with few others. Streams that are opened and reset at once never get one, and a burst of calls
   * does not stall calls under way.
   */
  #startLater(waiting: WaitingCall): void {
    this.#waiting.push(waiting);
    if (this.#waiting.length === 1) setImmediate(() => this.#startSome());
  }

  #startSome(): void {
    let started = 0;
    while (started < startedPerTurn) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      const { path, stream, headers, call, start } = next;
      if (stream.closed || stream.destroyed || stream.headersSent) continue;
      call.begun = true;
      if (!this.#options.serve(path, stream, headers, call)) start();
      started += 1;
    }
    if (this.#waiting.length > 0) setImmediate(() => this.#startSome());
  }

  #whyNot(headers: IncomingHttpHeaders): MillraceError | undefined {
    const { admission } = this.#options;
    const bytes = headerBytesOf(headers);
    const { headerBytesMax } = admission.limits;
    if (bytes > headerBytesMax) {
      admission.refused("headers");
      const text = `request headers of ${bytes} bytes, at most ${headerBytesMax}: send less metadata`;
      return MillraceError.refusal(ErrorCode.ADMISSION_REJECTED, text);
    }
    if (!takeTimeout(headers)) {
      admission.refused("headers");
      const text = "grpc-timeout is not 1 to 8 digits and a unit: send one like 30S, or none";
      return MillraceError.refusal(ErrorCode.INVALID_REQUEST, text);
    }
    const encoding = headers["grpc-encoding"] ?? "identity";
    if (encoding === "identity") return undefined;
    admission.refused("encoding");
    return compressed();
  }
}

/**
 * Counts input as it arrives, because a paused stream still receives what its window allows. Calls
 * `onReady` once, when a handler may start.
 */
const meterInput = (
  stream: ServerHttp2Stream,
  admitted: AdmittedStream,
  onReady: () => void,
): void => {
  let told = false;
  const look = (): void => {
    if (told || !admitted.ready) return;
    told = true;
    onReady();
  };
  const push = stream.push;
  stream.push = (chunk: Uint8Array | null, encoding?: BufferEncoding): boolean => {
    if (chunk === null) admitted.endOfInput();
    else if (!admitted.received(chunk)) return true;
    const more = push.call(stream, chunk, encoding);
    look();
    return more;
  };
  if (stream.endAfterHeaders) admitted.endOfInput();
  look();
};
