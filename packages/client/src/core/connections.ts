import { type Endpoint, formatEndpoint } from "@millrace/errors";
import {
  type CallOptions,
  type Channel,
  type ClientStream,
  clusterIdMetadata,
  type Dialer,
  type Method,
} from "@millrace/rpc";

/** What tells endpoints apart: the listener's name does not. */
export const endpointKey = (endpoint: Endpoint): string =>
  `${endpoint.tls ? "tls" : "plain"} ${formatEndpoint(endpoint)} ${endpoint.authority}`;

/** One channel per endpoint, made on first use and kept until `close`. */
export class Connections {
  readonly #dialer: Dialer;
  readonly #clusterId: () => string;
  readonly #channels = new Map<string, Channel>();
  /** The same channels by the metadata's own objects: producers look theirs up for every batch. */
  #byEndpoint = new WeakMap<Endpoint, Channel>();

  /** `clusterId` is empty until the client knows it. */
  constructor(dialer: Dialer, clusterId: () => string) {
    this.#dialer = dialer;
    this.#clusterId = clusterId;
  }

  /** Calls a method of an endpoint. Names the cluster, once it is known. */
  unary<I, O>(
    endpoint: Endpoint,
    method: Method<I, O>,
    request: I,
    options: Omit<CallOptions, "metadata">,
  ): Promise<O> {
    return this.channel(endpoint).unary(method, request, { ...options, ...this.#named() });
  }

  /** As `unary`, for a method that answers with a stream. */
  serverStream<I, O>(endpoint: Endpoint, method: Method<I, O>, request: I): ClientStream<never, O> {
    return this.channel(endpoint).serverStream(method, request, this.#named());
  }

  channel(endpoint: Endpoint): Channel {
    const known = this.#byEndpoint.get(endpoint);
    if (known !== undefined) return known;
    const key = endpointKey(endpoint);
    let channel = this.#channels.get(key);
    if (channel === undefined) {
      const { authority, tls } = endpoint;
      channel = this.#dialer.dial(formatEndpoint(endpoint), { authority, tls });
      this.#channels.set(key, channel);
    }
    this.#byEndpoint.set(endpoint, channel);
    return channel;
  }

  close(): void {
    for (const channel of this.#channels.values()) channel.close();
    this.#channels.clear();
    this.#byEndpoint = new WeakMap();
  }

  #named(): Pick<CallOptions, "metadata"> {
    const metadata = clusterIdMetadata(this.#clusterId());
    return metadata === undefined ? {} : { metadata };
  }
}
