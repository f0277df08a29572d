/**
 * Bytes per second that a leader reads from files for replicas that are not in sync, over all its
 * partitions: clients are not to feel a reassignment. Time comes in as an argument.
 */

export class CatchUpRate {
  /** 0: no limit. */
  readonly #bytesPerSecond: number;
  /** When what was read so far has been paid for, ms. */
  #paidMs = 0;

  constructor(bytesPerSecond: number) {
    this.#bytesPerSecond = bytesPerSecond;
  }

  /**
   * Announces a read of at most `bytesMax`. Returns how long it has to wait, ms: those that come
   * together wait for one another. `spent` has to follow.
   */
  reserve(bytesMax: number, nowMs: number): number {
    if (this.#bytesPerSecond === 0) return 0;
    const startMs = Math.max(this.#paidMs, nowMs);
    this.#paidMs = startMs + this.#costMs(bytesMax);
    return startMs - nowMs;
  }

  /** The read had fewer bytes, or more: a batch may be larger than what was asked for. */
  spent(bytesMax: number, bytes: number): void {
    if (this.#bytesPerSecond > 0) this.#paidMs += this.#costMs(bytes - bytesMax);
  }

  #costMs(bytes: number): number {
    return (bytes / this.#bytesPerSecond) * 1000;
  }
}
