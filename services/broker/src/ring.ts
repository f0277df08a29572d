/** A queue in a circular array: first in, first out, without an allocation per element. */

/** Slots that an empty ring keeps; a longer one lets go of its array once it is empty. */
const keptSlots = 1024;
const firstSlots = 8;
const noSlots: undefined[] = [];

export class Ring<T> {
  /** Its length is a power of two, or 0 before the first element. */
  #slots: (T | undefined)[] = noSlots;
  #head = 0;
  #size = 0;

  get size(): number {
    return this.#size;
  }

  /** The oldest element. */
  peek(): T | undefined {
    return this.#slots[this.#head];
  }

  push(element: T): void {
    if (this.#size === this.#slots.length) this.#grow();
    this.#slots[(this.#head + this.#size) & (this.#slots.length - 1)] = element;
    this.#size += 1;
  }

  /** Takes the oldest element out. */
  shift(): T | undefined {
    const element = this.#slots[this.#head];
    if (this.#size === 0) return undefined;
    this.#slots[this.#head] = undefined;
    this.#head = (this.#head + 1) & (this.#slots.length - 1);
    this.#size -= 1;
    if (this.#size === 0 && this.#slots.length > keptSlots) {
      this.#slots = noSlots;
      this.#head = 0;
    }
    return element;
  }

  #grow(): void {
    const old = this.#slots;
    const slots: (T | undefined)[] = new Array(Math.max(firstSlots, 2 * old.length));
    for (let i = 0; i < this.#size; i += 1) slots[i] = old[(this.#head + i) & (old.length - 1)];
    this.#slots = slots;
    this.#head = 0;
  }
}
