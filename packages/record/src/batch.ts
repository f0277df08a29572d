/**
 * The stored form of a batch, and its header.
 *
 *     stored batch := 0x7a length(varint) header body_field        one element of Segment.batches
 *     header       := 0x09 base_offset(8)   0x15 leader_epoch(4)   0x19 append_time_ms(8)
 *                     0x25 header_crc32c(4) 0x2d body_crc32c(4)    33 bytes, little-endian
 *     body_field   := 0x32 length(varint) body
 *
 * The length varints are minimal, as generated encoders write them.
 */
import { crc32c } from "@node-rs/crc32";
import { varintBytes, writeVarint } from "./varint.ts";

/** Bytes of the fixed part of the header. */
export const HEADER_FIXED_BYTES = 33;
/** Most bytes before the body of a stored batch: tag, length, fixed header, tag, length. */
export const STORED_PREFIX_BYTES_MAX = 1 + 5 + HEADER_FIXED_BYTES + 1 + 5;
/** Largest body that any part of the system handles, bytes; topics set lower limits. */
export const BODY_BYTES_MAX = 64 * 1024 * 1024;

/** Header of a stored batch and where its parts lie in the buffer that it was read from. */
export interface StoredBatch {
  readonly baseOffset: number;
  readonly leaderEpoch: number;
  readonly appendTimeMs: number;
  readonly headerCrc: number;
  readonly bodyCrc: number;
  /** Position of the first byte (the 0x7a tag). */
  readonly start: number;
  readonly bodyStart: number;
  readonly bodyEnd: number;
}

/** What the leader writes in front of a body. */
export interface HeaderFields {
  readonly baseOffset: number;
  readonly leaderEpoch: number;
  readonly appendTimeMs: number;
  readonly bodyCrc: number;
}

/** Why no batch could be read at a position. */
export type BatchFault =
  /**
   * The buffer ends before the batch does; `needBytes` from its start are needed (a lower bound).
   */
  | { readonly fault: "incomplete"; readonly needBytes: number }
  /** The bytes are not a batch, or a CRC is wrong. */
  | { readonly fault: "damaged"; readonly reason: string };

/** CRC-32C of bytes, behind others of the checksum `before`. */
export const crcOf = (bytes: Uint8Array, before = 0): number => crc32c(bytes as Buffer, before);

const scratch = Buffer.alloc(24);

/** The header's CRC; see RecordBatch.header_crc32c. */
export const headerCrcOf = (fields: HeaderFields): number => {
  writeU64(scratch, 0, fields.baseOffset);
  scratch.writeUInt32LE(fields.leaderEpoch, 8);
  writeU64(scratch, 12, fields.appendTimeMs);
  scratch.writeUInt32LE(fields.bodyCrc >>> 0, 20);
  return crc32c(scratch);
};

/** Little-endian u64 of a safe integer. */
export const writeU64 = (target: Buffer, at: number, value: number): void => {
  target.writeUInt32LE(value % 0x1_0000_0000, at);
  target.writeUInt32LE(Math.floor(value / 0x1_0000_0000), at + 4);
};

/** Little-endian u64; NaN when it is 2^53 or more. */
export const readU64 = (source: Buffer, at: number): number => {
  const high = source.readUInt32LE(at + 4);
  return high > 0x1f_ffff ? Number.NaN : high * 0x1_0000_0000 + source.readUInt32LE(at);
};

/** Bytes that a stored batch with a body of this length takes. */
export const storedBytes = (bodyBytes: number): number => {
  const message = HEADER_FIXED_BYTES + 1 + varintBytes(bodyBytes) + bodyBytes;
  return 1 + varintBytes(message) + message;
};

/**
 * Everything of a stored batch before its body. `prefix + body` is the stored form; the body's
 * bytes are not touched.
 */
export const encodeStoredPrefix = (fields: HeaderFields, bodyBytes: number): Buffer => {
  const message = HEADER_FIXED_BYTES + 1 + varintBytes(bodyBytes) + bodyBytes;
  const prefix = Buffer.allocUnsafe(storedBytes(bodyBytes) - bodyBytes);
  prefix[0] = 0x7a;
  let at = writeVarint(prefix, 1, message);
  prefix[at] = 0x09;
  writeU64(prefix, at + 1, fields.baseOffset);
  prefix[at + 9] = 0x15;
  prefix.writeUInt32LE(fields.leaderEpoch, at + 10);
  prefix[at + 14] = 0x19;
  writeU64(prefix, at + 15, fields.appendTimeMs);
  prefix[at + 23] = 0x25;
  prefix.writeUInt32LE(headerCrcOf(fields), at + 24);
  prefix[at + 28] = 0x2d;
  prefix.writeUInt32LE(fields.bodyCrc >>> 0, at + 29);
  prefix[at + 33] = 0x32;
  at = writeVarint(prefix, at + 34, bodyBytes);
  return prefix;
};

const damaged = (reason: string): BatchFault => ({ fault: "damaged", reason });

/** Minimal varint below 2^32 at `at`: [value, next position], or a fault. */
const readLength = (buffer: Buffer, at: number, start: number): [number, number] | BatchFault => {
  let value = 0;
  for (let i = 0; i < 5; i += 1) {
    const byte = buffer[at + i];
    if (byte === undefined) return { fault: "incomplete", needBytes: at + i + 1 - start };
    value += (byte & 0x7f) * 2 ** (7 * i);
    if (byte < 0x80) {
      return byte === 0 && i > 0 ? damaged("length is not minimal") : [value, at + i + 1];
    }
  }
  return damaged("length is longer than 5 bytes");
};

/**
 * Reads the stored batch at `start`, without checking the body's CRC (`bodyCrcMatches` does). The
 * header's CRC and every length are checked: what is returned is a header that a leader wrote.
 */
export const readStored = (buffer: Buffer, start: number): StoredBatch | BatchFault => {
  if (start >= buffer.length) return { fault: "incomplete", needBytes: STORED_PREFIX_BYTES_MAX };
  if (buffer[start] !== 0x7a) return damaged("not a batch tag");
  const outer = readLength(buffer, start + 1, start);
  if ("fault" in outer) return outer;
  const [message, at] = outer;
  if (message > BODY_BYTES_MAX + 64) return damaged(`batch of ${message} bytes`);
  if (message < HEADER_FIXED_BYTES + 2) return damaged("shorter than a header");
  if (buffer.length < at + HEADER_FIXED_BYTES + 1) {
    return { fault: "incomplete", needBytes: at + message - start };
  }
  const tags =
    buffer[at] === 0x09 &&
    buffer[at + 9] === 0x15 &&
    buffer[at + 14] === 0x19 &&
    buffer[at + 23] === 0x25 &&
    buffer[at + 28] === 0x2d &&
    buffer[at + 33] === 0x32;
  if (!tags) return damaged("header fields are not in place");
  const inner = readLength(buffer, at + 34, start);
  if ("fault" in inner) return inner;
  const [body, bodyStart] = inner;
  const bodyEnd = bodyStart + body;
  if (bodyEnd !== at + message) return damaged("lengths disagree");
  const fields = {
    baseOffset: readU64(buffer, at + 1),
    leaderEpoch: buffer.readUInt32LE(at + 10),
    appendTimeMs: readU64(buffer, at + 15),
    bodyCrc: buffer.readUInt32LE(at + 29),
  };
  const headerCrc = buffer.readUInt32LE(at + 24);
  if (Number.isNaN(fields.baseOffset) || Number.isNaN(fields.appendTimeMs)) {
    return damaged("header value out of range");
  }
  if (headerCrcOf(fields) !== headerCrc) return damaged("header CRC is wrong");
  if (bodyEnd > buffer.length) return { fault: "incomplete", needBytes: bodyEnd - start };
  return { ...fields, headerCrc, start, bodyStart, bodyEnd };
};

/** True when the body has the CRC that the header says. */
export const bodyCrcMatches = (buffer: Buffer, batch: StoredBatch): boolean =>
  crc32c(buffer.subarray(batch.bodyStart, batch.bodyEnd)) === batch.bodyCrc;
