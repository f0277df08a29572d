import type { Dialer, Listener } from "../api.ts";
import { LocalChannel } from "./channel.ts";
import { LocalServer } from "./server.ts";
import { forever, type LocalTransport } from "./transport.ts";

export type { Socket } from "./transport.ts";
export { bytesOf, type Frame, type LocalTransport, type SocketHandlers } from "./transport.ts";

/** What a process serves and calls through, over the network that it was given. */
export const localCarrier = (
  transport: LocalTransport,
): { readonly dialer: Dialer; readonly listener: Listener } => ({
  dialer: { dial: (endpoint) => new LocalChannel(transport, endpoint) },
  listener: {
    listen: async (endpoint, services) =>
      transport.alive ? new LocalServer(transport, endpoint, services) : forever(),
  },
});
