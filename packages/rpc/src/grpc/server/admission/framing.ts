/** Follows the length prefixes of gRPC messages in a stream of bytes, without holding any. */

const prefixBytes = 5;

export class MessageFraming {
  readonly #bytesMax: number;
  /** Bytes of the current prefix that were seen. */
  #prefix = 0;
  #length = 0;
  #remaining = 0;
  /** Messages that are complete. */
  messages = 0;
  /** A message said that it is compressed, or something that no flag says. */
  flagged = false;

  /** `bytesMax`: largest message, without its prefix. */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** True in the middle of a message. */
  get unfinished(): boolean {
    return this.#prefix > 0;
  }

  /** Length of the message that has begun and is not complete, once its prefix has told. */
  get begunBytes(): number {
    return this.#prefix === prefixBytes ? this.#length : 0;
  }

  /** Takes the next bytes. Returns the length of a message that is too large, which ends the following. */
  follow(chunk: Uint8Array): number | undefined {
    let at = 0;
    while (at < chunk.length) {
      if (this.#prefix < prefixBytes) {
        const byte = chunk[at] ?? 0;
        at += 1;
        if (this.#prefix === 0) {
          this.#length = 0;
          if (byte !== 0) this.flagged = true;
        } else this.#length = this.#length * 256 + byte;
        this.#prefix += 1;
        if (this.#prefix < prefixBytes) continue;
        if (this.#length > this.#bytesMax) return this.#length;
        this.#remaining = this.#length;
      } else {
        const take = Math.min(this.#remaining, chunk.length - at);
        at += take;
        this.#remaining -= take;
      }
      if (this.#remaining > 0) continue;
      this.messages += 1;
      this.#prefix = 0;
    }
    return undefined;
  }
}
