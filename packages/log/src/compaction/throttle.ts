/** Keeps compaction from taking the disk from everybody else. */
import type { Clock } from "@millrace/env";

/** Bytes may be ahead of the rate by what it gives in this time, milliseconds. */
const aheadMsMax = 50;
/** One sleep, at most: a stop does not wait for longer. Milliseconds. */
const sleepMsMax = 100;

export class Throttle {
  readonly #clock: Pick<Clock, "monoMs" | "sleep">;
  readonly #bytesPerSecond: number;
  readonly #isOver: () => boolean;
  /** Time that what was taken would have taken at the rate. */
  #paidMs: number;

  /** `bytesPerSecond`: 0 is no limit. Nobody waits any more once `isOver`. */
  constructor(
    clock: Pick<Clock, "monoMs" | "sleep">,
    bytesPerSecond: number,
    isOver: () => boolean,
  ) {
    this.#clock = clock;
    this.#bytesPerSecond = bytesPerSecond;
    this.#isOver = isOver;
    this.#paidMs = clock.monoMs();
  }

  /** Bytes were read or written. Undefined unless the next ones have to wait. */
  took(bytes: number): Promise<void> | undefined {
    if (this.#bytesPerSecond === 0) return undefined;
    // Time in which nothing was taken is not saved up.
    this.#paidMs = Math.max(this.#paidMs, this.#clock.monoMs() - aheadMsMax);
    this.#paidMs += (bytes * 1000) / this.#bytesPerSecond;
    return this.#paidMs - this.#clock.monoMs() > aheadMsMax ? this.#wait() : undefined;
  }

  async #wait(): Promise<void> {
    for (;;) {
      const aheadMs = this.#paidMs - this.#clock.monoMs();
      if (aheadMs <= 0 || this.#isOver()) return;
      await this.#clock.sleep(Math.min(aheadMs, sleepMsMax));
    }
  }
}
