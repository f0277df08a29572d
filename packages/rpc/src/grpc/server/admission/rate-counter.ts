/** Counts what may happen so many times in a period. */
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

  /** One more; true when that is too many. */
  add(nowMs: number): boolean {
    if (nowMs - this.#sinceMs >= this.#periodMs) {
      this.#sinceMs = nowMs;
      this.#count = 0;
    }
    this.#count += 1;
    return this.#count > this.#max;
  }
}
