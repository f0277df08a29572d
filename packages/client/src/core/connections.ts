import { type Endpoint, formatEndpoint } from "@millrace/errors";
import type { Channel, Dialer } from "@millrace/rpc";

/** What tells endpoints apart: the listener's name does not. */
export const endpointKey = (endpoint: Endpoint): string =>
  `${endpoint.tls ? "tls" : "plain"} ${formatEndpoint(endpoint)} ${endpoint.authority}`;

/** One channel per endpoint, made on first use and kept until `close`. */
export class Connections {
  readonly #dialer: Dialer;
  readonly #channels = new Map<string, Channel>();

  constructor(dialer: Dialer) {
    this.#dialer = dialer;
  }

  channel(endpoint: Endpoint): Channel {
    const key = endpointKey(endpoint);
    let channel = this.#channels.get(key);
    if (channel === undefined) {
      const { authority, tls } = endpoint;
      channel = this.#dialer.dial(formatEndpoint(endpoint), { authority, tls });
      this.#channels.set(key, channel);
    }
    return channel;
  }

  close(): void {
    for (const channel of this.#channels.values()) channel.close();
    this.#channels.clear();
  }
}
