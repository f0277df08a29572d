/** How consumed records are printed. */
import type { ConsumedRecord } from "@millrace/client";
import { UsageError } from "./io.ts";
import { unescapeText } from "./lines.ts";

/** Formats one record. */
export type Formatter = (record: ConsumedRecord) => Buffer;

const newline = Buffer.from("\n");
const nothing = Buffer.alloc(0);
const decoder = new TextDecoder("utf-8", { fatal: true });

/** Largest distance from the epoch that a Date can hold, milliseconds. */
const dateMsMax = 8_640_000_000_000_000;

/** A timestamp in ISO 8601, or as a number of milliseconds where it is beyond any calendar date. */
export const timeText = (timestampMs: number): string =>
  Math.abs(timestampMs) <= dateMsMax
    ? new Date(timestampMs).toISOString()
    : `${timestampMs} ms since 1970`;

/** UTF-8 as text; other bytes as base64, with `_base64` after the name. */
const jsonBytes = (name: string, bytes: Uint8Array | null): Record<string, unknown> => {
  if (bytes === null) return { [name]: null };
  try {
    return { [name]: decoder.decode(bytes) };
  } catch {
    return { [`${name}_base64`]: Buffer.from(bytes).toString("base64") };
  }
};

const asJson: Formatter = (record) => {
  const headers = record.headers.map(({ name, value }) => ({ name, ...jsonBytes("value", value) }));
  const object = {
    topic: record.topic,
    partition: record.partition,
    offset: Number(record.offset),
    timestamp: timeText(record.timestampMs),
    ...jsonBytes("key", record.key),
    ...jsonBytes("value", record.value),
    headers,
  };
  return Buffer.from(`${JSON.stringify(object)}\n`);
};

const asValue: Formatter = ({ value }) => Buffer.concat([value ?? nothing, newline]);

const headersText = (record: ConsumedRecord): string =>
  record.headers
    .map(({ name, value }) => `${name}=${value === null ? "" : Buffer.from(value).toString()}`)
    .join(",");

const directives: Readonly<Record<string, (record: ConsumedRecord) => Uint8Array>> = {
  t: ({ topic }) => Buffer.from(topic),
  p: ({ partition }) => Buffer.from(String(partition)),
  o: ({ offset }) => Buffer.from(String(offset)),
  k: ({ key }) => key ?? nothing,
  v: ({ value }) => value ?? nothing,
  h: (record) => Buffer.from(headersText(record)),
  T: ({ timestampMs }) => Buffer.from(String(timestampMs)),
  "%": () => Buffer.from("%"),
};

/**
 * A formatter of a template with escapes and `%t %p %o %k %v %h %T` (topic, partition, offset, key,
 * value, headers, timestamp in ms) and `%%`.
 */
const asTemplate = (template: string): Formatter => {
  const parts: ((record: ConsumedRecord) => Uint8Array)[] = [];
  const pieces = template.split(/(%.)/s);
  for (const piece of pieces) {
    if (piece.length !== 2 || piece[0] !== "%") {
      const bytes = unescapeText(piece);
      if (bytes.length > 0) parts.push(() => bytes);
      continue;
    }
    const directive = directives[piece[1] ?? ""];
    if (directive === undefined) {
      throw new UsageError(`--format: ${piece} is unknown: use %t %p %o %k %v %h %T or %%`);
    }
    parts.push(directive);
  }
  return (record) => Buffer.concat(parts.map((part) => part(record)));
};

/** The formatter that `--format` names. Throws UsageError. */
export const formatterOf = (format: string): Formatter => {
  if (format === "value") return asValue;
  if (format === "json") return asJson;
  if (format.includes("%")) return asTemplate(format);
  throw new UsageError(`--format ${format}: use value, json, or a template with %v`);
};
