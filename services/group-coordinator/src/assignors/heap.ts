/** A heap of numbers by key, then by a lesser key, then by value: least first. */
export class Heap {
  readonly #values: number[] = [];
  readonly #keys: number[] = [];
  readonly #lesserKeys: number[] = [];

  get size(): number {
    return this.#values.length;
  }

  /** The value in front; -1 of an empty heap. */
  get first(): number {
    return this.#values[0] ?? -1;
  }

  /** The key that the value in front was pushed with. */
  get firstKey(): number {
    return this.#keys[0] ?? 0;
  }

  push(value: number, key: number, lesserKey = 0): void {
    let at = this.#values.length;
    this.#put(at, value, key, lesserKey);
    while (at > 0) {
      const parent = (at - 1) >> 1;
      if (!this.#before(at, parent)) break;
      this.#swap(at, parent);
      at = parent;
    }
  }

  /** Removes the value in front. */
  pop(): number {
    const first = this.first;
    const value = this.#values.pop();
    const key = this.#keys.pop();
    const lesserKey = this.#lesserKeys.pop();
    if (value === undefined || key === undefined || lesserKey === undefined) return -1;
    if (this.#values.length > 0) {
      this.#put(0, value, key, lesserKey);
      this.#sink();
    }
    return first;
  }

  #sink(): void {
    const end = this.#values.length;
    for (let at = 0; ; ) {
      const left = 2 * at + 1;
      if (left >= end) return;
      const child = left + 1 < end && this.#before(left + 1, left) ? left + 1 : left;
      if (!this.#before(child, at)) return;
      this.#swap(at, child);
      at = child;
    }
  }

  #before(a: number, b: number): boolean {
    const keys = (this.#keys[a] ?? 0) - (this.#keys[b] ?? 0);
    if (keys !== 0) return keys < 0;
    const lesser = (this.#lesserKeys[a] ?? 0) - (this.#lesserKeys[b] ?? 0);
    if (lesser !== 0) return lesser < 0;
    return (this.#values[a] ?? 0) < (this.#values[b] ?? 0);
  }

  #put(at: number, value: number, key: number, lesserKey: number): void {
    this.#values[at] = value;
    this.#keys[at] = key;
    this.#lesserKeys[at] = lesserKey;
  }

  #swap(a: number, b: number): void {
    const value = this.#values[a] ?? 0;
    const key = this.#keys[a] ?? 0;
    const lesserKey = this.#lesserKeys[a] ?? 0;
    this.#put(a, this.#values[b] ?? 0, this.#keys[b] ?? 0, this.#lesserKeys[b] ?? 0);
    this.#put(b, value, key, lesserKey);
  }
}
