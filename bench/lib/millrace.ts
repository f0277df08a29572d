/** Our server as users start it, alone. */
import type { ChildProcess } from "node:child_process";
import { existsSync, mkdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { type Client, connect } from "@millrace/client";
import { startEnv, startFlags } from "../../tools/start-command.ts";
import { type Flags, loadArgs, runLoad, type Target, verifyLog } from "./load.ts";
import { openFiles, rssMiB, startServer, stop, until } from "./processes.ts";
import type { Sample } from "./report.ts";

const path = (relative: string): string =>
  fileURLToPath(new URL(`../../${relative}`, import.meta.url));

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

  /** `flags`: of the server, beside those of `npm start`; `nodeFlags`: of Node, beside those. */
  async start(flags: readonly string[] = [], nodeFlags: readonly string[] = []): Promise<void> {
    const listens = ["listen", "internal-listen", "health-listen", "http-listen"];
    const args = listens.flatMap((flag) => [`--${flag}`, "127.0.0.1:0"]);
    const endpoints = join(this.data, "endpoints.json");
    rmSync(endpoints, { force: true });
    this.spawnedMs = performance.now();
    const main = path("services/standalone/src/main.ts");
    this.#child = startServer(
      process.execPath,
      [...startFlags(), ...nodeFlags, main, "--data-dir", this.data, ...args, ...flags],
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
    await this.client.admin.createTopic({ name, partitions: partitions, configs });
    await sleep(200);
  }

  async drop(name: string): Promise<void> {
    await this.client.admin.deleteTopic({ name });
    await sleep(300);
  }

  /** Runs a load of `bench/load` against this server, or another one. */
  load(operation: string, flags: Flags, to?: Target): Promise<Sample> {
    return runLoad(operation, flags, to ?? { endpoint: this.endpoint, pids: [this.pid] });
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
    return verifyLog(this.data);
  }
}

/** Another server for a load: the bare transport. */
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
    pids: [child.pid ?? 0],
  };
};
