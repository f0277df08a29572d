import type { Channel, Dialer } from "@millrace/rpc";

/** One channel per endpoint, made on first use and kept until `close`. */
export class Connections {
  readonly #dialer: Dialer;
  readonly #channels = new Map<string, Channel>();

  constructor(dialer: Dialer) {
    this.#dialer = dialer;
  }

  channel(endpoint: string): Channel {
    let channel = this.#channels.get(endpoint);
    if (channel === undefined) {
      channel = this.#dialer.dial(endpoint);
      this.#channels.set(endpoint, channel);
    }
    return channel;
  }

  close(): void {
    for (const channel of this.#channels.values()) channel.close();
    this.#channels.clear();
  }
}
