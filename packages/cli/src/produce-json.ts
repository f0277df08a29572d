/** Reads back what `consume --format json` prints. */
import type { HeaderInput, ProducerRecord } from "@millrace/client";
import { ErrorCode, MillraceError } from "@millrace/errors";

const bad = (what: string, use: string): MillraceError =>
  new MillraceError(ErrorCode.INVALID_REQUEST, `the input has ${what}: ${use}`);

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Text under `name`, or bytes under `name_base64`; undefined where neither is there. */
const bytesUnder = (
  object: Readonly<Record<string, unknown>>,
  name: string,
): Buffer | string | null | undefined => {
  const base64 = object[`${name}_base64`];
  if (typeof base64 === "string") {
    const bytes = Buffer.from(base64, "base64");
    // What is no base64 is skipped while decoding.
    if (bytes.toString("base64") === base64) return bytes;
  }
  if (base64 !== undefined) throw bad(`a ${name}_base64 that is no base64`, "check the input");
  const text = object[name];
  if (text === undefined || text === null || typeof text === "string") return text;
  throw bad(`a ${name} that is no text`, `write it as text, or as ${name}_base64`);
};

const headerOf = (header: unknown): HeaderInput => {
  if (!isObject(header) || typeof header["name"] !== "string") {
    throw bad("a header without a name", 'use [{"name":"n","value":"v"}]');
  }
  return { name: header["name"], value: bytesUnder(header, "value") };
};

const timestampOf = (value: unknown): number | undefined => {
  if (value === undefined || value === null) return undefined;
  if (typeof value === "number" && Number.isSafeInteger(value)) return value;
  const ms =
    typeof value === "string"
      ? Number(/^(-?\d+) ms since 1970$/.exec(value)?.[1] ?? Date.parse(value))
      : Number.NaN;
  if (Number.isFinite(ms)) return ms;
  throw bad("a timestamp that is no time", "use 2026-01-31T12:00:00Z, or milliseconds");
};

/** What of a record stands in the object. Its topic, partition and offset are not taken. */
export type JsonRecord = Pick<ProducerRecord, "key" | "value" | "timestampMs"> & {
  readonly headers: readonly HeaderInput[];
};

/** Throws INVALID_REQUEST. */
export const recordOfJson = (piece: Buffer): JsonRecord => {
  let object: unknown;
  try {
    object = JSON.parse(piece.toString());
  } catch (thrown) {
    const why = thrown instanceof Error ? thrown.message : String(thrown);
    throw bad(`a line that is no JSON (${why})`, "give one object a line");
  }
  if (!isObject(object)) throw bad("a line that is no JSON object", "give one object a line");
  const { headers = [] } = object;
  if (!Array.isArray(headers)) throw bad("headers that are no list", 'use [{"name":"n"}]');
  return {
    key: bytesUnder(object, "key"),
    value: bytesUnder(object, "value") ?? null,
    timestampMs: timestampOf(object["timestamp"]),
    headers: headers.map(headerOf),
  };
};
