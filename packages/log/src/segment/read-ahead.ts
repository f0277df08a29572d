/** Reads a file from front to back, a part ahead of what is looked at. */
import type { DiskFile } from "@millrace/env";

interface Pending {
  /** In the file. */
  readonly position: number;
  readonly buffer: Buffer;
  /** Settles; an error waits until somebody asks for the bytes. */
  readonly read: Promise<{ readonly bytes: number } | { readonly error: unknown }>;
}

/** Two buffers take turns: what was returned is valid until the next is asked for. */
export class ReadAhead {
  readonly #file: Pick<DiskFile, "read">;
  readonly #endPosition: number;
  readonly #partBytes: number;
  #pending: Pending | undefined;
  #spare: Buffer | undefined;
  #shown: Buffer | undefined;

  /** `partBytes`: of one read. */
  constructor(file: Pick<DiskFile, "read">, endPosition: number, partBytes: number) {
    this.#file = file;
    this.#endPosition = endPosition;
    this.#partBytes = partBytes;
  }

  /**
   * `kept`, which ends at `position`, and what follows it: `bytes` at least, unless the file ends.
   * `kept` may be a part of what was returned last.
   */
  async read(kept: Uint8Array, position: number, bytes: number): Promise<Buffer> {
    const pending = this.#pending;
    this.#pending = undefined;
    const got = await pending?.read;
    const isIt = pending?.position === position && kept.length <= this.#partBytes;
    if (pending === undefined || got === undefined || !isIt || bytes > this.#partBytes) {
      return this.#begin(kept, position, bytes);
    }
    if ("error" in got) throw got.error;
    const { buffer } = pending;
    const start = this.#partBytes - kept.length;
    buffer.set(kept, start);
    this.#spare = this.#shown;
    this.#shown = buffer;
    this.#ahead(position + got.bytes);
    return buffer.subarray(start, this.#partBytes + got.bytes);
  }

  /** No read is under way any more. */
  async close(): Promise<void> {
    await this.#pending?.read;
    this.#pending = undefined;
  }

  async #begin(kept: Uint8Array, position: number, bytes: number): Promise<Buffer> {
    const left = this.#endPosition - position;
    const size = Math.min(left, Math.max(bytes, this.#partBytes));
    const buffer = Buffer.allocUnsafe(kept.length + size);
    buffer.set(kept);
    const read = await this.#file.read(buffer, kept.length, size, position);
    this.#ahead(position + read);
    return buffer.subarray(0, kept.length + read);
  }

  #ahead(position: number): void {
    const bytes = Math.min(this.#endPosition - position, this.#partBytes);
    if (bytes <= 0) return;
    // In front is room for what is kept of the part before.
    const buffer = this.#spare ?? Buffer.allocUnsafeSlow(2 * this.#partBytes);
    this.#spare = undefined;
    const read = this.#file.read(buffer, this.#partBytes, bytes, position).then(
      (count) => ({ bytes: count }),
      (error: unknown) => ({ error }),
    );
    this.#pending = { position, buffer, read };
  }
}
