/**
 * HTTP/2 flow-control windows of a grpc-js server. grpc-js 1.14.7 reads its window option on clients only (grpc-node
 * #3058), so these two functions reach into private fields; a contract test per hook fails when one stops working.
 */
import type { EventEmitter } from "node:events";
import type { ServerHttp2Session } from "node:http2";
import type { Server } from "@grpc/grpc-js";

/** Window of one stream, bytes. */
export const streamWindowBytes = 4 * 1024 * 1024;
/** Window of one connection, bytes. */
export const connectionWindowBytes = 16 * 1024 * 1024;

/** Before `bindAsync`: what new streams may send unread. */
export const raiseStreamWindow = (server: Server): boolean => {
  const options: unknown = Reflect.get(server, "commonServerOptions");
  if (typeof options !== "object" || options === null) return false;
  const settings: unknown = Reflect.get(options, "settings");
  const raised = { ...(settings as object | undefined), initialWindowSize: streamWindowBytes };
  return Reflect.set(options, "settings", raised);
};

/** After `bindAsync`: what a connection may send unread, and a hook for every new one. */
export const onSession = (server: Server, seen: (session: ServerHttp2Session) => void): boolean => {
  const servers: unknown = Reflect.get(server, "http2Servers");
  if (!(servers instanceof Map)) return false;
  for (const http2Server of servers.keys() as Iterable<EventEmitter>) {
    http2Server.on("session", (session: ServerHttp2Session) => {
      session.setLocalWindowSize(connectionWindowBytes);
      seen(session);
    });
  }
  return servers.size > 0;
};
