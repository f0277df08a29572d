/** Parsing of BatchBody: everything but the records themselves. */

import type { CompressionName } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { WireReader } from "./reader.ts";

/** Compression of a batch; `none` needs no work. */
export type BatchCompression = "none" | CompressionName;

/** A parsed BatchBody. Absent numbers have the value that the proto gives to absence. */
export interface BodyInfo {
  readonly compression: BatchCompression;
  readonly recordCount: number;
  readonly baseTimestampMs: number;
  readonly maxTimestampMs: number;
  /** -1 when the producer is not idempotent. */
  readonly producerId: number;
  readonly producerEpoch: number;
  readonly baseSequence: number;
  readonly transactional: boolean;
  /** 0 for data, else the ControlKind number. */
  readonly control: number;
  /** Offset of the last record relative to the base offset. */
  readonly lastOffsetDelta: number;
  /** View of the (maybe compressed) RecordSet. */
  readonly records: Uint8Array;
}

const compressions: readonly (BatchCompression | undefined)[] = [
  "none",
  "none",
  "gzip",
  "zstd",
  "lz4",
];

/**
 * Parses a body. Unknown fields are skipped; of a repeated field the last wins, as protobuf says.
 * Throws CORRUPT_MESSAGE when it is not a BatchBody, INVALID_RECORD when a number is out of range,
 * UNSUPPORTED_COMPRESSION. Looks at no record.
 */
export const parseBody = (body: Uint8Array): BodyInfo => {
  const reader = new WireReader(body, "BatchBody", ErrorCode.CORRUPT_MESSAGE);
  const numbers: (number | undefined)[] = [];
  let records: Uint8Array = body.subarray(0, 0);
  while (!reader.done) {
    const tag = reader.tag();
    const field = Math.floor(tag / 8);
    const wireType = tag & 7;
    if (field === 15 && wireType === 2) records = reader.view();
    else if (field <= 10 && wireType === 0) numbers[field] = reader.varint();
    else reader.skip(wireType);
  }
  return toInfo(numbers, records);
};

const toInfo = (numbers: readonly (number | undefined)[], records: Uint8Array): BodyInfo => {
  const recordCount = inRange(numbers[2] ?? 0, 0xffff_ffff, "record_count");
  const compressionNumber = numbers[1] ?? 0;
  const compression = compressions[compressionNumber];
  if (compression === undefined) {
    // NaN: the number was negative, or 2^53 or more.
    const shown = Number.isNaN(compressionNumber) ? "of this number" : compressionNumber;
    throw new MillraceError(
      ErrorCode.UNSUPPORTED_COMPRESSION,
      `compression ${shown} is unknown: use none, gzip, zstd or lz4`,
    );
  }
  const idempotent = numbers[5] !== undefined;
  if ((numbers[6] !== undefined) !== idempotent || (numbers[7] !== undefined) !== idempotent) {
    throw invalid(
      "producer_id, producer_epoch and base_sequence must be set together or not at all",
    );
  }
  return {
    compression,
    recordCount,
    baseTimestampMs: inRange(numbers[3] ?? 0, Number.MAX_SAFE_INTEGER, "base_timestamp_ms"),
    maxTimestampMs: inRange(numbers[4] ?? 0, Number.MAX_SAFE_INTEGER, "max_timestamp_ms"),
    producerId: idempotent ? inRange(numbers[5] ?? 0, Number.MAX_SAFE_INTEGER, "producer_id") : -1,
    producerEpoch: idempotent ? inRange(numbers[6] ?? 0, 32_767, "producer_epoch") : -1,
    baseSequence: idempotent ? inRange(numbers[7] ?? 0, 0x7fff_ffff, "base_sequence") : -1,
    transactional: (numbers[8] ?? 0) !== 0,
    control: inRange(numbers[9] ?? 0, 0x7fff_ffff, "control"),
    lastOffsetDelta: inRange(
      numbers[10] ?? Math.max(0, recordCount - 1),
      0x7fff_ffff,
      "last_offset_delta",
    ),
    records,
  };
};

const invalid = (what: string): MillraceError =>
  new MillraceError(ErrorCode.INVALID_RECORD, `${what}: see millrace.storage.v1.BatchBody`);

const inRange = (value: number, max: number, field: string): number => {
  if (!(value >= 0 && value <= max)) throw invalid(`${field} is out of range (0 to ${max})`);
  return value;
};
