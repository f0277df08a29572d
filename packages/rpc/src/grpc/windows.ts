/**
 * HTTP/2 flow-control windows of a grpc-js server, and hooks on its connections and calls. grpc-js
 * 1.14.7 reads its window option on clients only (grpc-node #3058), so these functions reach into
 * private fields. A contract test per hook fails when one stops working.
 */
import type { EventEmitter } from "node:events";
import type { IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from "node:http2";
import type { Server } from "@grpc/grpc-js";

/** Window of one stream, bytes. */
export const streamWindowBytes = 4 * 1024 * 1024;
/** Full window of one connection, bytes. */
export const connectionWindowBytes = 16 * 1024 * 1024;
/**
 * Window of a new connection. It grows to at most twice what handlers have taken, so a peer that
 * only fills windows never gets a large one. TCP slow start begins at a tenth of it.
 */
export const firstConnectionWindowBytes = 128 * 1024;

/** Streams that a peer may reset at once, in addition to those it may have open, and per second. */
export const resetBurst = 32;
export const resetRate = 50;

/** Call before listening: sets the initial window of streams, and the limits on resets. */
export const setSessionOptions = (server: Server, streamsPerConnectionMax: number): boolean => {
  const options: unknown = Reflect.get(server, "commonServerOptions");
  if (typeof options !== "object" || options === null) return false;
  Reflect.set(options, "streamResetBurst", streamsPerConnectionMax + resetBurst);
  Reflect.set(options, "streamResetRate", resetRate);
  const settings: unknown = Reflect.get(options, "settings");
  const raised = { ...(settings as object | undefined), initialWindowSize: streamWindowBytes };
  return Reflect.set(options, "settings", raised);
};

export interface ConnectionHooks {
  session(session: ServerHttp2Session): void;
  /**
   * `start` hands the call to grpc-js, at once or later. Without it, grpc-js does not see the call.
   */
  stream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, start: () => void): void;
}

/**
 * Call once there is an HTTP/2 server: sets the window of new connections, and installs the hooks.
 */
export const hookConnections = (server: Server, hooks: ConnectionHooks): boolean => {
  const servers: unknown = Reflect.get(server, "http2Servers");
  if (!(servers instanceof Map)) return false;
  for (const http2Server of servers.keys() as Iterable<EventEmitter>) {
    http2Server.on("session", (session: ServerHttp2Session) => {
      session.setLocalWindowSize(firstConnectionWindowBytes);
      hooks.session(session);
    });
    const inner = http2Server.listeners("stream");
    const [handle] = inner;
    if (handle === undefined || inner.length > 1) return false;
    http2Server.removeAllListeners("stream");
    http2Server.on("stream", (stream: ServerHttp2Stream, headers: IncomingHttpHeaders, ...rest) => {
      hooks.stream(stream, headers, () => handle.call(http2Server, stream, headers, ...rest));
    });
  }
  return servers.size > 0;
};
