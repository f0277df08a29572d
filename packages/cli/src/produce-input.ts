/** Input of `millrace produce`: files, their records, and what flags add. */
import { createReadStream } from "node:fs";
import { stat } from "node:fs/promises";
import type { HeaderInput, ProducerRecord } from "@millrace/client";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { type Io, UsageError, wholeNumber } from "./io.ts";
import { recordTooLarge, splitRecords, unescapeText } from "./lines.ts";
import { recordOfJson } from "./produce-json.ts";

/** Largest record that is read, bytes: the largest `max.message.bytes` that a topic can have. */
const recordBytesMax = 16 * 1024 * 1024;

type Flags = Readonly<Record<string, unknown>>;

/** How flags turn input into records. */
export interface Shape {
  readonly topic: string;
  readonly partition: number | undefined;
  readonly key: string | undefined;
  readonly keySeparator: Buffer | undefined;
  readonly headers: readonly HeaderInput[];
  readonly nullValue: Buffer | undefined;
  /** True: each piece is an object as `consume --format json` prints it. */
  readonly isJson: boolean;
}

/** Turns one piece of input into a record. Throws INVALID_REQUEST for one that is no record. */
export const recordOf = (piece: Buffer, shape: Shape): ProducerRecord => {
  if (shape.isJson) {
    const { topic, partition, headers, key } = shape;
    const read = recordOfJson(piece);
    return {
      ...read,
      topic,
      partition,
      key: key ?? read.key,
      headers: [...read.headers, ...headers],
    };
  }
  const { topic, partition, headers } = shape;
  let key: Buffer | string | undefined = shape.key;
  let value: Buffer | null = piece;
  if (shape.keySeparator !== undefined) {
    const at = piece.indexOf(shape.keySeparator);
    if (at >= 0) {
      key = piece.subarray(0, at);
      value = piece.subarray(at + shape.keySeparator.length);
    }
  }
  if (shape.nullValue?.equals(value) === true) value = null;
  return { topic, partition, key, value, headers };
};

const headersOf = (pairs: readonly string[]): HeaderInput[] =>
  pairs.map((pair) => {
    const at = pair.indexOf("=");
    if (at < 1) throw new UsageError(`--header ${pair}: use NAME=VALUE`);
    return { name: pair.slice(0, at), value: pair.slice(at + 1) };
  });

/** Bytes of a flag that separates things. Throws UsageError when it is empty. */
const separatorOf = (flag: string, text: unknown): Buffer => {
  const bytes = unescapeText(String(text));
  if (bytes.length === 0) throw new UsageError(`${flag} is empty: give at least one character`);
  return bytes;
};

/** Reads the flags. Throws UsageError. */
export const shapeOf = (topic: string, flags: Flags): Shape => {
  const { keySeparator, key, header, partition, nullValue } = flags;
  const isJson = flags["format"] === "json";
  for (const [flag, value] of Object.entries({ keySeparator, nullValue })) {
    if (!isJson || value === undefined) continue;
    const name = flag === "nullValue" ? "--null-value" : "--key-separator";
    throw new UsageError(`${name} is for lines: with --format json the object has it`);
  }
  return {
    isJson,
    topic,
    partition:
      partition === undefined
        ? undefined
        : wholeNumber("--partition", String(partition), 0, 0xffff_ffff),
    key: key === undefined ? undefined : String(key),
    keySeparator:
      keySeparator === undefined ? undefined : separatorOf("--key-separator", keySeparator),
    headers: headersOf((header as string[] | undefined) ?? []),
    nullValue: nullValue === undefined ? undefined : Buffer.from(String(nullValue)),
  };
};

/** How input is cut into records. */
export interface Cutting {
  readonly delimiter: Buffer;
  /** True: each input is one record. */
  readonly wholeFile: boolean;
}

/** Reads the flags. Throws UsageError. */
export const cuttingOf = (flags: Flags): Cutting => ({
  delimiter: separatorOf("--delimiter", flags["delimiter"]),
  wholeFile: flags["wholeFile"] === true,
});

/** Refuses files that cannot be read before anything is sent. */
export const checkFiles = async (files: readonly string[]): Promise<void> => {
  for (const file of files) {
    if (file === "-") continue;
    const found = await stat(file).catch((thrown: NodeJS.ErrnoException) => thrown);
    if (found instanceof Error) {
      const isThere = found.code !== "ENOENT" && found.code !== "ENOTDIR";
      const why = isThere ? found.message : "there is no such file";
      throw new UsageError(`${file}: ${why}: check the name`);
    }
    if (found.isDirectory()) throw new UsageError(`${file} is a directory: name files`);
  }
};

/** Bytes of all inputs together; undefined where one of them does not say. */
export const bytesOfInputs = async (files: readonly string[]): Promise<number | undefined> => {
  let bytes = 0;
  for (const file of files.length === 0 ? ["-"] : files) {
    const found = file === "-" ? undefined : await stat(file);
    if (found?.isFile() !== true) return undefined;
    bytes += found.size;
  }
  return bytes;
};

/** Reads an input in chunks. Errors name the input. */
async function* chunksOf(file: string, io: Io): AsyncGenerator<Uint8Array, void, undefined> {
  const stdin = file === "-";
  try {
    for await (const chunk of stdin ? io.stdin : createReadStream(file)) yield chunk;
  } catch (thrown) {
    const reason = thrown instanceof Error ? thrown.message : String(thrown);
    throw new MillraceError(
      ErrorCode.INVALID_REQUEST,
      `${stdin ? "stdin" : file} cannot be read (${reason}): check that it is a readable file`,
      { cause: thrown },
    );
  }
}

const wholeInput = async (file: string, io: Io): Promise<Buffer> => {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  for await (const chunk of chunksOf(file, io)) {
    bytes += chunk.length;
    if (bytes > recordBytesMax) throw recordTooLarge(file, recordBytesMax);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
};

/** The records of all inputs in order, as bytes. Without files, reads stdin. */
export async function* piecesOf(
  files: readonly string[],
  { delimiter, wholeFile }: Cutting,
  io: Io,
): AsyncGenerator<Buffer, void, undefined> {
  for (const file of files.length === 0 ? ["-"] : files) {
    if (wholeFile) yield await wholeInput(file, io);
    else yield* splitRecords(chunksOf(file, io), delimiter, recordBytesMax);
  }
}
