/** Pauses between attempts, which grow with each failure in a row. */
import type { Clock, Random } from "@millrace/env";

export interface RetryPauseOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Longest pause, ms, before it is spread. */
  readonly pauseMsMax: number;
}

/** Pause after the first failure, ms; doubled with each one in a row. */
const pauseMsMin = 50;

export class RetryPause {
  readonly #options: RetryPauseOptions;
  #end: () => void = () => {};

  constructor(options: RetryPauseOptions) {
    this.#options = options;
  }

  /** Length of a pause after `failures` before it, spread so that peers do not retry together. */
  msAfter(failures: number): number {
    const { pauseMsMax, random } = this.#options;
    const ms = Math.min(pauseMsMax, pauseMsMin * 2 ** Math.min(failures, 10));
    return ms * (0.5 + random.float());
  }

  /** Resolves after the pause, or at `end`. One at a time. */
  async wait(failures: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#end = resolve;
    const cancel = this.#options.clock.timer(this.msAfter(failures), resolve);
    await promise;
    cancel();
  }

  end(): void {
    this.#end();
  }
}
