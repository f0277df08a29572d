/** One NATS server with JetStream on files, and `nats bench`. */
import { type ChildProcess, spawnSync } from "node:child_process";
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { runClient, startServer, until } from "../lib/processes.ts";
import type { Sample } from "../lib/report.ts";

const units: Readonly<Record<string, number>> = { ns: 1e-6, µs: 1e-3, us: 1e-3, ms: 1, s: 1000 };

export class Nats {
  readonly #root: string;
  readonly #port: number;
  readonly #child: ChildProcess;

  private constructor(root: string, port: number, child: ChildProcess) {
    this.#root = root;
    this.#port = port;
    this.#child = child;
  }

  /** `always`: every message is fsynced before its acknowledgement; otherwise every two minutes. */
  static async start(
    root: string,
    directory: string,
    port: number,
    always: boolean,
  ): Promise<Nats> {
    mkdirSync(directory, { recursive: true });
    const config = join(directory, "nats.conf");
    const sync = always ? ", sync_interval: always" : "";
    const store = `jetstream { store_dir: "${directory}/js", max_file: 20G, max_mem: 1G${sync} }`;
    writeFileSync(config, `listen: 127.0.0.1:${port}\nserver_name: bench\n${store}\n`);
    const server = startServer(
      join(root, "nats/bin/nats-server"),
      ["-c", config],
      join(directory, "log"),
    );
    const nats = new Nats(root, port, server);
    await until("nats", async () => nats.#cli("account", "info") === 0);
    return nats;
  }

  get pid(): number {
    return this.#child.pid ?? 0;
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
      ? ["--create", "--storage=file", "--replicas=1", "--maxbytes=8GB"]
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
    const { output, cost } = await runClient(this.#command, all, this.pid, 180_000, this.#env());
    const lines = output.split("\n").filter((line) => line.includes("stats:"));
    const line = lines.find((text) => /aggregated|overall/i.test(text)) ?? lines.at(-1) ?? "";
    const rate = /([\d,.]+) msgs\/sec/.exec(line);
    if (rate === null) throw new Error(`nats bench said ${output.slice(-500)}`);
    const at = (name: string): number => {
      const found = new RegExp(`${name}: ([\\d.,]+)(ns|µs|us|ms|s)\\b`, "i").exec(output);
      return found === null
        ? Number.NaN
        : Number(found[1]?.replaceAll(",", "")) * (units[found[2] ?? "ms"] ?? 1);
    };
    return {
      recordsPerSecond: Number(rate[1]?.replaceAll(",", "")),
      p50Ms: at("P50"),
      p99Ms: at("P99"),
      p999Ms: at("P99.9"),
      clientCpuSecondsPerMillion: (cost.clientCpu / records) * 1e6,
      serverCpuSecondsPerMillion: (cost.serverCpu / records) * 1e6,
      serverRssMaxMiB: cost.serverRssMaxMiB,
    };
  }

  get #command(): string {
    return join(this.#root, "nats/bin/nats");
  }

  #env(): NodeJS.ProcessEnv {
    return { ...process.env, NATS_URL: `nats://127.0.0.1:${this.#port}`, NO_COLOR: "1" };
  }

  #cli(...args: string[]): number | null {
    return spawnSync(this.#command, ["--no-context", ...args], {
      env: this.#env(),
      stdio: "ignore",
    }).status;
  }
}
