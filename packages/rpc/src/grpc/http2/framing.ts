/** Messages of gRPC on an HTTP/2 stream: a flag, a length of four bytes, and the bytes. */
import { ErrorCode, MillraceError, sizeText } from "@millrace/errors";

export const prefixBytes = 5;
/** Pieces up to this size are copied together; larger ones are sent without a copy. */
const gatheredBytesMax = 4096;

/**
 * Splits chunks into messages. A message within one chunk is a view of it. Throws MESSAGE_TOO_LARGE
 * for one of more than `bytesMax` as soon as its length is known, STREAM_PROTOCOL_VIOLATION for a
 * compressed one.
 */
export class MessageSplitter {
  readonly #bytesMax: number;
  readonly #prefix = Buffer.alloc(prefixBytes);
  #prefixed = 0;
  /** Length of the current message, -1 before it is known. */
  #length = -1;
  #parts: Buffer[] = [];
  #have = 0;

  constructor(bytesMax: number = Number.POSITIVE_INFINITY) {
    this.#bytesMax = bytesMax;
  }

  /** Calls back with every message that these bytes complete. */
  feed(chunk: Buffer, onMessage: (message: Buffer) => void): void {
    let at = 0;
    while (at < chunk.length) {
      if (this.#length < 0) {
        at = this.#readPrefix(chunk, at);
        if (this.#length < 0) return;
      }
      const take = Math.min(this.#length - this.#have, chunk.length - at);
      const part = chunk.subarray(at, at + take);
      at += take;
      if (this.#have + take < this.#length) {
        this.#parts.push(part);
        this.#have += take;
        return;
      }
      const message = this.#have === 0 ? part : Buffer.concat([...this.#parts, part], this.#length);
      this.#length = -1;
      this.#have = 0;
      this.#parts = [];
      onMessage(message);
    }
  }

  #readPrefix(chunk: Buffer, from: number): number {
    if (this.#prefixed === 0 && chunk.length - from >= prefixBytes) {
      this.#begin(chunk[from] ?? 0, chunk.readUInt32BE(from + 1));
      return from + prefixBytes;
    }
    const taken = chunk.copy(this.#prefix, this.#prefixed, from);
    this.#prefixed += taken;
    if (this.#prefixed === prefixBytes) {
      this.#begin(this.#prefix[0] ?? 0, this.#prefix.readUInt32BE(1));
      this.#prefixed = 0;
    }
    return from + taken;
  }

  #begin(flag: number, length: number): void {
    if (flag !== 0) throw new MillraceError(ErrorCode.STREAM_PROTOCOL_VIOLATION, compressedText);
    if (length > this.#bytesMax) throw tooLarge(length, this.#bytesMax);
    this.#length = length;
  }
}

const compressedText = "a message is compressed, which nobody asked for";

export const tooLarge = (bytes: number, bytesMax: number): MillraceError =>
  new MillraceError(
    ErrorCode.MESSAGE_TOO_LARGE,
    `a message has ${sizeText(bytes)}, and ${sizeText(bytesMax)} is the limit: ` +
      "send or ask for less at once",
  );

/** The frames of a message: prefix and small pieces gathered, large pieces as they are. */
export const framesOf = (parts: readonly Uint8Array[], bytes: number): readonly Uint8Array[] => {
  let smallBytes = prefixBytes;
  for (const { length } of parts) smallBytes += length <= gatheredBytesMax ? length : 0;
  // One allocation for all small pieces; the runs between large pieces are sent as views of it.
  const small = Buffer.allocUnsafe(smallBytes);
  small[0] = 0;
  small.writeUInt32BE(bytes, 1);
  const frames: Uint8Array[] = [];
  let at = 0;
  let end = prefixBytes;
  for (const part of parts) {
    if (part.length <= gatheredBytesMax) {
      small.set(part, end);
      end += part.length;
      continue;
    }
    if (end > at) frames.push(small.subarray(at, end));
    at = end;
    frames.push(part);
  }
  if (end > at) frames.push(small.subarray(at, end));
  return frames;
};
