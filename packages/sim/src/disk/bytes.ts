/** Bytes that grow in place, so that appending to a file costs what is appended. */
export class Bytes {
  #data: Buffer;
  #length: number;

  constructor(content: Uint8Array = new Uint8Array()) {
    this.#data = Buffer.from(content);
    this.#length = content.length;
  }

  get length(): number {
    return this.#length;
  }

  /** A view of the content, valid until the next change. */
  view(): Buffer {
    return this.#data.subarray(0, this.#length);
  }

  copy(): Bytes {
    return new Bytes(this.view());
  }

  /** Puts bytes at a position; a gap before them reads as zeros. */
  write(position: number, bytes: Uint8Array): void {
    const end = position + bytes.length;
    if (end > this.#length) this.resize(end);
    this.#data.set(bytes, position);
  }

  /** Cuts, or grows with zeros. */
  resize(size: number): void {
    if (size > this.#data.length) {
      const grown = Buffer.alloc(Math.max(size, 2 * this.#data.length, 256));
      grown.set(this.view());
      this.#data = grown;
    } else if (size > this.#length) this.#data.fill(0, this.#length, size);
    this.#length = size;
  }

  flip(position: number, bit: number): void {
    if (position >= this.#length) return;
    this.#data[position] = (this.#data[position] ?? 0) ^ (1 << bit);
  }
}
