/** How consumed records are printed. */
import type { ConsumedRecord } from "@millrace/client";
import { UsageError } from "./io.ts";
import { unescapeText } from "./lines.ts";

/** What a format may show of a record. */
export type Shown = Omit<ConsumedRecord, "text" | "json" | "keyText" | "header">;

/** Formats one record. */
export type Formatter = (record: Shown) => Buffer;

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

const headersText = (record: Shown): string =>
  record.headers
    .map(({ name, value }) => `${name}=${value === null ? "" : Buffer.from(value).toString()}`)
    .join(",");

type Part = (record: Shown) => Uint8Array;
type Bytes = (record: Shown) => Uint8Array | null;

const text =
  (of: (record: Shown) => string | number | bigint): Part =>
  (record) =>
    Buffer.from(String(of(record)));

/** How many bytes a key or a value has; -1 for one that is absent, as kcat prints it. */
const lengthOf = (bytes: Bytes): Part => text((record) => bytes(record)?.length ?? -1);

const encodings: Readonly<Record<string, (bytes: Uint8Array) => Uint8Array>> = {
  hex: (bytes) => Buffer.from(Buffer.from(bytes).toString("hex")),
  base64: (bytes) => Buffer.from(Buffer.from(bytes).toString("base64")),
  json: (bytes) => Buffer.from(JSON.stringify(Buffer.from(bytes).toString())),
};

interface Directive {
  /** What stands in the help. */
  readonly what: string;
  readonly part: Part;
  /** By the name that may follow in braces. */
  readonly forms?: Readonly<Record<string, Part>>;
}

const bytesDirective = (what: string, bytes: Bytes): Directive => ({
  what,
  part: (record) => bytes(record) ?? nothing,
  forms: Object.fromEntries(
    Object.entries(encodings).map(([name, encode]) => [
      name,
      (record: Shown) => encode(bytes(record) ?? nothing),
    ]),
  ),
});

const directives: Readonly<Record<string, Directive>> = {
  t: { what: "topic", part: text(({ topic }) => topic) },
  p: { what: "partition", part: text(({ partition }) => partition) },
  o: { what: "offset", part: text(({ offset }) => offset) },
  k: bytesDirective("key", ({ key }) => key),
  v: bytesDirective("value", ({ value }) => value),
  K: { what: "bytes of the key, -1 without one", part: lengthOf(({ key }) => key) },
  V: { what: "bytes of the value, -1 for a null value", part: lengthOf(({ value }) => value) },
  h: { what: "headers as NAME=VALUE,…", part: text(headersText) },
  H: { what: "number of headers", part: text(({ headers }) => headers.length) },
  T: {
    what: "timestamp, ms since 1970",
    part: text(({ timestampMs }) => timestampMs),
    forms: {
      iso: text(({ timestampMs }) => timeText(timestampMs)),
      date: text(({ timestampMs }) => timeText(timestampMs).replace(/T.*$/, "")),
      s: text(({ timestampMs }) => Math.floor(timestampMs / 1000)),
    },
  },
  e: { what: "leader epoch", part: text(({ leaderEpoch }) => leaderEpoch) },
  "%": { what: "a percent sign", part: () => Buffer.from("%") },
};

/** Lines of help about templates. */
export const formatHelp = (): string =>
  [
    "Templates of --format may have escapes (\\n \\t \\0 \\xHH) and:",
    ...Object.entries(directives).map(([letter, { forms, what }]) => {
      const also = forms === undefined ? "" : `; also %${letter}{${Object.keys(forms).join("|")}}`;
      return `  %${letter}  ${what}${also}`;
    }),
  ].join("\n");

const partOf = (piece: string): Part => {
  const [, letter = "", form] = /^%(.)(?:\{(.*)\})?$/s.exec(piece) ?? [];
  const directive = Object.hasOwn(directives, letter) ? directives[letter] : undefined;
  if (directive === undefined) {
    const known = Object.keys(directives).map((one) => `%${one}`);
    throw new UsageError(`--format: ${piece} is unknown: use ${known.join(" ")}`);
  }
  if (form === undefined) return directive.part;
  const { forms = {} } = directive;
  const part = Object.hasOwn(forms, form) ? forms[form] : undefined;
  if (part !== undefined) return part;
  const names = Object.keys(forms).map((name) => `%${letter}{${name}}`);
  const use = names.length === 0 ? `%${letter} has no other form` : `use ${names.join(" ")}`;
  throw new UsageError(`--format: ${piece} is unknown: ${use}`);
};

/** A formatter of a template; see `formatHelp`. */
const asTemplate = (template: string): Formatter => {
  const parts: Part[] = [];
  for (const piece of template.split(/(%.(?:\{[^}]*\})?)/s)) {
    if (piece.startsWith("%") && piece.length > 1) parts.push(partOf(piece));
    else {
      const bytes = unescapeText(piece);
      if (bytes.length > 0) parts.push(() => bytes);
    }
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
