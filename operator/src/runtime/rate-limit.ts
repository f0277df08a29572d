/** A rate with bursts (token bucket). */
import type { Clock } from "@millrace/env";

export interface RateOptions {
  readonly perSecond: number;
  readonly burst: number;
}

export class RateLimit {
  readonly #clock: Clock;
  readonly #options: RateOptions;
  #tokens: number;
  #atMs: number;

  constructor(clock: Clock, options: RateOptions) {
    this.#clock = clock;
    this.#options = options;
    this.#tokens = options.burst;
    this.#atMs = clock.monoMs();
  }

  /** Takes one if there is one. */
  take(): boolean {
    this.#refill();
    if (this.#tokens < 1) return false;
    this.#tokens -= 1;
    return true;
  }

  /** Takes one that may only be due later; returns how long to wait for it, milliseconds. */
  reserveMs(): number {
    this.#refill();
    this.#tokens -= 1;
    return this.#tokens >= 0 ? 0 : (-this.#tokens / this.#options.perSecond) * 1000;
  }

  #refill(): void {
    const nowMs = this.#clock.monoMs();
    const earned = ((nowMs - this.#atMs) / 1000) * this.#options.perSecond;
    this.#tokens = Math.min(this.#options.burst, this.#tokens + earned);
    this.#atMs = nowMs;
  }
}
