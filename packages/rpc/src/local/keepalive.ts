/** Pings on a connection that is silent, as gRPC sends them. */
import type { Cancel, Clock } from "@millrace/env";

export interface KeepaliveTimes {
  /** Silence before a ping, ms. */
  readonly timeMs: number;
  /** Longest wait for an answer, ms. */
  readonly timeoutMs: number;
}

export class Keepalive {
  readonly #clock: Clock;
  readonly #times: KeepaliveTimes;
  readonly #ping: () => void;
  readonly #onSilence: () => void;
  #heardMs: number;
  #cancel: Cancel = () => {};

  constructor(options: {
    readonly clock: Clock;
    readonly times: KeepaliveTimes;
    readonly ping: () => void;
    /** The other side did not answer. */
    readonly onSilence: () => void;
  }) {
    this.#clock = options.clock;
    this.#times = options.times;
    this.#ping = options.ping;
    this.#onSilence = options.onSilence;
    this.#heardMs = options.clock.monoMs();
    this.#watch();
  }

  /** When the other side was heard last, monotonic ms. */
  get heardMs(): number {
    return this.#heardMs;
  }

  heard(): void {
    this.#heardMs = this.#clock.monoMs();
  }

  stop(): void {
    this.#cancel();
  }

  #watch(): void {
    const silentMs = this.#clock.monoMs() - this.#heardMs;
    this.#cancel = this.#clock.timer(this.#times.timeMs - silentMs, () => {
      // The rest of a millisecond may be lost in the sum.
      if (this.#clock.monoMs() - this.#heardMs < this.#times.timeMs - 1) this.#watch();
      else this.#ask();
    });
  }

  #ask(): void {
    const askedMs = this.#clock.monoMs();
    this.#ping();
    this.#cancel = this.#clock.timer(this.#times.timeoutMs, () => {
      if (this.#heardMs >= askedMs) this.#watch();
      else this.#onSilence();
    });
  }
}
