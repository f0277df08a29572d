/**
 * Writes small protobuf messages into a scratch buffer, and big byte fields behind it without a
 * copy of their own.
 */
import { varintBytes, writeVarint } from "./varint.ts";

/** One message at a time; `finish` gives it away and starts anew. */
export class WireWriter {
  #buffer: Buffer;
  #at = 0;

  /** `capacityBytes` is the first allocation; it grows as needed and stays. */
  constructor(capacityBytes = 4096) {
    this.#buffer = Buffer.allocUnsafe(capacityBytes);
  }

  /** Forgets what an encode that threw may have left. */
  begin(): void {
    this.#at = 0;
  }

  /** A plain scalar: 0 is not written. */
  varint(field: number, value: number): void {
    if (value !== 0) this.present(field, value);
  }

  /** A scalar with presence. */
  optional(field: number, value: number | undefined): void {
    if (value !== undefined) this.present(field, value);
  }

  /** A sint64 of an offset or -1. */
  optionalSigned(field: number, value: number | undefined): void {
    if (value !== undefined) this.present(field, value < 0 ? -2 * value - 1 : 2 * value);
  }

  present(field: number, value: number): void {
    this.#reserve(16);
    this.#at = writeVarint(this.#buffer, this.#at, field * 8);
    this.#at = writeVarint(this.#buffer, this.#at, value);
  }

  /** A varint without a tag: an element of a packed field. */
  bare(value: number): void {
    this.#reserve(10);
    this.#at = writeVarint(this.#buffer, this.#at, value);
  }

  /** int32 and enums; negative ones take ten bytes. */
  int32(field: number, value: number): void {
    if (value >= 0) {
      this.varint(field, value);
      return;
    }
    this.#reserve(16);
    this.#at = writeVarint(this.#buffer, this.#at, field * 8);
    this.#at = writeVarint(this.#buffer, this.#at, (value & 0x7fff_ffff) + 0x8000_0000);
    // The varint of the low 32 bits is 5 bytes; sign extension sets everything above.
    this.#buffer[this.#at - 1] = (this.#buffer[this.#at - 1] ?? 0) | 0xf0;
    this.#buffer.fill(0xff, this.#at, this.#at + 4);
    this.#buffer[this.#at + 4] = 0x01;
    this.#at += 5;
  }

  bool(field: number, value: boolean): void {
    if (value) this.present(field, 1);
  }

  fixed32(field: number, value: number): void {
    this.#reserve(9);
    this.#at = writeVarint(this.#buffer, this.#at, field * 8 + 5);
    this.#at = this.#buffer.writeUInt32LE(value >>> 0, this.#at);
  }

  /** A plain string: "" is not written. */
  text(field: number, value: string): void {
    if (value === "") return;
    const bytes = Buffer.byteLength(value);
    this.header(field, bytes);
    this.#reserve(bytes);
    this.#at += this.#buffer.write(value, this.#at, "utf8");
  }

  /** A repeated string: every element is written, "" too. */
  texts(field: number, values: readonly string[]): void {
    for (const value of values) {
      if (value === "") this.header(field, 0);
      else this.text(field, value);
    }
  }

  /** Plain bytes: empty is not written. */
  bytes(field: number, value: Uint8Array): void {
    if (value.length === 0) return;
    this.header(field, value.length);
    this.#reserve(value.length);
    this.#buffer.set(value, this.#at);
    this.#at += value.length;
  }

  /** Tag and length of a length-delimited field whose content follows by other means. */
  header(field: number, length: number): void {
    this.#reserve(16);
    this.#at = writeVarint(this.#buffer, this.#at, field * 8 + 2);
    this.#at = writeVarint(this.#buffer, this.#at, length);
  }

  /**
   * A sub-message of at most a few KiB, and of `tailBytes` more, which follow by other means and
   * count in its length.
   */
  message(field: number, write: () => void, tailBytes = 0): void {
    this.#reserve(16);
    this.#at = writeVarint(this.#buffer, this.#at, field * 8 + 2);
    const lengthAt = this.#at;
    this.#at += 1;
    write();
    const length = this.#at - lengthAt - 1 + tailBytes;
    const extra = varintBytes(length) - 1;
    if (extra > 0) {
      this.#reserve(extra);
      this.#buffer.copyWithin(lengthAt + 1 + extra, lengthAt + 1, this.#at);
      this.#at += extra;
    }
    writeVarint(this.#buffer, lengthAt, length);
  }

  /** The message in one exact allocation, with `tail` chunks copied behind what was written. */
  finish(tail: readonly Uint8Array[] = []): Buffer {
    let bytes = this.#at;
    for (const chunk of tail) bytes += chunk.length;
    const message = Buffer.allocUnsafe(bytes);
    this.#buffer.copy(message, 0, 0, this.#at);
    let at = this.#at;
    for (const chunk of tail) {
      message.set(chunk, at);
      at += chunk.length;
    }
    this.#at = 0;
    return message;
  }

  /** Bytes written so far. */
  get sizeBytes(): number {
    return this.#at;
  }

  /**
   * The message whose end is `tail`: what was written is put right before it, into the memory that
   * `tail` is a view of. There must be room.
   */
  finishBefore(tail: Uint8Array): Buffer {
    const start = tail.byteOffset - this.#at;
    const message = Buffer.from(tail.buffer, start, this.#at + tail.length);
    this.#buffer.copy(message, 0, 0, this.#at);
    this.#at = 0;
    return message;
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(this.#buffer.length * 2, this.#at + bytes));
    this.#buffer.copy(larger, 0, 0, this.#at);
    this.#buffer = larger;
  }
}
