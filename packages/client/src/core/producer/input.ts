/** Converts the application's records to the input of a batch. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import { HEADER_NAME_BYTES_MAX, type RecordInput, TIMESTAMP_MS_MAX } from "@millrace/record";
import { shown, unknownKey } from "../checks.ts";
import type { HeaderInput, HeadersInput, ProducerRecord } from "../types.ts";

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

const invalid = (message: string): MillraceError =>
  new MillraceError(ErrorCode.INVALID_RECORD, message);

/** Also of another realm, such as that of a test runner. Cheaper than `instanceof`. */
const isBytes = (value: unknown): value is Uint8Array =>
  ArrayBuffer.isView(value) && (value as Uint8Array).length === value.byteLength;

const toBytes = (what: string, value: unknown): Uint8Array | undefined => {
  if (typeof value === "string") return Buffer.from(value);
  if (isBytes(value)) return value;
  if (value === undefined || value === null) return undefined;
  throw invalid(
    `the ${what} of a record is ${shown(value)}: give a string, a Uint8Array or null, or make the ` +
      `producer with a ${what === "key" ? "keySerializer" : "valueSerializer"}`,
  );
};

const toHeader = (name: unknown, value: unknown): InputHeaders[number] => {
  if (typeof name !== "string") {
    throw invalid(`a header's name is ${shown(name)}: give { name, value } with a string as name`);
  }
  const nameBytes = Buffer.byteLength(name);
  if (nameBytes < 1 || nameBytes > HEADER_NAME_BYTES_MAX) {
    throw invalid(`a header's name has ${nameBytes} bytes: use 1 to ${HEADER_NAME_BYTES_MAX}`);
  }
  if (typeof value === "string") return { name, value: Buffer.from(value) };
  if (isBytes(value)) return { name, value };
  if (value === undefined || value === null) return { name, value: undefined };
  throw invalid(
    `header ${shown(name)} is ${shown(value)}: give a string, a Uint8Array or null, or a list of ` +
      "them in an object of headers",
  );
};

const isList = (headers: unknown): headers is readonly unknown[] => Array.isArray(headers);

const toHeaders = (headers: HeadersInput | readonly HeaderInput[]): InputHeaders => {
  if (isList(headers)) {
    return headers.map((header: Partial<HeaderInput> | null) =>
      toHeader(header?.name, header?.value),
    );
  }
  if (typeof headers !== "object" || headers === null) {
    throw invalid(`headers is ${shown(headers)}: give an object, or a list of { name, value }`);
  }
  const list: InputHeaders = [];
  for (const [name, value] of Object.entries(headers)) {
    if (isList(value)) for (const one of value) list.push(toHeader(name, one));
    else list.push(toHeader(name, value));
  }
  return list;
};

const recordKeys = [
  ...["topic", "partition", "key", "value", "headers", "timestampMs"],
  ...["expectedEndOffset", "expectedLastOffsetForKey"],
];

/**
 * Throws INVALID_RECORD for what is no record, in JavaScript, and for a mistyped key: it would be
 * lost, and with a mistyped `value` a tombstone be sent.
 */
export const checkRecord = (record: unknown): void => {
  if (typeof record !== "object" || record === null) {
    throw invalid(`a record is an object such as { topic, value }, not ${shown(record)}`);
  }
  for (const key in record) {
    if (!recordKeys.includes(key)) throw invalid(unknownKey("a record", key, recordKeys));
  }
  checkTopic(Reflect.get(record, "topic"));
};

export const checkTopic = (topic: unknown): void => {
  if (typeof topic !== "string")
    throw invalid(`topic of a record is ${shown(topic)}: give a string`);
};

/** Fills `into`; returns an upper bound of the bytes the record takes. Throws INVALID_RECORD. */
export const fillInput = (into: MutableInput, record: ProducerRecord, nowMs: number): number => {
  const timestampMs = record.timestampMs ?? nowMs;
  if (!Number.isInteger(timestampMs) || timestampMs < 0 || timestampMs > TIMESTAMP_MS_MAX) {
    throw invalid(
      `timestamp ${timestampMs} is not allowed: use whole milliseconds since the Unix epoch`,
    );
  }
  const key = toBytes("key", record.key);
  const value = toBytes("value", record.value);
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
