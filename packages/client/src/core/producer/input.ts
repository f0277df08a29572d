/** Converts the application's records to the input of a batch. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import { HEADER_NAME_BYTES_MAX, type RecordInput, TIMESTAMP_MS_MAX } from "@millrace/record";
import type { HeaderInput, ProducerRecord } from "../types.ts";

/** A `RecordInput` that is filled anew for each record. */
export interface MutableInput extends RecordInput {
  key: Uint8Array | undefined;
  value: Uint8Array | undefined;
  timestampMs: number;
  headers: { readonly name: string; readonly value: Uint8Array | undefined }[];
}

type InputHeaders = MutableInput["headers"];

const noHeaders: InputHeaders = [];

/** Upper bound of the bytes of a record besides its key, value and headers. */
const recordOverheadBytes = 40;
const headerOverheadBytes = 24;

export const emptyInput = (): MutableInput => ({
  key: undefined,
  value: undefined,
  timestampMs: 0,
  headers: noHeaders,
});

const toBytes = (value: Uint8Array | string | null | undefined): Uint8Array | undefined => {
  if (typeof value === "string") return Buffer.from(value);
  return value ?? undefined;
};

const invalid = (message: string): MillraceError =>
  new MillraceError(ErrorCode.INVALID_RECORD, message);

const toHeaders = (headers: readonly HeaderInput[]): InputHeaders =>
  headers.map(({ name, value }) => {
    const nameBytes = Buffer.byteLength(name);
    if (nameBytes < 1 || nameBytes > HEADER_NAME_BYTES_MAX) {
      throw invalid(`a header's name has ${nameBytes} bytes: use 1 to ${HEADER_NAME_BYTES_MAX}`);
    }
    return { name, value: toBytes(value) };
  });

/** Fills `into`; returns an upper bound of the bytes the record takes. Throws INVALID_RECORD. */
export const fillInput = (into: MutableInput, record: ProducerRecord, nowMs: number): number => {
  const timestampMs = record.timestampMs ?? nowMs;
  if (!Number.isInteger(timestampMs) || timestampMs < 0 || timestampMs > TIMESTAMP_MS_MAX) {
    throw invalid(
      `timestamp ${timestampMs} is not allowed: use whole milliseconds since the Unix epoch`,
    );
  }
  const key = toBytes(record.key);
  const value = toBytes(record.value);
  const headers = record.headers === undefined ? noHeaders : toHeaders(record.headers);
  let bytes = recordOverheadBytes + (key?.length ?? 0) + (value?.length ?? 0);
  if (headers !== noHeaders) {
    for (const header of headers) {
      bytes += headerOverheadBytes + header.name.length * 3 + (header.value?.length ?? 0);
    }
  }
  into.key = key;
  into.value = value;
  into.timestampMs = timestampMs;
  into.headers = headers;
  return bytes;
};

const copy = (bytes: Uint8Array | undefined): Uint8Array | undefined =>
  bytes === undefined ? undefined : new Uint8Array(bytes);

/** A copy that the application cannot change. */
export const copyInput = (input: MutableInput): MutableInput => ({
  key: copy(input.key),
  value: copy(input.value),
  timestampMs: input.timestampMs,
  headers: input.headers.map(({ name, value }) => ({ name, value: copy(value) })),
});
