/** Connections that a test plays the other end of: nothing is answered before it says so. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  blankReplicateResponse,
  type WireReplicateRequest,
  type WireReplicateResponse,
} from "@millrace/record";
import type { CallOptions, Channel, ClientStream, Dialer } from "@millrace/rpc";

/** A replication stream to a leader. */
export class FakeStream implements ClientStream<WireReplicateRequest, WireReplicateResponse> {
  readonly written: WireReplicateRequest[] = [];
  /** Why the follower ended it; undefined while it goes on. */
  cancelled: unknown;
  readonly windowBytes = 1_000_000;
  readonly #arrived: WireReplicateResponse[] = [];
  #ended: { readonly error: unknown } | undefined;
  #wake: () => void = () => {};

  tell(message: Partial<WireReplicateResponse>): void {
    this.#arrived.push({ ...blankReplicateResponse, ...message });
    this.#wake();
  }

  open(heartbeatIntervalMs = 1000): void {
    const epochs = { brokerEpoch: 1, featureLevel: 1 };
    this.tell({ opened: { windowBytes: this.windowBytes, heartbeatIntervalMs, ...epochs } });
  }

  /** The leader ends it; `error` undefined: as streams end that have said everything. */
  break(error?: unknown): void {
    this.#ended ??= { error };
    this.#wake();
  }

  tryRead(): WireReplicateResponse | undefined {
    return this.#ended === undefined ? this.#arrived.shift() : undefined;
  }

  async read(): Promise<WireReplicateResponse | undefined> {
    for (;;) {
      if (this.#ended?.error !== undefined) throw this.#ended.error;
      const message = this.#arrived.shift();
      if (message !== undefined || this.#ended !== undefined) return message;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  write(message: WireReplicateRequest): boolean {
    if (this.#ended !== undefined) return false;
    this.written.push(message);
    return true;
  }

  drained(): Promise<void> {
    return Promise.resolve();
  }

  queuedBytes(): number {
    return 0;
  }

  end(): void {}

  cancel(reason: unknown = new MillraceError(ErrorCode.CANCELLED, "cancelled")): void {
    this.cancelled ??= reason;
    this.break(reason);
  }
}

interface Call {
  readonly request: unknown;
  readonly options: CallOptions | undefined;
  readonly answer: PromiseWithResolvers<unknown>;
}

export class FakeChannel implements Channel {
  readonly endpoint: string;
  readonly calls: Call[] = [];
  readonly stream = new FakeStream();
  isClosed = false;

  constructor(endpoint: string) {
    this.endpoint = endpoint;
  }

  unary(_method: unknown, request: unknown, options?: CallOptions): Promise<never> {
    const answer = Promise.withResolvers<unknown>();
    this.calls.push({ request, options, answer });
    return answer.promise as Promise<never>;
  }

  serverStream(): never {
    throw new Error("nobody asks for this");
  }

  bidi(): never {
    return this.stream as never;
  }

  close(): void {
    this.isClosed = true;
    const closed = new MillraceError(ErrorCode.UNAVAILABLE, "the channel was closed");
    for (const { answer } of this.calls) answer.reject(closed);
    this.stream.break(closed);
  }
}

export class FakeDialer implements Dialer {
  readonly channels: FakeChannel[] = [];

  dial(endpoint: string): FakeChannel {
    const channel = new FakeChannel(endpoint);
    this.channels.push(channel);
    return channel;
  }

  /** The last one that was opened. */
  get channel(): FakeChannel {
    const channel = this.channels.at(-1);
    if (channel === undefined) throw new Error("nothing was dialed");
    return channel;
  }

  /** Addresses of all channels, and of those that are open. */
  get dialed(): string[] {
    return this.channels.map(({ endpoint }) => endpoint);
  }

  get open(): string[] {
    return this.channels.flatMap(({ endpoint, isClosed }) => (isClosed ? [] : [endpoint]));
  }
}
