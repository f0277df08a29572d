/** Builds batches, record by record, without an object per record. */
import type { Compressor } from "@millrace/env";
import { assert, ErrorCode, MillraceError } from "@millrace/errors";
import type { BatchCompression } from "./body.ts";
import { HEADER_NAME_BYTES_MAX } from "./records.ts";
import { varintBytes, writeVarint } from "./varint.ts";
import { WireWriter } from "./writer.ts";

/** A record of a producer. */
export interface RecordInput {
  readonly key?: Uint8Array | undefined;
  /** Undefined or null: a null value (tombstone). */
  readonly value?: Uint8Array | null | undefined;
  /** Whole milliseconds since the Unix epoch. */
  readonly timestampMs: number;
  readonly headers?: readonly {
    readonly name: string;
    readonly value?: Uint8Array | null | undefined;
  }[];
}

/** Identity of an idempotent producer's batch. */
export interface ProducerStamp {
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly baseSequence: number;
}

export interface FinishOptions {
  readonly compression: BatchCompression;
  readonly compressor: Compressor;
  readonly level?: number;
  readonly producer?: ProducerStamp;
}

const compressionNumbers = { none: 1, gzip: 2, zstd: 3, lz4: 4 } as const;

/**
 * Largest timestamp, milliseconds since the Unix epoch (the year 144,683): the zigzag form of any
 * two timestamps' difference stays a safe integer.
 */
export const TIMESTAMP_MS_MAX = 2 ** 52 - 1;

const zigzag = (value: number): number => (value >= 0 ? value * 2 : -value * 2 - 1);

const bytesField = (length: number): number => 1 + varintBytes(length) + length;

const headerBytes = (name: string, value: Uint8Array | null | undefined): number =>
  bytesField(Buffer.byteLength(name)) + (value == null ? 0 : bytesField(value.length));

/** Fields of a body besides its records. */
export interface BodyFields {
  readonly compression: BatchCompression;
  readonly recordCount: number;
  readonly baseTimestampMs: number;
  readonly maxTimestampMs: number;
  readonly producer?: ProducerStamp | undefined;
  /** Where it is not the number of records less one: after compaction. */
  readonly lastOffsetDelta?: number | undefined;
}

const scratch = new WireWriter(128);

/** A serialized BatchBody around RecordSet bytes that are compressed as `fields` say. */
export const encodeBody = (fields: BodyFields, records: Uint8Array): Buffer => {
  writeBodyHead(fields, records.length);
  return scratch.finish([records]);
};

/** Everything of a BatchBody before its records, into `scratch`. */
const writeBodyHead = (fields: BodyFields, recordsBytes: number): void => {
  const { producer } = fields;
  const writer = scratch;
  writer.begin();
  writer.present(1, compressionNumbers[fields.compression]);
  writer.present(2, fields.recordCount);
  writer.present(3, fields.baseTimestampMs);
  writer.present(4, fields.maxTimestampMs);
  if (producer !== undefined) {
    writer.present(5, producer.producerId);
    writer.present(6, producer.producerEpoch);
    writer.present(7, producer.baseSequence);
  }
  writer.optional(10, fields.lastOffsetDelta);
  writer.header(15, recordsBytes);
};

/** Records as a body has them, without the rest of the body. */
export interface PackedRecords extends Omit<BodyFields, "lastOffsetDelta" | "producer"> {
  /** RecordSet bytes, compressed as `compression` says. */
  readonly records: Uint8Array;
}

/** Bytes kept free before the records, for the head of the body and of the produce request. */
const headBytes = 512;
/** The part of it for the head of the body, bytes. */
const bodyHeadBytesMax = 96;
/** Bytes before a body of `viewPlain` that its user may write over. */
export const HEADROOM_BYTES = headBytes - bodyHeadBytesMax;

/** A batch under construction. */
export class BatchBuilder {
  #buffer: Buffer;
  #at = headBytes;
  #count = 0;
  #baseMs = 0;
  #maxMs = 0;

  /** `capacityBytes` is the first allocation; it grows as needed. */
  constructor(capacityBytes = 16 * 1024) {
    this.#buffer = Buffer.allocUnsafeSlow(headBytes + capacityBytes);
  }

  get recordCount(): number {
    return this.#count;
  }

  /** Record bytes so far, before compression. */
  get sizeBytes(): number {
    return this.#at - headBytes;
  }

  /** Upper bound of the bytes that a record adds. */
  static boundOf(record: RecordInput): number {
    let bytes = 40 + (record.key?.length ?? 0) + (record.value?.length ?? 0);
    for (const { name, value } of record.headers ?? [])
      bytes += 20 + name.length * 3 + (value?.length ?? 0);
    return bytes;
  }

  /**
   * Adds a record. Throws INVALID_RECORD, before any effect, for a timestamp or header that no
   * batch can hold.
   */
  append(record: RecordInput): void {
    const { key, value, timestampMs } = record;
    if (!Number.isInteger(timestampMs) || timestampMs < 0 || timestampMs > TIMESTAMP_MS_MAX) {
      throw new MillraceError(
        ErrorCode.INVALID_RECORD,
        `timestamp ${timestampMs} is not allowed: use whole milliseconds since the Unix epoch`,
      );
    }
    const first = this.#count === 0;
    const delta = zigzag(first ? 0 : timestampMs - this.#baseMs);
    let bytes = 2 + varintBytes(delta) + varintBytes(this.#count);
    if (key !== undefined) bytes += bytesField(key.length);
    if (value != null) bytes += bytesField(value.length);
    for (const header of record.headers ?? []) {
      const nameBytes = Buffer.byteLength(header.name);
      if (nameBytes < 1 || nameBytes > HEADER_NAME_BYTES_MAX) {
        throw new MillraceError(
          ErrorCode.INVALID_RECORD,
          `a header's name must have 1 to ${HEADER_NAME_BYTES_MAX} bytes: name it, or shorten it`,
        );
      }
      bytes += bytesField(headerBytes(header.name, header.value));
    }
    if (first) this.#baseMs = timestampMs;
    this.#maxMs = first ? timestampMs : Math.max(this.#maxMs, timestampMs);
    this.#reserve(1 + varintBytes(bytes) + bytes);
    this.#tagged(0x0a, bytes);
    if (key !== undefined) this.#bytes(0x0a, key);
    if (value != null) this.#bytes(0x12, value);
    this.#tagged(0x18, delta);
    this.#tagged(0x20, this.#count);
    for (const header of record.headers ?? []) {
      this.#tagged(0x2a, headerBytes(header.name, header.value));
      this.#bytes(0x0a, Buffer.from(header.name));
      if (header.value != null) this.#bytes(0x12, header.value);
    }
    this.#count += 1;
  }

  /** Forgets all records and keeps the memory. Not while `finish` is pending. */
  reset(): void {
    this.#at = headBytes;
    this.#count = 0;
  }

  /**
   * The serialized BatchBody, a copy: `reset` the builder to use it again, once this has settled.
   */
  async finish(options: FinishOptions): Promise<Buffer> {
    const { records, ...fields } = await this.pack(options);
    return encodeBody({ ...fields, producer: options.producer }, records);
  }

  /**
   * The compressed records, for `encodeBody`. `reset` the builder to use it again, once this has
   * settled, and the records have been encoded when they are not compressed: they are a view.
   */
  async pack(options: Omit<FinishOptions, "producer">): Promise<PackedRecords> {
    const { compression, compressor, level } = options;
    const plain = this.#buffer.subarray(headBytes, this.#at);
    const fields = this.#fields(compression, undefined);
    if (compression === "none") return { ...fields, records: plain };
    return { ...fields, records: await compressor.compress(compression, plain, level) };
  }

  /** `finish` without compression, at once. */
  finishPlain(producer?: ProducerStamp): Buffer {
    return encodeBody(this.#fields("none", producer), this.#buffer.subarray(headBytes, this.#at));
  }

  /**
   * As `finishPlain`, without a copy: a view of the builder's memory that holds until `append` or
   * `reset`, with `HEADROOM_BYTES` before it free to be written over.
   */
  viewPlain(producer?: ProducerStamp): Buffer {
    const records = this.#buffer.subarray(headBytes, this.#at);
    writeBodyHead(this.#fields("none", producer), records.length);
    assert(scratch.sizeBytes <= bodyHeadBytesMax, "a body's head fits its room");
    return scratch.finishBefore(records);
  }

  #fields(compression: BatchCompression, producer: ProducerStamp | undefined): BodyFields {
    return {
      compression,
      recordCount: this.#count,
      baseTimestampMs: this.#baseMs,
      maxTimestampMs: this.#maxMs,
      producer,
    };
  }

  #tagged(tag: number, value: number): void {
    this.#buffer[this.#at] = tag;
    this.#at = writeVarint(this.#buffer, this.#at + 1, value);
  }

  #bytes(tag: number, bytes: Uint8Array): void {
    this.#tagged(tag, bytes.length);
    this.#buffer.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  #reserve(bytes: number): void {
    if (this.#at + bytes <= this.#buffer.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(this.#buffer.length * 2, this.#at + bytes));
    this.#buffer.copy(larger, 0, 0, this.#at);
    this.#buffer = larger;
  }
}
