/** Follows the length prefixes of gRPC messages in a stream of bytes, without buffering any. */

const prefixBytes = 5;

export class MessageFraming {
  readonly #bytesMax: number;
  /** Bytes seen of the current prefix. */
  #prefix = 0;
  #length = 0;
  #remaining = 0;
  /** Complete messages so far. */
  messages = 0;
  /** The flag of a message was not 0: it is compressed, or malformed. */
  flagged = false;

  /** `bytesMax`: largest message, without its prefix, bytes. */
  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** True in the middle of a message. */
  get unfinished(): boolean {
    return this.#prefix > 0;
  }

  /** Length of the incomplete message, once its prefix is complete. */
  get begunBytes(): number {
    return this.#prefix === prefixBytes ? this.#length : 0;
  }

  /**
   * Takes the next bytes. Returns the length of a message that is too large; nothing after it is
   * followed.
   */
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
