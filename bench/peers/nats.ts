/** NATS with JetStream on files, one server or several, and `nats bench`. */
import { type ChildProcess, spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runClient, startServer, until } from "../lib/processes.ts";
import type { Sample } from "../lib/report.ts";
import { parseNats } from "./output.ts";

export interface NatsOptions {
  /** Port of the first server for clients; the others have the next ones. */
  readonly port: number;
  /** Every message is fsynced before its acknowledgement; otherwise every two minutes. */
  readonly always: boolean;
  /** Servers, and replicas of every stream. */
  readonly servers: number;
}

const host = "127.0.0.1";
/** Servers talk to one another so many ports above those for clients. */
const routeOffset = 50;

const configOf = ({ port, always, servers }: NatsOptions, directory: string, i: number): string => {
  const routes = Array.from(
    { length: servers },
    (_, at) => `nats://${host}:${port + routeOffset + at}`,
  );
  const cluster = `name: bench, listen: ${host}:${port + routeOffset + i}, routes: [${routes.join(", ")}]`;
  const sync = always ? ", sync_interval: always" : "";
  return [
    `listen: ${host}:${port + i}`,
    `server_name: bench${i}`,
    `jetstream { store_dir: "${directory}/js${i}", max_file: 20G, max_mem: 1G${sync} }`,
    ...(servers > 1 ? [`cluster { ${cluster} }`] : []),
    "",
  ].join("\n");
};

export class Nats {
  readonly #root: string;
  readonly #options: NatsOptions;
  readonly #children: readonly ChildProcess[];

  private constructor(root: string, options: NatsOptions, children: readonly ChildProcess[]) {
    this.#root = root;
    this.#options = options;
    this.#children = children;
  }

  static async start(root: string, directory: string, options: NatsOptions): Promise<Nats> {
    mkdirSync(directory, { recursive: true });
    const children = Array.from({ length: options.servers }, (_, i) => {
      const config = join(directory, `${i}.conf`);
      writeFileSync(config, configOf(options, directory, i));
      const server = join(root, "nats/bin/nats-server");
      return startServer(server, ["-c", config], join(directory, `log${i}`));
    });
    const nats = new Nats(root, options, children);
    await until("nats", async () => nats.#isReady(), 120_000);
    return nats;
  }

  get pid(): number {
    return this.#children[0]?.pid ?? 0;
  }

  get pids(): number[] {
    return this.#children.map(({ pid }) => pid ?? 0);
  }

  /** `nats bench js VERB…`. Publishing makes a fresh stream. */
  async bench(
    verb: readonly string[],
    records: number,
    extra: readonly string[] = [],
  ): Promise<Sample> {
    const publishes = verb[0] === "pub";
    if (publishes) this.#cli("stream", "rm", "-f", "s");
    const create = publishes
      ? ["--create", "--storage=file", `--replicas=${this.#options.servers}`, "--maxbytes=8GB"]
      : [];
    const args = [
      "bench",
      "js",
      ...verb,
      "--stream=s",
      `--msgs=${records}`,
      "--no-progress",
      ...extra,
      ...create,
    ];
    const subject = publishes ? ["s.t"] : [];
    const all = ["--no-context", ...args, ...subject];
    const { output, cost } = await runClient(this.#command, all, this.pids, 180_000, this.#env());
    return {
      ...parseNats(output),
      clientCpuSecondsPerMillion: (cost.clientCpu / records) * 1e6,
      serverCpuSecondsPerMillion: (cost.serverCpu / records) * 1e6,
      serverRssMaxMiB: cost.serverRssMaxMiB,
    };
  }

  get #command(): string {
    return join(this.#root, "nats/bin/nats");
  }

  #env(): NodeJS.ProcessEnv {
    const { port, servers } = this.#options;
    const urls = Array.from({ length: servers }, (_, i) => `nats://${host}:${port + i}`);
    return { ...process.env, NATS_URL: urls.join(","), NO_COLOR: "1" };
  }

  /** A stream with all its replicas can be made. */
  #isReady(): boolean {
    const add = ["--subjects=ready", "--storage=file", "--defaults", "--timeout=2s"];
    const replicas = `--replicas=${this.#options.servers}`;
    if (this.#cli("stream", "add", "ready", ...add, replicas) !== 0) return false;
    return this.#cli("stream", "rm", "-f", "ready") === 0;
  }

  #cli(...args: string[]): number | null {
    return spawnSync(this.#command, ["--no-context", ...args], {
      env: this.#env(),
      stdio: "ignore",
      timeout: 20_000,
    }).status;
  }
}
