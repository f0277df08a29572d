/** Shared by the commands that talk to a cluster. */
import type { Client } from "@millrace/client";
import { MillraceError } from "@millrace/errors";
import { Command, Option } from "commander";
import { adviceOf } from "./advice.ts";
import { type Io, interruptible, printResult, styled, UsageError, wholeNumber } from "./io.ts";
import { bootstrapOf } from "./profiles.ts";

export interface ClusterFlags {
  readonly bootstrap?: string;
  readonly profile?: string;
  readonly timeout: string;
}

/** A command with the flags that every cluster command has. */
export const clusterCommand = (name: string, description: string, example: string): Command =>
  new Command(name)
    .description(description)
    .option(
      "-b, --bootstrap <HOST:PORT,…>",
      "servers to ask first; or MILLRACE_BOOTSTRAP, or a profile; else localhost:7400",
    )
    .option("--profile <NAME>", "the profile with the servers; or MILLRACE_PROFILE")
    .addOption(new Option("--timeout <SECONDS>", "longest wait for the cluster").default("30"))
    .addHelpText("after", `\nExample:\n  ${example}`);

/** A command that only has others. */
export const commandGroup = (name: string, description: string, example: string): Command =>
  new Command(name).description(description).addHelpText("after", `\nExample:\n  ${example}`);

/** Adds `--output table|json`. */
export const withOutput = (command: Command): Command =>
  command.addOption(
    new Option("-O, --output <FORMAT>", "how to print").choices(["table", "json"]).default("table"),
  );

/** The addresses of a flag or a setting. Throws UsageError, which names where they come from. */
export const checkedEndpoints = async (source: string, text: string): Promise<string[]> => {
  // Loaded when needed: help and completion start faster without it.
  const { isEndpoint } = await import("@millrace/client");
  const endpoints = text.split(",").map((endpoint) => endpoint.trim());
  const named = endpoints.filter((endpoint) => endpoint !== "");
  for (const endpoint of named) {
    if (isEndpoint(endpoint)) continue;
    const [, host = ""] = /^(?:[a-z][a-z0-9+.-]*:\/\/)?([^/]*)/i.exec(endpoint) ?? [];
    const meant = [host, `${host}:7400`].find(isEndpoint) ?? "localhost:7400";
    const given = `${source} ${JSON.stringify(endpoint)}`;
    throw new UsageError(`${given}: use HOST:PORT, such as ${meant}`);
  }
  if (named.length > 0) return named;
  throw new UsageError(`${source} ${JSON.stringify(text)} names no server: use HOST:PORT`);
};

/** A client of the cluster that the flags, the environment or a profile name. */
export const connectClient = async (io: Io, flags: ClusterFlags): Promise<Client> => {
  const { bootstrap, source } = await bootstrapOf(io, flags);
  const endpoints = await checkedEndpoints(source, bootstrap);
  const adminTimeoutMs = wholeNumber("--timeout", flags.timeout, 1, 86_400) * 1000;
  const { connect } = await import("@millrace/client");
  try {
    return await connect({ bootstrap: endpoints, clientId: "millrace-cli", adminTimeoutMs });
  } catch (thrown) {
    if (!(thrown instanceof MillraceError)) throw thrown;
    throw new MillraceError(thrown.code, adviceOf(thrown.message, source), { cause: thrown });
  }
};

/**
 * Runs `use` with a connected client, and closes the client afterwards. An interrupt ends the
 * command at once; with "finishes", `use` handles interrupts itself.
 */
export const withClient = async <T>(
  io: Io,
  flags: ClusterFlags,
  use: (client: Client) => Promise<T>,
  onInterrupt: "ends" | "finishes" = "ends",
): Promise<T> => {
  const client = await interruptible(io.signal, connectClient(io, flags));
  try {
    return await (onInterrupt === "finishes" ? use(client) : interruptible(io.signal, use(client)));
  } finally {
    await client.close();
  }
};

/** JSON for scripts: 64-bit integers as numbers, bytes as hex. */
export const toJson = (value: unknown): string =>
  JSON.stringify(
    value,
    (_key, item: unknown) => {
      if (typeof item === "bigint") return Number(item);
      if (item instanceof Uint8Array) return Buffer.from(item).toString("hex");
      if (typeof item === "object" && item !== null && "type" in item && item.type === "Buffer") {
        return Buffer.from((item as unknown as { data: number[] }).data).toString("hex");
      }
      return item;
    },
    2,
  );

/** Prints one JSON document, or a text. */
export const printDocument = async (
  io: Io,
  output: string,
  json: unknown,
  text: () => Promise<string>,
): Promise<void> => printResult(io, output === "json" ? `${toJson(json)}\n` : await text());

/** Prints one JSON document, or a table. */
export const print = async (
  io: Io,
  output: string,
  json: unknown,
  head: readonly string[],
  rows: Rows,
): Promise<void> => {
  await printDocument(io, output, json, () => tableText(io, head, rows));
};

type Rows = readonly (readonly (string | number | bigint)[])[];

/** No frame, and two spaces between columns: for eyes and for `cut`. */
const bare = {
  top: "",
  "top-mid": "",
  "top-left": "",
  "top-right": "",
  bottom: "",
  "bottom-mid": "",
  "bottom-left": "",
  "bottom-right": "",
  left: "",
  "left-mid": "",
  mid: "",
  "mid-mid": "",
  right: "",
  "right-mid": "",
  middle: "  ",
};

const linesOf = async (rows: Rows): Promise<string[]> => {
  const { default: Table } = await import("cli-table3");
  const style = { head: [], border: [], "padding-left": 0, "padding-right": 0 };
  const table = new Table({ chars: bare, style });
  for (const row of rows) table.push(row.map(String));
  return rows.length === 0 ? [] : table.toString().replaceAll(/ +$/gm, "").split("\n");
};

/**
 * A table with aligned columns. Where the terminal is narrower, each row is a block with a line for
 * each column.
 */
export const tableText = async (io: Io, head: readonly string[], rows: Rows): Promise<string> => {
  const titled = head.length > 0;
  const lines = await linesOf(titled ? [head, ...rows] : rows);
  const width = Math.max(0, ...lines.map((line) => line.length));
  if (!io.screen || !titled || width <= io.columns()) {
    if (titled) lines[0] = styled(io, "stdout", "bold", lines[0] ?? "");
    return `${lines.join("\n")}\n`;
  }
  const blocks = await Promise.all(
    rows.map((row) => linesOf(head.map((name, i) => [name, row[i] ?? ""]))),
  );
  return `${blocks.map((block) => block.join("\n")).join("\n\n")}\n`;
};

export const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
