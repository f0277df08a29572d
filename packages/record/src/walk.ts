/** Walks RecordSet bytes without an object for each record: compaction looks at millions. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { WireReader } from "./reader.ts";
import {
  type DecodedRecord,
  decodeOne,
  keyOf,
  type RecordKeys,
  recordReader,
  unzigzag,
} from "./records.ts";
import { varintBytes, writeVarint } from "./varint.ts";

/**
 * Where the parts of the present record lie in the set. Fields that come again: the last counts.
 */
export class RecordWalk {
  readonly #outer: WireReader;
  readonly #inner: WireReader;
  readonly #recordSet: Uint8Array;
  readonly #baseTimestampMs: number;
  #index = 0;
  /** The record with its tag and length. */
  start = 0;
  /** The record alone. */
  bodyStart = 0;
  end = 0;
  offsetDelta = 0;
  /** Whether `offsetDelta` is written; otherwise it is the record's index. */
  isDeltaWritten = false;
  timestampMs = 0;
  /** -1: no key. */
  keyStart = -1;
  keyEnd = -1;
  /** False: a tombstone, where there is a key. */
  hasValue = false;

  constructor(recordSet: Uint8Array, baseTimestampMs: number) {
    this.#recordSet = recordSet;
    this.#outer = recordReader(recordSet);
    this.#inner = recordReader(recordSet);
    this.#baseTimestampMs = baseTimestampMs;
  }

  /** Moves to the next record; false at the end. Throws CORRUPT_MESSAGE. */
  next(): boolean {
    const outer = this.#outer;
    while (!outer.done) {
      const start = outer.at;
      const tag = outer.tag();
      if (tag !== 0x0a) {
        outer.skip(tag & 7);
        continue;
      }
      const length = outer.varint();
      this.start = start;
      this.bodyStart = outer.at;
      outer.advance(length);
      this.end = outer.at;
      this.#look();
      this.#index += 1;
      return true;
    }
    return false;
  }

  /** Key of that record, as `keyOf` makes it; undefined without one. */
  get key(): string | undefined {
    if (this.keyStart < 0) return undefined;
    return keyOf(this.#recordSet.subarray(this.keyStart, this.keyEnd));
  }

  /** That record. Its bytes are views. */
  decode(): DecodedRecord {
    this.#inner.at = this.bodyStart;
    return decodeOne(this.#inner, this.end, this.#index - 1, this.#baseTimestampMs);
  }

  /** That record, in memory of its own: it keeps nothing else of its batch. */
  decodeCopy(): DecodedRecord {
    const body = new Uint8Array(this.#recordSet.subarray(this.bodyStart, this.end));
    return decodeOne(recordReader(body), body.length, this.#index - 1, this.#baseTimestampMs);
  }

  #look(): void {
    const reader = this.#inner;
    const { end } = this;
    reader.at = this.bodyStart;
    this.offsetDelta = this.#index;
    this.isDeltaWritten = false;
    this.timestampMs = this.#baseTimestampMs;
    this.keyStart = -1;
    this.keyEnd = -1;
    this.hasValue = false;
    while (reader.at < end) {
      const tag = reader.tag();
      if (tag === 0x0a) {
        const length = reader.varint();
        this.keyStart = reader.at;
        reader.advance(length);
        this.keyEnd = reader.at;
      } else if (tag === 0x12) {
        reader.skip(2);
        this.hasValue = true;
      } else if (tag === 0x18) {
        this.timestampMs = this.#baseTimestampMs + unzigzag(reader.varint());
      } else if (tag === 0x20) {
        this.offsetDelta = reader.uint32();
        this.isDeltaWritten = true;
      } else reader.skip(tag & 7);
    }
    if (reader.at !== end) throw reader.fault("a field runs past its record");
  }
}

/** The keys of all records. Throws INVALID_RECORD for a record without one. */
export const keysOf = (recordSet: Uint8Array): RecordKeys => {
  const cursor = new RecordWalk(recordSet, 0);
  const keys: string[] = [];
  const isNull: boolean[] = [];
  while (cursor.next()) {
    const { key } = cursor;
    if (key === undefined) {
      throw new MillraceError(
        ErrorCode.INVALID_RECORD,
        `record ${keys.length} of the batch has no key, and cleanup.policy of its topic is ` +
          "compact: give every record a key",
      );
    }
    keys.push(key);
    isNull.push(!cursor.hasValue);
  }
  return { keys, isNull };
};

/** Bytes that a record takes which says its offset delta, with its tag and length. */
export const recordBytesWithDelta = (bodyBytes: number, offsetDelta: number): number => {
  const bytes = bodyBytes + 1 + varintBytes(offsetDelta);
  return 1 + varintBytes(bytes) + bytes;
};

/**
 * Writes the record `body`, which does not say its offset delta, with it at `at`; returns the
 * position behind it.
 */
export const writeRecordWithDelta = (
  target: Uint8Array,
  at: number,
  body: Uint8Array,
  offsetDelta: number,
): number => {
  target[at] = 0x0a;
  let position = writeVarint(target, at + 1, body.length + 1 + varintBytes(offsetDelta));
  target.set(body, position);
  position += body.length;
  target[position] = 0x20;
  return writeVarint(target, position + 1, offsetDelta);
};
