/** A cursor over protobuf bytes. Bounded work: every step consumes bytes or throws. */
import { ErrorCode, MillraceError } from "@millrace/errors";

const utf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/** Reads wire-format primitives. Throws MillraceError with the code given to the constructor. */
export class WireReader {
  readonly bytes: Uint8Array;
  readonly #code: ErrorCode;
  readonly #what: string;
  at = 0;

  /** `what` names the message in error texts. */
  constructor(bytes: Uint8Array, what: string, code: ErrorCode = ErrorCode.INVALID_REQUEST) {
    this.bytes = bytes;
    this.#what = what;
    this.#code = code;
  }

  get done(): boolean {
    return this.at >= this.bytes.length;
  }

  fault(reason: string): MillraceError {
    return new MillraceError(
      this.#code,
      `invalid ${this.#what}: not a valid protobuf message (${reason}): serialize it from its .proto`,
    );
  }

  /** An error for a well-formed message with a value that is too large. */
  excess(reason: string): MillraceError {
    return new MillraceError(this.#code, `${this.#what} message: ${reason}`);
  }

  /** Field number * 8 + wire type. */
  tag(): number {
    const tag = this.varint();
    if (!(tag >= 8 && tag <= 0xffff_ffff)) throw this.fault("a field number is out of range");
    return tag;
  }

  /** Unsigned varint below 2^53; NaN for a larger one (a negative int64 included). */
  varint(): number {
    const first = this.bytes[this.at];
    if (first === undefined || first > 0x7f) return this.#longVarint();
    this.at += 1;
    return first;
  }

  #longVarint(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 10; i += 1) {
      const byte = this.bytes[this.at++];
      if (byte === undefined) throw this.fault("it ends inside a number");
      value += (byte & 0x7f) * scale;
      scale *= 128;
      if (byte < 0x80) return value <= Number.MAX_SAFE_INTEGER ? value : Number.NaN;
    }
    throw this.fault("a number is longer than 10 bytes");
  }

  /** uint64 as a safe integer; larger ones are refused. */
  uint64(): number {
    const value = this.varint();
    if (Number.isNaN(value)) throw this.excess("a number is 2^53 or more: send a smaller one");
    return value;
  }

  /** uint64 where 2^53 - 1 and everything above mean the same: more than there can be. */
  cappedUint64(): number {
    const value = this.varint();
    return Number.isNaN(value) ? Number.MAX_SAFE_INTEGER : value;
  }

  /** sint64 of an offset or -1; what is larger than any offset means the largest number. */
  cappedSint64(): number {
    const value = this.varint();
    if (Number.isNaN(value)) return Number.MAX_SAFE_INTEGER;
    return value % 2 === 0 ? value / 2 : -(value + 1) / 2;
  }

  /** Low 32 bits of a varint, unsigned, as protobuf truncates. */
  uint32(): number {
    let value = 0;
    for (let i = 0; i < 10; i += 1) {
      const byte = this.bytes[this.at++];
      if (byte === undefined) throw this.fault("it ends inside a number");
      if (i < 5) value |= (byte & 0x7f) << (7 * i);
      if (byte < 0x80) return value >>> 0;
    }
    throw this.fault("a number is longer than 10 bytes");
  }

  /** int32, and enums: low 32 bits, signed. */
  int32(): number {
    return this.uint32() | 0;
  }

  /** Any bit set. */
  bool(): boolean {
    return this.varint() !== 0;
  }

  fixed32(): number {
    const at = this.at;
    this.advance(4);
    const { bytes } = this;
    const low = (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16);
    return (low | ((bytes[at + 3] ?? 0) << 24)) >>> 0;
  }

  /** A length-delimited field, as a view. */
  view(): Uint8Array {
    const length = this.varint();
    const start = this.at;
    this.advance(length);
    return this.bytes.subarray(start, this.at);
  }

  /** UTF-8, which must be valid. */
  text(): string {
    return this.#decoded(this.view());
  }

  #decoded(view: Uint8Array): string {
    try {
      return utf8.decode(view);
    } catch {
      // The decoder's own error says no more than this.
      throw this.fault("a string is not UTF-8");
    }
  }

  /** Passes over a string that must be valid UTF-8; returns its length in bytes. */
  textBytes(): number {
    const length = this.varint();
    const start = this.at;
    this.advance(length);
    for (let at = start; at < this.at; at += 1) {
      if ((this.bytes[at] ?? 0) > 0x7f) {
        this.#decoded(this.bytes.subarray(start, this.at));
        break;
      }
    }
    return length;
  }

  /** Skips the value of a field of this wire type. Groups are refused. */
  skip(wireType: number): void {
    if (wireType === 0) this.varint();
    else if (wireType === 1) this.advance(8);
    else if (wireType === 2) this.advance(this.varint());
    else if (wireType === 5) this.advance(4);
    else throw this.fault(`wire type ${wireType}`);
  }

  advance(length: number): void {
    if (!(this.at + length <= this.bytes.length)) throw this.fault("it ends inside a field");
    this.at += length;
  }
}
