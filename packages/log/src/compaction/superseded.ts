/**
 * Which records of a part of a log go because a later one has their key, or because they have none:
 * a bit for each offset. It saves the second look at a key, which is most of what a record costs.
 */

/** Offsets of one chunk, 8 KiB. */
const chunkOffsets = 65_536;
const chunkBytes = chunkOffsets / 8;

export class Superseded {
  readonly #chunksMax: number;
  readonly #chunks = new Map<number, Uint32Array>();
  /** The chunk that was asked for last: most questions are about neighbours. */
  #lastIndex = -1;
  #last: Uint32Array | undefined;

  /** `bytesMax`: of the memory. */
  constructor(bytesMax: number) {
    this.#chunksMax = Math.floor(bytesMax / chunkBytes);
  }

  /** Memory in use. */
  get bytes(): number {
    return this.#chunks.size * chunkBytes;
  }

  /** A record is looked at. All of them are, in the order of their offsets. */
  look(offset: number): void {
    if (this.#chunkOf(offset) !== undefined || this.#chunks.size >= this.#chunksMax) return;
    const index = Math.floor(offset / chunkOffsets);
    this.#last = new Uint32Array(chunkOffsets / 32);
    this.#lastIndex = index;
    this.#chunks.set(index, this.#last);
  }

  /** A record that was looked at goes. */
  add(offset: number): void {
    const chunk = this.#chunkOf(offset);
    if (chunk === undefined) return;
    const bit = offset % chunkOffsets;
    const word = bit >>> 5;
    chunk[word] = (chunk[word] ?? 0) | (1 << (bit & 31));
  }

  /** Whether a record that was looked at goes; undefined where there was no room to note it. */
  has(offset: number): boolean | undefined {
    const chunk = this.#chunkOf(offset);
    if (chunk === undefined) return undefined;
    const bit = offset % chunkOffsets;
    return ((chunk[bit >>> 5] ?? 0) & (1 << (bit & 31))) !== 0;
  }

  /** How many of the records from `first` to `last` go; undefined where it is not known of all. */
  countIn(first: number, last: number): number | undefined {
    let count = 0;
    for (let offset = first; offset <= last; offset += 1) {
      const goes = this.has(offset);
      if (goes === undefined) return undefined;
      if (goes) count += 1;
    }
    return count;
  }

  #chunkOf(offset: number): Uint32Array | undefined {
    const index = Math.floor(offset / chunkOffsets);
    if (index !== this.#lastIndex) {
      this.#last = this.#chunks.get(index);
      this.#lastIndex = index;
    }
    return this.#last;
  }
}
