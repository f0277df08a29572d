/** Our server as users start it, and our loads against it. */
import { type ChildProcess, spawnSync } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type Client, connect } from "@millrace/client";
import { startEnv, startFlags } from "../../tools/start-command.ts";
import { cpuSeconds, openFiles, rssMiB, runClient, startServer, stop, until } from "./processes.ts";
import type { Sample } from "./report.ts";

const path = (relative: string): string =>
  fileURLToPath(new URL(`../../${relative}`, import.meta.url));

/**
 * Node's flags for our loads: a heap that is not collected for every few MiB of buffers. Kafka's
 * tools get -Xmx512m.
 */
const loadFlags = ["--initial-old-space-size=128"];

/** 10 GiB on a bad day. */
const loadTimeoutMs = 600_000;

type Flags = Readonly<Record<string, string | number>>;

const loadArgs = (operation: string, endpoint: string, flags: Flags): string[] => [
  ...[...loadFlags, path("bench/load/main.ts"), operation, "--endpoint", endpoint],
  ...Object.entries(flags).flatMap(([name, value]) => [`--${name}`, String(value)]),
];

export class Millrace {
  readonly #directory: string;
  #child: ChildProcess | undefined;
  #client: Client | undefined;
  endpoint = "";
  http = "";
  /** When the process was spawned, on the clock of `performance`. */
  spawnedMs = 0;
  /** Seconds from the spawn of the process until it was ready. */
  readySeconds = 0;

  constructor(directory: string) {
    this.#directory = directory;
    mkdirSync(directory, { recursive: true });
  }

  get pid(): number {
    return this.#child?.pid ?? 0;
  }

  get data(): string {
    return join(this.#directory, "data");
  }

  get client(): Client {
    if (this.#client === undefined) throw new Error("the server is not started");
    return this.#client;
  }

  async start(): Promise<void> {
    const listens = ["listen", "internal-listen", "health-listen", "http-listen"];
    const args = listens.flatMap((flag) => [`--${flag}`, "127.0.0.1:0"]);
    const endpoints = join(this.data, "endpoints.json");
    rmSync(endpoints, { force: true });
    this.spawnedMs = performance.now();
    const main = path("services/standalone/src/main.ts");
    this.#child = startServer(
      process.execPath,
      [...startFlags(), main, "--data-dir", this.data, ...args],
      join(this.#directory, "log"),
      startEnv(),
    );
    const child = this.#child;
    const ready = async (): Promise<boolean> =>
      child.exitCode !== null ||
      (existsSync(endpoints) && readFileSync(endpoints, "utf8").endsWith("\n"));
    await until("millrace", ready, 120_000);
    if (child.exitCode !== null) {
      throw new Error(`the server ended with ${child.exitCode}: see ${this.#directory}/log`);
    }
    this.readySeconds = (performance.now() - this.spawnedMs) / 1000;
    const { client, http } = JSON.parse(readFileSync(endpoints, "utf8"));
    this.endpoint = client;
    this.http = http;
    this.#client = await connect({ bootstrap: [this.endpoint], adminTimeoutMs: 120_000 });
  }

  /** A clean stop with SIGTERM; many partitions take their time. */
  async stop(signal: NodeJS.Signals = "SIGTERM"): Promise<void> {
    await this.#client?.close().catch(() => {});
    if (this.#child === undefined) return;
    await stop(this.#child, signal, 120_000);
    if (signal === "SIGTERM" && this.#child.signalCode === "SIGKILL")
      throw new Error("the server did not stop by itself");
  }

  /** The server's own count of something: the sum over all labels. */
  async counter(name: string): Promise<number> {
    const reply = await fetch(`http://${this.http}/metrics`);
    const lines = (await reply.text()).split("\n").filter((line) => line.startsWith(name));
    if (lines.length === 0) throw new Error(`the server has no metric ${name}`);
    return lines.reduce((sum, line) => sum + Number(line.split(" ").at(-1)), 0);
  }

  async topic(name: string, partitions: number): Promise<void> {
    // As for the Kafka topics of the same run: what is deleted must not burden what is measured
    // next.
    const configs = { "file.delete.delay.ms": "100" };
    await this.client.admin.createTopic({ name, partitionCount: partitions, configs });
    await sleep(200);
  }

  async drop(name: string): Promise<void> {
    await this.client.admin.deleteTopic(name);
    await sleep(300);
  }

  /** Runs a load of `bench/load`. `server` is whose CPU counts. */
  async load(operation: string, flags: Flags, to?: Target): Promise<Sample> {
    const { endpoint, pid } = to ?? this;
    const all = loadArgs(operation, endpoint, flags);
    const before = cpuSeconds(pid);
    const { output, cost } = await runClient(process.execPath, all, pid, loadTimeoutMs);
    const result: Record<string, number> = JSON.parse(output.trim().split("\n").at(-1) ?? "{}");
    // The load's warm-up is a fifth on top.
    const records = (result["records"] ?? 1) * (operation.endsWith("produce") ? 1.2 : 1);
    const serverCpu = cpuSeconds(pid) - before;
    const gib = (records * Number(flags["size"] ?? 1024)) / 2 ** 30;
    return {
      ...result,
      serverCpuSecondsPerMillion: (serverCpu / records) * 1e6,
      serverCpuSecondsPerGiB: serverCpu / gib,
      // Both processes from start to end, warm-up included, as Kafka's are counted.
      cpuSecondsPerMillion: ((cost.clientCpu + serverCpu) / records) * 1e6,
      serverRssMaxMiB: cost.serverRssMaxMiB,
    };
  }

  /** Starts a load without waiting for it; gives what ends it. */
  background(operation: string, flags: Flags): () => Promise<void> {
    const args = loadArgs(operation, this.endpoint, flags);
    const child = startServer(process.execPath, args, join(this.#directory, "load"));
    return () => stop(child, "SIGKILL");
  }

  rssMiB(): number {
    return rssMiB(this.pid);
  }

  openFiles(): number {
    return openFiles(this.pid);
  }

  /** Deletes everything of a stopped server. */
  remove(): void {
    rmSync(this.#directory, { recursive: true, force: true });
  }

  /** `millrace log verify` of a stopped server's data. Throws what it found wrong. */
  verify(): string {
    const args = [path("packages/cli/src/main.ts"), "log", "verify", this.data];
    const { status, stdout, stderr } = spawnSync(process.execPath, args, { encoding: "utf8" });
    const said = `${stdout}${stderr}`.trim();
    if (status !== 0 || !stdout.includes("stopped cleanly")) throw new Error(`log verify: ${said}`);
    return said;
  }
}

/** Another server for a load: the bare transport. */
export interface Target {
  readonly endpoint: string;
  readonly pid: number;
}

export const startTransport = async (directory: string): Promise<Target> => {
  mkdirSync(directory, { recursive: true });
  const log = join(directory, "log");
  const child = startServer(
    process.execPath,
    [path("bench/load/transport.ts"), "127.0.0.1:0"],
    log,
  );
  await until("transport", async () => readFileSync(log, "utf8").includes(":"));
  return {
    endpoint: readFileSync(log, "utf8").trim().split("\n").at(-1) ?? "",
    pid: child.pid ?? 0,
  };
};
