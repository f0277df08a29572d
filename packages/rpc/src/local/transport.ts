/** What the in-memory carrier runs on: connections that carry frames in order, as TCP does. */
import type { Clock } from "@millrace/env";
import type { ConnectionTrouble } from "../connection-error.ts";
import type { WireStatus } from "../status.ts";

/** What a connection carries. `stream` is the number that the client gave to a call. */
export type Frame =
  | {
      readonly kind: "open";
      readonly stream: number;
      readonly path: string;
      readonly timeoutMs: number;
      readonly metadata: ReadonlyMap<string, string>;
    }
  | { readonly kind: "message"; readonly stream: number; readonly bytes: Uint8Array }
  /** No more messages from the client. */
  | { readonly kind: "end"; readonly stream: number }
  /** The server has finished; without a status, well. */
  | { readonly kind: "status"; readonly stream: number; readonly status: WireStatus | undefined }
  /** The client gave up. */
  | { readonly kind: "cancel"; readonly stream: number; readonly deadline: boolean }
  /** The other side has read this many bytes, and takes as many again. */
  | { readonly kind: "window"; readonly stream: number; readonly bytes: number }
  | { readonly kind: "ping" }
  | { readonly kind: "pong" };

/** Bytes that a frame takes on a link besides its message: about those of HTTP/2 and gRPC. */
const frameBytes = 20;

/** Bytes of a frame on a link. */
export const bytesOf = (frame: Frame): number =>
  frame.kind === "message" ? frameBytes + frame.bytes.length : frameBytes;

/** One side of a connection. After it is over, nothing here has an effect. */
export interface Socket {
  /** Host of the other side, for logs. */
  readonly peer: string;
  /** Frames arrive in their order. Nothing is sent before `onOpen`. */
  send(frame: Frame): void;
  /** Ends the connection once everything sent has arrived. */
  close(): void;
  /** Ends the connection at once. */
  abort(): void;
}

export interface SocketHandlers {
  /** The other process took the connection. */
  onOpen(): void;
  onFrame(frame: Frame): void;
  /** The connection is over, and this side did not end it. Last, once. */
  onOver(why: ConnectionTrouble): void;
}

/** The network of one process. */
export interface LocalTransport {
  readonly clock: Clock;
  /** Host of the process. */
  readonly host: string;
  /** False once the process is dead. A dead process gets no answer and reaches nobody. */
  readonly alive: boolean;
  /** Dials `host:port`. */
  connect(endpoint: string, handlers: SocketHandlers): Socket;
  /**
   * Takes connections at `host:port`; port 0 picks one. Throws UNAVAILABLE when the port is taken.
   */
  listen(
    endpoint: string,
    accept: (socket: Socket) => SocketHandlers,
  ): { readonly endpoint: string; close(): void };
}

/** What a dead process waits for. */
export const forever = <T>(): Promise<T> => new Promise(() => {});
