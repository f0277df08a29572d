/** Counts events against a maximum per period. */
export class RateCounter {
  readonly #max: number;
  readonly #periodMs: number;
  #sinceMs: number;
  #count = 0;

  constructor(max: number, periodMs: number, nowMs: number) {
    this.#max = max;
    this.#periodMs = periodMs;
    this.#sinceMs = nowMs;
  }

  /** Counts one event; true when there are too many. */
  add(nowMs: number): boolean {
    if (nowMs - this.#sinceMs >= this.#periodMs) {
      this.#sinceMs = nowMs;
      this.#count = 0;
    }
    this.#count += 1;
    return this.#count > this.#max;
  }
}
