/** Connections to brokers and controllers, one for each address. */
import { type Endpoint, formatEndpoint, MillraceError } from "@millrace/errors";
import { type Channel, clusterIdMetadata, type Dialer, type Method } from "@millrace/rpc";

export interface ChannelsOptions {
  readonly dialer: Dialer;
  readonly clusterId: string;
}

/** Longest wait for one answer, ms. */
const answerMs = 5000;

/** A connection, and the calls that it carries. */
interface Dialed {
  readonly channel: Channel;
  calls: number;
}

export class Channels {
  readonly #options: ChannelsOptions;
  readonly #metadata: ReadonlyMap<string, string> | undefined;
  readonly #dialed = new Map<string, Dialed>();

  constructor(options: ChannelsOptions) {
    this.#options = options;
    this.#metadata = clusterIdMetadata(options.clusterId);
  }

  /** One call, answered within 5 s. */
  async call<I, O>(
    endpoint: Endpoint,
    method: Method<I, O>,
    request: I,
    signal?: AbortSignal,
  ): Promise<O> {
    const address = formatEndpoint(endpoint);
    const dialed = this.#dial(address, endpoint);
    dialed.calls += 1;
    try {
      return await dialed.channel.unary(method, request, {
        timeoutMs: answerMs,
        ...(this.#metadata && { metadata: this.#metadata }),
        ...(signal && { signal }),
      });
    } catch (thrown) {
      // The connection may be dead without a word: the next call takes a new one.
      const { sideEffects } = MillraceError.from(thrown).spec;
      if (sideEffects && this.#dialed.get(address) === dialed) this.#dialed.delete(address);
      throw thrown;
    } finally {
      dialed.calls -= 1;
      // The other calls that it carries may still be answered.
      if (dialed.calls === 0 && this.#dialed.get(address) !== dialed) dialed.channel.close();
    }
  }

  /** Fails the calls that are under way. */
  close(): void {
    for (const { channel } of this.#dialed.values()) channel.close();
    this.#dialed.clear();
  }

  #dial(address: string, endpoint: Endpoint): Dialed {
    const known = this.#dialed.get(address);
    if (known !== undefined) return known;
    const dialed = { channel: this.#options.dialer.dial(address, endpoint), calls: 0 };
    this.#dialed.set(address, dialed);
    return dialed;
  }
}
