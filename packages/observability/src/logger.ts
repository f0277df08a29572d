/** Logging with pino, which only this file imports besides `output.ts`. */
import { createRequire } from "node:module";
import { Writable } from "node:stream";
import type { Logger } from "@millrace/env";
import { MillraceError } from "@millrace/errors";
import { type Level, type Logger as Pino, pino } from "pino";
import type { LogOutput } from "./output.ts";

export interface LoggerOptions {
  /** `json` for machines, `pretty` for people. */
  readonly format: "json" | "pretty";
  readonly level: "debug" | "info" | "warn" | "error";
  /** Name of the process, in every line. */
  readonly service: string;
  readonly output: LogOutput;
}

/** Keys whose values are never written, at any depth up to two. */
const secretKeys = ["password", "secret", "token", "authorization", "key_pem"];

/** An error as fields: code and message of our errors; the stack of others, which are bugs. */
const errorFields = (thrown: unknown): unknown => {
  if (!(thrown instanceof Error)) return thrown;
  if (thrown instanceof MillraceError) return { code: thrown.codeName, message: thrown.message };
  return { code: "INTERNAL", message: thrown.message, stack: thrown.stack };
};

/** `duration_ms` for `durationMs`. */
const snakeCase = (name: string): string =>
  name.replaceAll(/[A-Z]+/g, (capitals) => `_${capitals.toLowerCase()}`);

/** JSON has no 64-bit integers, and nobody reads the picoseconds of a measured time. */
const safe = (value: unknown): unknown => {
  if (typeof value === "bigint") return value.toString();
  if (typeof value !== "number" || Number.isInteger(value)) return value;
  return Math.round(value * 1000) / 1000;
};

const prepared = (fields: Readonly<Record<string, unknown>>): Record<string, unknown> => {
  const plain: Record<string, unknown> = {};
  for (const [name, value] of Object.entries(fields)) plain[snakeCase(name)] = safe(value);
  return plain;
};

class PinoLogger implements Logger {
  readonly #pino: Pino;

  constructor(logger: Pino) {
    this.#pino = logger;
  }

  debug(fields: Readonly<Record<string, unknown>>, message: string): void {
    this.#write("debug", fields, message);
  }

  info(fields: Readonly<Record<string, unknown>>, message: string): void {
    this.#write("info", fields, message);
  }

  warn(fields: Readonly<Record<string, unknown>>, message: string): void {
    this.#write("warn", fields, message);
  }

  error(fields: Readonly<Record<string, unknown>>, message: string): void {
    this.#write("error", fields, message);
  }

  child(fields: Readonly<Record<string, unknown>>): Logger {
    return new PinoLogger(this.#pino.child(prepared(fields)));
  }

  #write(level: Level, fields: Readonly<Record<string, unknown>>, message: string): void {
    if (this.#pino.isLevelEnabled(level)) this.#pino[level](prepared(fields), message);
  }
}

/** Loaded where people read the log: its 30 modules would take their part of every start. */
const prettyStream = (output: LogOutput): Writable => {
  const pretty: typeof import("pino-pretty") = createRequire(import.meta.url)("pino-pretty");
  return pretty({ destination: writableOf(output), ignore: "service" });
};

const writableOf = (output: LogOutput): Writable =>
  new Writable({
    decodeStrings: false,
    write: (chunk: unknown, _encoding, done) => {
      output.write(String(chunk));
      done();
    },
  });

/** A logger of one JSON object (or one readable line) per message. */
export const createLogger = (options: LoggerOptions): Logger => {
  const { format, level, service } = options;
  const settings = {
    level,
    base: { service },
    timestamp: () => `,"time":"${new Date().toISOString()}"`,
    formatters: { level: (label: string) => ({ level: label }) },
    serializers: { err: errorFields },
    redact: {
      paths: secretKeys.flatMap((key) => [key, `*.${key}`, `*.*.${key}`]),
      censor: "[redacted]",
    },
  };
  const { output } = options;
  const stream = format === "json" ? output : prettyStream(output);
  return new PinoLogger(pino(settings, stream));
};
