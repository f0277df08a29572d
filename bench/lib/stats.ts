/** Order statistics of samples. */

/** Value at quantile `q` (0 to 1) of an ascending array, by nearest rank. NaN when it is empty. */
export const quantile = (ascending: ArrayLike<number>, q: number): number => {
  if (ascending.length === 0) return Number.NaN;
  return ascending[Math.min(ascending.length - 1, Math.floor(ascending.length * q))] ?? Number.NaN;
};

export const median = (values: readonly number[]): number =>
  quantile(
    [...values].sort((a, b) => a - b),
    0.5,
  );

/** Latencies in milliseconds, kept in full so that no percentile is an estimate. */
export class Latencies {
  #values = new Float64Array(1 << 16);
  #count = 0;

  add(ms: number): void {
    if (this.#count === this.#values.length) {
      const larger = new Float64Array(this.#values.length * 2);
      larger.set(this.#values);
      this.#values = larger;
    }
    this.#values[this.#count] = ms;
    this.#count += 1;
  }

  /** Mean and percentiles, milliseconds, under names that begin with `prefix`. */
  summary(prefix: string): Record<string, number> {
    const sorted = this.#values.subarray(0, this.#count).sort();
    const at = (q: number): number => Number(quantile(sorted, q).toFixed(3));
    const mean = sorted.reduce((sum, ms) => sum + ms, 0) / Math.max(1, sorted.length);
    return {
      [`${prefix}meanMs`]: Number(mean.toFixed(3)),
      [`${prefix}p50Ms`]: at(0.5),
      [`${prefix}p99Ms`]: at(0.99),
      [`${prefix}p999Ms`]: at(0.999),
      [`${prefix}maxMs`]: at(1),
    };
  }
}
