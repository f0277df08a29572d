/** Reads RecordSet bytes: checks them without objects, and decodes them into views. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { BodyInfo } from "./body.ts";
import { WireReader } from "./reader.ts";

/** A header of a record. `value` is a view; undefined means null. */
export interface DecodedHeader {
  readonly name: string;
  readonly value: Uint8Array | undefined;
}

/** A record. Key, value and header values are views of the batch. */
export interface DecodedRecord {
  readonly offsetDelta: number;
  readonly timestampMs: number;
  /** Undefined: no key. */
  readonly key: Uint8Array | undefined;
  /** Undefined: null. */
  readonly value: Uint8Array | undefined;
  readonly headers: readonly DecodedHeader[];
}

const invalid = (what: string): MillraceError =>
  new MillraceError(ErrorCode.INVALID_RECORD, `${what}: see millrace.storage.v1.Record`);

export const recordReader = (bytes: Uint8Array): WireReader =>
  new WireReader(bytes, "RecordSet", ErrorCode.CORRUPT_MESSAGE);

/** Signed value of a zigzag varint. */
export const unzigzag = (value: number): number => {
  const half = Math.floor(value / 2);
  return value % 2 === 0 ? half : -half - 1;
};

/** Position after the tag of the next record, skipping unknown fields; -1 at the end. */
const nextRecord = (reader: WireReader): number => {
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === 0x0a) {
      const length = reader.varint();
      const start = reader.at;
      reader.advance(length);
      return start;
    }
    reader.skip(tag & 7);
  }
  return -1;
};

/** Offset and timestamp deltas of one record. */
interface Place {
  offsetDelta: number;
  timestampDeltaMs: number;
}

const readPlace = (reader: WireReader, end: number, index: number, place: Place): void => {
  place.offsetDelta = index;
  place.timestampDeltaMs = 0;
  while (reader.at < end) {
    const tag = reader.tag();
    if (tag === 0x18) place.timestampDeltaMs = unzigzag(reader.varint());
    else if (tag === 0x20) place.offsetDelta = reader.uint32();
    else if (tag === 0x2a) checkHeader(reader);
    else reader.skip(tag & 7);
  }
  if (reader.at !== end) throw reader.fault("a field runs past its record");
};

/** Most bytes of a header's name. */
export const HEADER_NAME_BYTES_MAX = 32_767;

/** Skips a header whose length is next, and checks its name. */
const checkHeader = (reader: WireReader): void => {
  const length = reader.varint();
  const end = reader.at + length;
  let nameBytes = 0;
  while (reader.at < end) {
    const tag = reader.tag();
    if (tag === 0x0a) nameBytes = reader.textBytes();
    else reader.skip(tag & 7);
  }
  if (reader.at !== end) throw reader.fault("a field runs past its header");
  if (nameBytes < 1 || nameBytes > HEADER_NAME_BYTES_MAX) {
    throw invalid(`a header's name must have 1 to ${HEADER_NAME_BYTES_MAX} bytes`);
  }
};

/**
 * Checks an uncompressed RecordSet against what its body says: count, offset deltas 0, 1, 2, … (or
 * rising ones, where compaction took records), largest timestamp, header names. One pass, no object
 * per record. Returns the smallest timestamp, milliseconds (Infinity without records). Throws
 * CORRUPT_MESSAGE or INVALID_RECORD.
 */
export const checkRecords = (recordSet: Uint8Array, info: BodyInfo): number => {
  const outer = recordReader(recordSet);
  const inner = recordReader(recordSet);
  const place: Place = { offsetDelta: 0, timestampDeltaMs: 0 };
  const sparse = info.lastOffsetDelta >= info.recordCount;
  let count = 0;
  let before = -1;
  let largestMs = Number.NEGATIVE_INFINITY;
  let smallestMs = Number.POSITIVE_INFINITY;
  for (let start = nextRecord(outer); start >= 0; start = nextRecord(outer)) {
    inner.at = start;
    readPlace(inner, outer.at, count, place);
    const { offsetDelta } = place;
    const follows = sparse
      ? offsetDelta > before && offsetDelta <= info.lastOffsetDelta
      : offsetDelta === count;
    if (!follows) throw invalid(`offset_delta of record ${count} is ${offsetDelta}`);
    before = offsetDelta;
    const timestampMs = info.baseTimestampMs + place.timestampDeltaMs;
    if (!(timestampMs >= 0 && timestampMs <= Number.MAX_SAFE_INTEGER)) {
      throw invalid(`the timestamp of record ${count} is out of range`);
    }
    if (timestampMs > largestMs) largestMs = timestampMs;
    if (timestampMs < smallestMs) smallestMs = timestampMs;
    count += 1;
    if (count > info.recordCount) break;
  }
  if (count !== info.recordCount) {
    throw invalid(
      `record_count is ${info.recordCount}, there are ${count > info.recordCount ? "more" : count}`,
    );
  }
  if (count > 0 && largestMs !== info.maxTimestampMs) {
    throw invalid(
      `max_timestamp_ms is ${info.maxTimestampMs}, the largest timestamp is ${largestMs}`,
    );
  }
  return smallestMs;
};

const decodeHeader = (bytes: Uint8Array): DecodedHeader => {
  const reader = recordReader(bytes);
  let name = "";
  let value: Uint8Array | undefined;
  while (!reader.done) {
    const tag = reader.tag();
    if (tag === 0x0a) name = reader.text();
    else if (tag === 0x12) value = reader.view();
    else reader.skip(tag & 7);
  }
  return { name, value };
};

const noHeaders: readonly DecodedHeader[] = [];

/**
 * The bytes of a key as a string of one character, U+0000 to U+00FF, for each. Such strings take
 * the memory of their bytes, are keys of maps, and compare as the bytes do.
 */
export const keyOf = (bytes: Uint8Array): string =>
  Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length).toString("latin1");

/** The bytes of `keyOf`. */
export const bytesOfKey = (key: string): Uint8Array => Buffer.from(key, "latin1");

/** The keys of a batch whose records all have one. */
export interface RecordKeys {
  /** As `keyOf` makes them, one for each record. */
  readonly keys: readonly string[];
  /** Whether the value of the record is null. */
  readonly isNull: readonly boolean[];
}

/** The record between the reader and `end`. */
export const decodeOne = (
  reader: WireReader,
  end: number,
  index: number,
  baseTimestampMs: number,
): DecodedRecord => {
  let key: Uint8Array | undefined;
  let value: Uint8Array | undefined;
  let headers: DecodedHeader[] | undefined;
  let offsetDelta = index;
  let timestampMs = baseTimestampMs;
  while (reader.at < end) {
    const tag = reader.tag();
    if (tag === 0x12) value = reader.view();
    else if (tag === 0x0a) key = reader.view();
    else if (tag === 0x18) timestampMs = baseTimestampMs + unzigzag(reader.varint());
    else if (tag === 0x20) offsetDelta = reader.uint32();
    else if (tag === 0x2a) {
      headers ??= [];
      headers.push(decodeHeader(reader.view()));
    } else reader.skip(tag & 7);
  }
  if (reader.at !== end) throw reader.fault("a field runs past its record");
  if (Number.isNaN(timestampMs)) throw reader.fault("a timestamp is out of range");
  return { offsetDelta, timestampMs, key, value, headers: headers ?? noHeaders };
};

/** Records of an uncompressed RecordSet, one at a time, in order. Throws CORRUPT_MESSAGE. */
export function* iterateRecords(
  recordSet: Uint8Array,
  baseTimestampMs: number,
): Generator<DecodedRecord, void, undefined> {
  const outer = recordReader(recordSet);
  const inner = recordReader(recordSet);
  let index = 0;
  for (let start = nextRecord(outer); start >= 0; start = nextRecord(outer)) {
    inner.at = start;
    yield decodeOne(inner, outer.at, index, baseTimestampMs);
    index += 1;
  }
}

/** All records of an uncompressed RecordSet, in order. Throws CORRUPT_MESSAGE. */
export const decodeRecords = (recordSet: Uint8Array, baseTimestampMs: number): DecodedRecord[] => {
  const outer = recordReader(recordSet);
  const inner = recordReader(recordSet);
  const records: DecodedRecord[] = [];
  for (let start = nextRecord(outer); start >= 0; start = nextRecord(outer)) {
    inner.at = start;
    records.push(decodeOne(inner, outer.at, records.length, baseTimestampMs));
  }
  return records;
};

/** First record whose timestamp is at or after `targetMs`, or undefined. Throws CORRUPT_MESSAGE. */
export const findTimestamp = (
  recordSet: Uint8Array,
  baseTimestampMs: number,
  targetMs: number,
): { readonly offsetDelta: number; readonly timestampMs: number } | undefined => {
  const outer = recordReader(recordSet);
  const inner = recordReader(recordSet);
  const place: Place = { offsetDelta: 0, timestampDeltaMs: 0 };
  let index = 0;
  for (let start = nextRecord(outer); start >= 0; start = nextRecord(outer)) {
    inner.at = start;
    readPlace(inner, outer.at, index, place);
    const timestampMs = baseTimestampMs + place.timestampDeltaMs;
    if (timestampMs >= targetMs) return { offsetDelta: place.offsetDelta, timestampMs };
    index += 1;
  }
  return undefined;
};
