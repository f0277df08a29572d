/** Runs a server from arguments until a signal: the life of every process. */
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";
import { parseArgs } from "node:util";
import {
  allowedOf,
  defaultOf,
  environmentName,
  type RawSources,
  type Resolved,
  resolveConfig,
  type Schema,
  type Values,
} from "@millrace/config";
import type { Logger } from "@millrace/env";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import { createLogger, type LogOutput, standardOutput } from "@millrace/observability";
import type { BoundEndpoints } from "../listen.ts";
import type { Endpoints, RunningServer } from "./server.ts";
import type { loggingSettings } from "./settings.ts";

/** What every program can set. */
export type ProgramSchema = Schema & typeof loggingSettings;

/** What a start gets beside its settings. */
export interface Launch {
  readonly logger: Logger;
  /** Log lines that were dropped so far. */
  readonly droppedLogLines: () => number;
  /** Aborted with CANCELLED when a signal comes; a start that may take long heeds it. */
  readonly signal: AbortSignal;
}

/** A server as a command line. */
export interface Program<
  S extends ProgramSchema,
  E extends Partial<BoundEndpoints> = BoundEndpoints,
> {
  /** Of its log lines: `broker`. */
  readonly service: string;
  readonly schema: S;
  /** First line of `--help`. */
  readonly usage: string;
  /** What it is, for `--help`. */
  readonly about: string;
  /** For `--help`; lines. */
  readonly example: readonly string[];
  /** Rejects with a MillraceError before anything is served. */
  readonly start: (resolved: Resolved<S>, launch: Launch) => Promise<RunningServer<E>>;
  /** Its name in the line that says that it is ready. */
  readonly title: (values: Values<S>) => string;
  /** What to try once it is ready; lines. */
  readonly next?: (endpoints: Endpoints<E>) => readonly string[];
}

/** Text of `--help`, from the schema. */
export const helpText = (
  program: Pick<Program<ProgramSchema>, "usage" | "about" | "example"> & {
    readonly schema: Schema;
  },
): string => {
  const lines = [
    `Usage: ${program.usage}`,
    "",
    program.about,
    "",
    "Flags (also as MILLRACE_… variables, and as keys of --config FILE.yaml):",
  ];
  for (const [key, setting] of Object.entries(program.schema)) {
    const value = defaultOf(setting);
    const fallback = value === undefined ? "must be set" : `default ${value}`;
    lines.push(`  --${key} (${fallback}; ${allowedOf(setting)})`, `      ${setting.description}`);
  }
  lines.push("", ...program.example);
  return `${lines.join("\n")}\n`;
};

const usage = (message: string): MillraceError =>
  new MillraceError(ErrorCode.INVALID_CONFIG, message);

/** Loaded where there is a file: its 72 modules would take their part of every start. */
const parseYaml = (text: string): unknown => {
  const { parse }: typeof import("yaml") = createRequire(import.meta.url)("yaml");
  return parse(text);
};

const readFile = (path: string): Pick<RawSources, "file" | "fileName"> => {
  try {
    return { file: parseYaml(readFileSync(path, "utf8")), fileName: path };
  } catch (thrown) {
    const text = thrown instanceof Error ? (thrown.message.split("\n")[0] ?? "") : String(thrown);
    throw usage(`${path}: cannot be read: ${text}: check the file`);
  }
};

/** Resolves the settings of a command line. Throws INVALID_CONFIG. */
export const configFrom = <S extends Schema>(
  schema: S,
  argv: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
): Resolved<S> => {
  const options = Object.fromEntries(
    [...Object.keys(schema), "config"].map((key) => [key, { type: "string" as const }]),
  );
  let flags: Record<string, string | undefined>;
  try {
    const parsed = parseArgs({ args: [...argv], options, allowPositionals: false });
    flags = { ...parsed.values } as Record<string, string | undefined>;
  } catch (thrown) {
    const text = thrown instanceof Error ? (thrown.message.split(". ")[0] ?? "") : String(thrown);
    throw usage(`command line: ${text}: see --help`);
  }
  const { config: path = environment[environmentName("config")] ?? "", ...rest } = flags;
  const file = path === "" ? {} : readFile(path);
  return resolveConfig(schema, { flags: rest, environment, ...file });
};

const readyText = (
  title: string,
  { client, health, http, internal }: Endpoints<Partial<BoundEndpoints>>,
  startMs: number,
): string => {
  const places = Object.entries({ clients: client, internal, health, http })
    .filter(([, address]) => address !== undefined)
    .map(([name, address]) => `${name} ${address}`);
  return `${title} is ready after ${(startMs / 1000).toFixed(1)} s: ${places.join(", ")}\n`;
};

/** Longest wait at the end for the log to be read, ms. */
const flushTimeoutMs = 500;

/** Prints one `error: CODE: …` line. Returns the exit code: 2 for wrong settings, else 1. */
const tellFailure = (thrown: unknown): number => {
  const error = MillraceError.from(thrown);
  process.stderr.write(`error: ${error.codeName}: ${error.message}\n`);
  return error.code === ErrorCode.INVALID_CONFIG ? 2 : 1;
};

const isForPeople = ({ "log-format": wanted }: Values<typeof loggingSettings>): boolean =>
  wanted === "pretty" || (wanted === "auto" && process.stdout.isTTY === true);

const loggerOf = <S extends ProgramSchema>(
  service: string,
  { values }: Resolved<S>,
  output: LogOutput,
): Logger => {
  const { "log-level": level }: Values<typeof loggingSettings> = values;
  return createLogger({ format: isForPeople(values) ? "pretty" : "json", level, service, output });
};

/** Something that is done once, as a command line. */
export interface Task<S extends ProgramSchema>
  extends Pick<Program<S>, "service" | "schema" | "usage" | "about" | "example"> {
  /** Resolves with the line that says what was done. */
  readonly run: (values: Values<S>, logger: Logger) => Promise<string>;
}

/** Runs a task. Resolves with the exit code, as `runProgram` does. */
export const runTask = async <S extends ProgramSchema>(
  task: Task<S>,
  argv: readonly string[],
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Promise<number> => {
  const output = standardOutput();
  try {
    if (argv.includes("--help") || argv.includes("-h")) {
      output.write(helpText(task));
      return 0;
    }
    const resolved = configFrom(task.schema, argv, environment);
    const done = await task.run(resolved.values, loggerOf(task.service, resolved, output));
    output.write(`${done}\n`);
    return 0;
  } catch (thrown) {
    return tellFailure(thrown);
  } finally {
    await output.flush(flushTimeoutMs);
  }
};

/**
 * Runs the server until SIGTERM, SIGINT or SIGHUP, which a closed terminal sends; a second signal
 * ends it at once. Resolves with the exit code: 0 after a clean stop, 1 when it could not start, 2
 * for wrong settings. A failure prints one `error: CODE: …` line.
 */
export const runProgram = async <
  S extends ProgramSchema,
  E extends Partial<BoundEndpoints> = BoundEndpoints,
>(
  program: Program<S, E>,
  argv: readonly string[],
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Promise<number> => {
  const startedMs = performance.now() - process.uptime() * 1000;
  const output = standardOutput();
  if (argv.includes("--help") || argv.includes("-h")) {
    output.write(helpText(program));
    await output.flush(flushTimeoutMs);
    return 0;
  }
  try {
    return await serve(program, configFrom(program.schema, argv, environment), output, startedMs);
  } catch (thrown) {
    return tellFailure(thrown);
  } finally {
    await output.flush(flushTimeoutMs);
  }
};

/** Of an address that cannot be listened on, the flag that gave it is named. */
const withListenFlag = (thrown: unknown, values: Readonly<Record<string, unknown>>): unknown => {
  if (!hasCode(thrown, ErrorCode.UNAVAILABLE)) return thrown;
  for (const [key, value] of Object.entries(values)) {
    const what = `cannot listen on ${value}`;
    if (!key.endsWith("listen") || !thrown.message.startsWith(`${what}: `)) continue;
    const text = thrown.message.includes("EADDRINUSE")
      ? `${what}: something listens there already: stop it, or choose another --${key}`
      : thrown.message.replace(/choose another$/, `choose another --${key}`);
    return new MillraceError(thrown.code, text, { cause: thrown });
  }
  return thrown;
};

const serve = async <S extends ProgramSchema, E extends Partial<BoundEndpoints>>(
  program: Program<S, E>,
  resolved: Resolved<S>,
  output: LogOutput,
  startedMs: number,
): Promise<number> => {
  const logger = loggerOf(program.service, resolved, output);
  const stop = new AbortController();
  const stopped = untilSignal();
  void stopped.then((name) =>
    stop.abort(new MillraceError(ErrorCode.CANCELLED, `${name} ended the start`)),
  );
  const droppedLogLines = (): number => output.droppedLines;
  let server: RunningServer<E>;
  try {
    server = await program.start(resolved, { logger, droppedLogLines, signal: stop.signal });
  } catch (thrown) {
    if (!stop.signal.aborted || !hasCode(thrown, ErrorCode.CANCELLED)) {
      throw withListenFlag(thrown, resolved.values);
    }
    logger.info({ signal: await stopped }, "stopped before it served");
    return 0;
  }
  const startMs = Math.round(performance.now() - startedMs);
  const { client, internal, health, http } = server.endpoints;
  // People read the same on standard error.
  if (!isForPeople(resolved.values)) {
    logger.info({ client, internal, health, http, start_ms: startMs }, "ready");
  }
  process.stderr.write(readyText(program.title(resolved.values), server.endpoints, startMs));
  for (const line of program.next?.(server.endpoints) ?? []) process.stderr.write(`${line}\n`);
  const signal = await stopped;
  logger.info({ signal }, "stopping");
  for (const name of stopSignals) process.once(name, () => process.exit(130));
  await server.stop();
  return 0;
};

const stopSignals = ["SIGTERM", "SIGINT", "SIGHUP"] as const;

const untilSignal = (): Promise<string> =>
  new Promise((resolve) => {
    for (const signal of stopSignals) {
      process.once(signal, () => {
        for (const name of stopSignals) process.removeAllListeners(name);
        resolve(signal);
      });
    }
  });
