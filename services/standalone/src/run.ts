/** The command `serve`: starts a server from arguments and runs it until a signal. */
import { readFileSync } from "node:fs";
import { parseArgs } from "node:util";
import {
  allowedOf,
  environmentName,
  type RawSources,
  resolveConfig,
  type Setting,
} from "@millrace/config";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { createLogger, type LogOutput, standardOutput } from "@millrace/observability";
import { parse as parseYaml } from "yaml";
import { standaloneSchema } from "./config.ts";
import { type StandaloneServer, startStandalone } from "./server.ts";

/** Text of `--help`, from the schema. */
export const helpText = (): string => {
  const lines = [
    "Usage: millrace serve [flags]",
    "",
    "Starts the standalone server: broker, controller and metadata store in one process.",
    "",
    "Flags (also as MILLRACE_… variables, and as keys of --config FILE.yaml):",
  ];
  for (const [key, setting] of Object.entries(standaloneSchema) as [string, Setting][]) {
    lines.push(`  --${key} (default ${JSON.stringify(setting.default)}; ${allowedOf(setting)})`);
    lines.push(`      ${setting.description}`);
  }
  lines.push(
    "",
    "Example, for clients on other machines:",
    "  millrace serve --data-dir /srv/millrace --listen 0.0.0.0:7400 --advertise HOST:7400",
  );
  return `${lines.join("\n")}\n`;
};

const usage = (message: string): MillraceError =>
  new MillraceError(ErrorCode.INVALID_CONFIG, message);

const readFile = (path: string): Pick<RawSources, "file" | "fileName"> => {
  try {
    return { file: parseYaml(readFileSync(path, "utf8")), fileName: path };
  } catch (thrown) {
    const text = thrown instanceof Error ? (thrown.message.split("\n")[0] ?? "") : String(thrown);
    throw usage(`${path}: cannot be read: ${text}: check the file`);
  }
};

/** Resolves the settings of a command line. Throws INVALID_CONFIG. */
export const configFrom = (
  argv: readonly string[],
  environment: Readonly<Record<string, string | undefined>>,
) => {
  const options = Object.fromEntries(
    [...Object.keys(standaloneSchema), "config"].map((key) => [key, { type: "string" as const }]),
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
  return resolveConfig(standaloneSchema, { flags: rest, environment, ...file });
};

const announce = (server: StandaloneServer, startedMs: number): void => {
  const { client, internal, health, http } = server.endpoints;
  const bootstrap = client.endsWith(":7400") ? "" : ` --bootstrap ${client}`;
  const seconds = ((performance.now() - startedMs) / 1000).toFixed(1);
  process.stderr.write(
    `Millrace is ready after ${seconds} s: clients ${client}, internal ${internal}, health ${health}, http ${http}\n` +
      "Try next:\n" +
      `  npx millrace topic create logs --partitions 4${bootstrap}\n` +
      `  echo hello | npx millrace produce logs${bootstrap}\n` +
      `  npx millrace consume logs --until-end${bootstrap}\n`,
  );
};

/** Longest wait at the end for the log to be read, ms. */
const flushTimeoutMs = 500;

/**
 * Runs the server until SIGTERM or SIGINT; a second signal ends it at once. Resolves with the exit
 * code: 0 after a clean stop, 1 when it could not start, 2 for wrong settings. A failure prints one
 * `error: CODE: …` line.
 */
export const runServer = async (
  argv: readonly string[],
  environment: Readonly<Record<string, string | undefined>> = process.env,
): Promise<number> => {
  const startedMs = performance.now() - process.uptime() * 1000;
  const output = standardOutput();
  if (argv.includes("--help") || argv.includes("-h")) {
    output.write(helpText());
    await output.flush(flushTimeoutMs);
    return 0;
  }
  try {
    return await serve(configFrom(argv, environment), output, startedMs);
  } catch (thrown) {
    const error = MillraceError.from(thrown);
    process.stderr.write(`error: ${error.codeName}: ${error.message}\n`);
    return error.code === ErrorCode.INVALID_CONFIG ? 2 : 1;
  } finally {
    await output.flush(flushTimeoutMs);
  }
};

const serve = async (
  resolved: ReturnType<typeof configFrom>,
  output: LogOutput,
  startedMs: number,
): Promise<number> => {
  const { "log-format": wanted, "log-level": level } = resolved.values;
  const pretty = wanted === "pretty" || (wanted === "auto" && process.stdout.isTTY === true);
  const format = pretty ? "pretty" : "json";
  const logger = createLogger({ format, level, service: "standalone", output });
  const stopped = untilSignal();
  const server = await startStandalone(resolved, logger, () => output.droppedLines);
  announce(server, startedMs);
  const signal = await stopped;
  logger.info({ signal }, "stopping");
  process.once("SIGTERM", () => process.exit(130)).once("SIGINT", () => process.exit(130));
  await server.stop();
  return 0;
};

const untilSignal = (): Promise<string> =>
  new Promise((resolve) => {
    for (const signal of ["SIGTERM", "SIGINT"] as const) {
      process.once(signal, () => {
        process.removeAllListeners("SIGTERM").removeAllListeners("SIGINT");
        resolve(signal);
      });
    }
  });
