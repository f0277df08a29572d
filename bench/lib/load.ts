/** Our loads, as processes of their own, and what they measured. */
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";
import { runClient } from "./processes.ts";
import type { Sample } from "./report.ts";

const path = (relative: string): string =>
  fileURLToPath(new URL(`../../${relative}`, import.meta.url));

/**
 * Node's flags for our loads, and for the clients of others in Node: a heap that is not collected
 * for every few MiB of buffers, as the README of the client says. Kafka's tools get -Xmx512m.
 */
export const loadFlags: readonly string[] = [
  "--initial-old-space-size=128",
  "--max-semi-space-size=4",
];

/** 10 GiB on a bad day. */
const loadTimeoutMs = 600_000;

/** What a load goes to. */
export interface Target {
  /** `host:port`, or several joined by commas. */
  readonly endpoint: string;
  /** Processes whose CPU, memory and writes count as the server's. */
  readonly pids: readonly number[];
}

export type Flags = Readonly<Record<string, string | number>>;

export const loadArgs = (operation: string, endpoint: string, flags: Flags): string[] => [
  ...[...loadFlags, path("bench/load/main.ts"), operation, "--endpoint", endpoint],
  ...Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]),
];

/** Runs a load of `bench/load` to its end. */
export const runLoad = async (
  operation: string,
  flags: Flags,
  { endpoint, pids }: Target,
  timeoutMs = loadTimeoutMs,
): Promise<Sample> => {
  const args = loadArgs(operation, endpoint, flags);
  const { output, cost } = await runClient(process.execPath, args, pids, timeoutMs);
  const result: Record<string, number> = JSON.parse(output.trim().split("\n").at(-1) ?? "{}");
  // The load's warm-up is a fifth on top.
  const records = (result["records"] ?? 1) * (operation.endsWith("produce") ? 1.2 : 1);
  const bytes = records * Number(flags["size"] ?? 1024);
  return {
    ...result,
    serverCpuSecondsPerMillion: (cost.serverCpu / records) * 1e6,
    serverCpuSecondsPerGiB: cost.serverCpu / (bytes / 2 ** 30),
    // All processes from start to end, warm-up included, as Kafka's are counted.
    cpuSecondsPerMillion: ((cost.clientCpu + cost.serverCpu) / records) * 1e6,
    serverRssMaxMiB: cost.serverRssMaxMiB,
    writtenPerByte: cost.serverWriteBytes / bytes,
  };
};

/** `millrace log verify` of a stopped server's data. Throws what it found wrong. */
export const verifyLog = (directory: string): string => {
  const args = [path("packages/cli/src/main.ts"), "log", "verify", directory];
  const options = { encoding: "utf8", timeout: loadTimeoutMs } as const;
  const { status, stdout, stderr } = spawnSync(process.execPath, args, options);
  const said = `${stdout}${stderr}`.trim();
  if (status !== 0 || !stdout.includes("stopped cleanly")) throw new Error(`log verify: ${said}`);
  return said;
};
