/** Shared by the commands that talk to a cluster. */
import type { Client } from "@millrace/client";
import { Command, Option } from "commander";
import { type Io, interruptible, printResult, UsageError, wholeNumber } from "./io.ts";

export interface ClusterFlags {
  readonly bootstrap: string;
  readonly timeout: string;
}

/** A command with the flags that every cluster command has. */
export const clusterCommand = (
  name: string,
  description: string,
  example: string,
  io: Io,
): Command =>
  new Command(name)
    .description(description)
    .addOption(
      // An empty variable counts as unset.
      new Option(
        "--bootstrap <HOST:PORT,…>",
        "servers to ask first; or MILLRACE_BOOTSTRAP in the environment",
      ).default(io.env["MILLRACE_BOOTSTRAP"] || "localhost:7400"),
    )
    .addOption(new Option("--timeout <SECONDS>", "longest wait for the cluster").default("30"))
    .addHelpText("after", `\nExample:\n  ${example}`);

/** A command that only has others. */
export const commandGroup = (name: string, description: string, example: string): Command =>
  new Command(name).description(description).addHelpText("after", `\nExample:\n  ${example}`);

/** Adds `--output table|json`. */
export const withOutput = (command: Command): Command =>
  command.addOption(
    new Option("--output <FORMAT>", "how to print").choices(["table", "json"]).default("table"),
  );

const endpointsOf = (text: string, isEndpoint: (text: string) => boolean): string[] => {
  const endpoints = text.split(",").map((endpoint) => endpoint.trim());
  const named = endpoints.filter((endpoint) => endpoint !== "");
  for (const endpoint of named) {
    if (isEndpoint(endpoint)) continue;
    throw new UsageError(`--bootstrap ${JSON.stringify(endpoint)}: use HOST:PORT`);
  }
  if (named.length > 0) return named;
  throw new UsageError(`--bootstrap ${JSON.stringify(text)} names no server: use HOST:PORT`);
};

const connectClient = async (flags: ClusterFlags): Promise<Client> => {
  // Loaded when needed: help and completion start faster without it.
  const { connect, isEndpoint } = await import("@millrace/client");
  return connect({
    bootstrap: endpointsOf(flags.bootstrap, isEndpoint),
    clientId: "millrace-cli",
    adminTimeoutMs: wholeNumber("--timeout", flags.timeout, 1, 86_400) * 1000,
  });
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
  const client = await interruptible(io.signal, connectClient(flags));
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

/** Prints one JSON document, or a table. */
export const print = async (
  io: Io,
  output: string,
  json: unknown,
  head: readonly string[],
  rows: readonly (readonly (string | number | bigint)[])[],
): Promise<void> => {
  if (output === "json") {
    await printResult(io, `${toJson(json)}\n`);
    return;
  }
  await printResult(io, await tableText(head, rows));
};

/** A table with aligned columns and no frame, for eyes and for `cut`. */
export const tableText = async (
  head: readonly string[],
  rows: readonly (readonly (string | number | bigint)[])[],
): Promise<string> => {
  const { default: Table } = await import("cli-table3");
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
  const table = new Table({
    head: [...head],
    chars: bare,
    style: { head: [], border: [], "padding-left": 0, "padding-right": 0 },
  });
  for (const row of rows) table.push(row.map(String));
  return `${table.toString().replaceAll(/ +$/gm, "")}\n`;
};

export const hexOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString("hex");
