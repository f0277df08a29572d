/** Whole numbers by index. */
export class Counts {
  readonly #values: Int32Array;

  constructor(size: number, initial = 0) {
    this.#values = new Int32Array(size).fill(initial);
  }

  get size(): number {
    return this.#values.length;
  }

  of(index: number): number {
    return this.#values[index] ?? 0;
  }

  set(index: number, value: number): void {
    this.#values[index] = value;
  }

  add(index: number, by = 1): void {
    this.#values[index] = (this.#values[index] ?? 0) + by;
  }

  copy(): Counts {
    const copy = new Counts(this.size);
    copy.#values.set(this.#values);
    return copy;
  }
}
