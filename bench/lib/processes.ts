/** Starting processes, and what they cost, from /proc (Linux). */
import { type ChildProcess, spawn } from "node:child_process";
import { openSync, readdirSync, readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { diskWriteBytes } from "./disk.ts";

const ticksPerSecond = 100;

/** CPU seconds (user and system) that a living process has used. */
export const cpuSeconds = (pid: number): number => {
  const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
  const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
  return (Number(fields[11]) + Number(fields[12])) / ticksPerSecond;
};

const sum = (values: readonly number[]): number => values.reduce((all, value) => all + value, 0);

/** CPU seconds of several living processes together. */
const cpuSecondsOf = (pids: readonly number[]): number => sum(pids.map(cpuSeconds));

/** Resident memory now, MiB. */
export const rssMiB = (pid: number): number => {
  const found = /^VmRSS:\s+(\d+)/m.exec(readFileSync(`/proc/${pid}/status`, "utf8"));
  return Number(found?.[1] ?? 0) / 1024;
};

export const openFiles = (pid: number): number => readdirSync(`/proc/${pid}/fd`).length;

const running = new Set<ChildProcess>();

/** A server that runs until `stop` or `stopAll`; its output goes to `logPath`. */
export const startServer = (
  command: string,
  args: readonly string[],
  logPath: string,
  env: NodeJS.ProcessEnv = process.env,
): ChildProcess => {
  const log = openSync(logPath, "a");
  const child = spawn(command, args, { stdio: ["ignore", log, log], env });
  running.add(child);
  child.once("exit", () => running.delete(child));
  return child;
};

export const stop = async (
  child: ChildProcess,
  signal: NodeJS.Signals = "SIGTERM",
  patienceMs = 15_000,
): Promise<void> => {
  if (child.exitCode !== null || child.signalCode !== null) return;
  const gone = new Promise<void>((resolve) => child.once("exit", () => resolve()));
  child.kill(signal);
  const late = setTimeout(() => child.kill("SIGKILL"), patienceMs);
  await gone;
  clearTimeout(late);
};

export const stopAll = async (): Promise<void> => {
  await Promise.all([...running].map((child) => stop(child)));
};

export interface Cost {
  readonly seconds: number;
  readonly clientCpu: number;
  /** Of all server processes together. */
  readonly serverCpu: number;
  /** Of the largest server process. */
  readonly serverRssMaxMiB: number;
  /** Bytes that all server processes gave to the disk, or to the page cache on the way to it. */
  readonly serverWriteBytes: number;
}

/** Runs a client to its end beside its servers; what it printed and what all cost. */
export const runClient = async (
  command: string,
  args: readonly string[],
  serverPids: readonly number[],
  timeoutMs = 180_000,
  env: NodeJS.ProcessEnv = process.env,
): Promise<{ readonly output: string; readonly cost: Cost }> => {
  const serverBefore = cpuSecondsOf(serverPids);
  const writtenBefore = sum(serverPids.map(diskWriteBytes));
  const startedMs = performance.now();
  const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"], env });
  running.add(child);
  let output = "";
  let clientCpu = 0;
  let rssMax = 0;
  child.stdout.on("data", (data: Buffer) => {
    output += data.toString();
  });
  child.stderr.on("data", (data: Buffer) => {
    output += data.toString();
  });
  const sample = setInterval(() => {
    try {
      rssMax = Math.max(rssMax, ...serverPids.map(rssMiB));
      if (child.pid !== undefined) clientCpu = cpuSeconds(child.pid);
    } catch {
      // The client ended between the check and the read.
    }
  }, 50);
  const timer = setTimeout(() => child.kill("SIGKILL"), timeoutMs);
  const code = await new Promise<number | null>((resolve) => child.once("close", resolve));
  clearInterval(sample);
  clearTimeout(timer);
  running.delete(child);
  if (code !== 0)
    throw new Error(`${command} ${args.join(" ")} ended with ${code}: ${output.slice(-2000)}`);
  const cost = {
    seconds: (performance.now() - startedMs) / 1000,
    clientCpu,
    serverCpu: cpuSecondsOf(serverPids) - serverBefore,
    serverRssMaxMiB: rssMax,
    serverWriteBytes: sum(serverPids.map(diskWriteBytes)) - writtenBefore,
  };
  return { output, cost };
};

/** Waits until `ready` is true. */
export const until = async (
  what: string,
  ready: () => Promise<boolean>,
  timeoutMs = 60_000,
): Promise<void> => {
  const endMs = performance.now() + timeoutMs;
  for (;;) {
    if (await ready().catch(() => false)) return;
    if (performance.now() > endMs) throw new Error(`${what} did not come up in ${timeoutMs} ms`);
    await sleep(10);
  }
};
