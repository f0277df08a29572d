/**
 * HTTP/2 flow-control windows of a grpc-js server, and its connections and calls before it sees them. grpc-js 1.14.7 reads
 * its window option on clients only (grpc-node #3058), so these two functions reach into private fields; a contract test
 * per hook fails when one stops working.
 */
import type { EventEmitter } from "node:events";
import type { IncomingHttpHeaders, ServerHttp2Session, ServerHttp2Stream } from "node:http2";
import type { Server } from "@grpc/grpc-js";

/** Window of one stream, bytes. */
export const streamWindowBytes = 4 * 1024 * 1024;
/** Window of one connection, bytes, once it has earned it. */
export const connectionWindowBytes = 16 * 1024 * 1024;
/**
 * Window of a new connection. It grows with what handlers have taken, to twice as many bytes at most, so that who only
 * fills windows fills small ones. TCP's own slow start begins at a tenth of it.
 */
export const firstConnectionWindowBytes = 128 * 1024;

/** Streams that a peer may reset at once, beyond as many as it may have open, and per second. */
export const resetBurst = 32;
export const resetRate = 50;

/** Before anything listens: what new streams may send unread, and how many a peer may reset before its connection ends. */
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
  /** `pass` gives the call to grpc-js, at once or later; without it, grpc-js does not get it. */
  stream(stream: ServerHttp2Stream, headers: IncomingHttpHeaders, pass: () => void): void;
}

/** Once there is an HTTP/2 server: sets what a new connection may send unread, and hooks connections and calls. */
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
