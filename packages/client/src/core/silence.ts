import type { Cancel, Clock } from "@millrace/env";

/** Notices that a server says nothing any more. */
export class SilenceTimer {
  readonly #clock: Clock;
  #heardMs = 0;
  #cancel: Cancel = () => {};

  constructor(clock: Clock) {
    this.#clock = clock;
  }

  /** How long nothing was heard, milliseconds. */
  get quietMs(): number {
    return this.#clock.monoMs() - this.#heardMs;
  }

  /** Counts as heard now. Calls `onSilent` once when nothing is heard for `silentMs`. */
  start(silentMs: number, onSilent: () => void): void {
    this.heard();
    this.#arm(silentMs, onSilent);
  }

  /** The server said something. Cheap: called for every message. */
  heard(): void {
    this.#heardMs = this.#clock.monoMs();
  }

  stop(): void {
    this.#cancel();
  }

  #arm(silentMs: number, onSilent: () => void): void {
    this.#cancel();
    this.#cancel = this.#clock.timer(Math.max(1, silentMs - this.quietMs), () => {
      if (this.quietMs >= silentMs) onSilent();
      else this.#arm(silentMs, onSilent);
    });
  }
}
