/**
 * The HTTP/2 connection of a grpc-js client. It has no public name (grpc-js 1.14.7), so this
 * reaches into private fields; a contract test fails when they are not where they were.
 */
import type { ClientHttp2Session } from "node:http2";
import { type Client, connectivityState, Metadata } from "@grpc/grpc-js";

const { IDLE, READY, SHUTDOWN, TRANSIENT_FAILURE } = connectivityState;

const called = (target: object, name: string, ...args: unknown[]): unknown => {
  const method: unknown = Reflect.get(target, name);
  return typeof method === "function" ? Reflect.apply(method, target, args) : undefined;
};

const field = (target: unknown, name: string): unknown =>
  typeof target === "object" && target !== null ? Reflect.get(target, name) : undefined;

const isSession = (value: unknown): value is ClientHttp2Session =>
  typeof field(value, "request") === "function" && field(value, "destroyed") === false;

/** The connection that a call would go to now; undefined when there is none. */
export const sessionOf = (client: Client): ClientHttp2Session | undefined => {
  const channel = field(client.getChannel(), "internalChannel");
  if (typeof channel !== "object" || channel === null) return undefined;
  const picked = field(called(channel, "doPick", new Metadata(), {}), "subchannel");
  if (typeof picked !== "object" || picked === null) return undefined;
  const session = field(field(called(picked, "getRealSubchannel"), "transport"), "session");
  return isSession(session) ? session : undefined;
};

export interface ConnectionWaiter {
  readonly ready: (session: ClientHttp2Session) => void;
  /** It does not connect now, or never will, where the client was closed. */
  readonly failed: (closed: boolean) => void;
}

/**
 * Connects, if need be, and calls back once: within the call where there is a connection. Returns
 * how to wait no longer.
 */
export const whenConnected = (client: Client, waiter: ConnectionWaiter): (() => void) => {
  const channel = client.getChannel();
  let isOver = false;
  let mayBeLate = true;
  const look = (): void => {
    if (isOver) return;
    // Not `true`: a client that is being closed would begin to connect again.
    const state = channel.getConnectivityState(false);
    if (state === IDLE) channel.getConnectivityState(true);
    const session = state === READY ? sessionOf(client) : undefined;
    if (session !== undefined) {
      isOver = true;
      waiter.ready(session);
    } else if (state === TRANSIENT_FAILURE || state === SHUTDOWN) {
      isOver = true;
      waiter.failed(state === SHUTDOWN);
    } else if (state === READY && mayBeLate) {
      // It says so a moment before it has the connection.
      mayBeLate = false;
      setImmediate(look);
    } else {
      mayBeLate ||= state !== READY;
      channel.watchConnectivityState(state, Number.POSITIVE_INFINITY, look);
    }
  };
  look();
  return () => {
    isOver = true;
  };
};
