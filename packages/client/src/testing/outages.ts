/** Servers that go down and come back, for the tests of this package. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import type {
  CallOptions,
  Channel,
  ClientStream,
  Dialer,
  DialOptions,
  Method,
} from "@millrace/rpc";

const broken = (): MillraceError =>
  new MillraceError(ErrorCode.UNAVAILABLE, "the connection broke");

/** Passes everything on to another dialer, but for servers that are down. */
export class Outages implements Dialer {
  readonly #dialer: Dialer;
  readonly #down = new Set<string>();
  readonly #streams = new Map<{ cancel(reason: unknown): void }, string>();

  constructor(dialer: Dialer) {
    this.#dialer = dialer;
  }

  /** Breaks all streams to the server; calls and streams fail from now on. */
  down(endpoint: string): void {
    this.#down.add(endpoint);
    for (const [stream, to] of this.#streams) {
      if (to !== endpoint) continue;
      this.#streams.delete(stream);
      stream.cancel(broken());
    }
  }

  up(endpoint: string): void {
    this.#down.delete(endpoint);
  }

  dial(endpoint: string, options?: DialOptions): Channel {
    const channel = this.#dialer.dial(endpoint, options);
    const noted = <O, I>(stream: ClientStream<O, I>): ClientStream<O, I> => {
      if (this.#down.has(endpoint)) stream.cancel(broken());
      else this.#streams.set(stream, endpoint);
      return stream;
    };
    return {
      endpoint,
      unary: <I, O>(method: Method<I, O>, request: I, call?: CallOptions): Promise<O> =>
        this.#down.has(endpoint) ? Promise.reject(broken()) : channel.unary(method, request, call),
      serverStream: <I, O>(method: Method<I, O>, request: I, call?: CallOptions) =>
        noted(channel.serverStream<I, O>(method, request, call)),
      bidi: <I, O>(method: Method<I, O>, call?: CallOptions) => noted(channel.bidi(method, call)),
      close: () => channel.close(),
    };
  }
}
