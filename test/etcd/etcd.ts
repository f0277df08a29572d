/** A real etcd on loopback, with a temporary directory, for the tests of this tier. */
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, renameSync, rmSync } from "node:fs";
import { connect, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { etcdPrograms } from "../../tools/etcd/build.ts";
import { goVersion } from "../../tools/go-programs.ts";

/** Why tests that need etcd are skipped, or false where they run. */
export const skipped: string | false =
  goVersion() === undefined && "etcd cannot be built: there is no Go: install Go 1.26 or newer";

export const freePort = async (): Promise<number> => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const address = server.address();
  server.close();
  await once(server, "close");
  return typeof address === "object" ? (address?.port ?? 0) : 0;
};

const isOpen = (port: number): Promise<boolean> =>
  new Promise((resolve) => {
    const socket = connect(port, "127.0.0.1");
    socket.on("connect", () => resolve(true)).on("error", () => resolve(false));
    socket.on("connect", () => socket.destroy());
  });

export class Etcd {
  readonly clientPort: number;
  readonly #flags: readonly string[];
  readonly #directory: string;
  readonly #scheme: string;
  #process: ChildProcess | undefined;
  #dataDirectory: string;

  private constructor(options: {
    readonly clientPort: number;
    readonly name: string;
    readonly peers: ReadonlyMap<string, string>;
    readonly scheme: string;
    readonly flags: readonly string[];
    readonly hosts?: readonly string[];
  }) {
    const { name, peers, flags, hosts = [] } = options;
    this.clientPort = options.clientPort;
    this.#scheme = options.scheme;
    this.#directory = mkdtempSync(join(tmpdir(), "millrace-etcd-"));
    this.#dataDirectory = join(this.#directory, "data");
    const peer = peers.get(name) ?? "";
    const cluster = [...peers].map(([member, url]) => `${member}=${url}`).join(",");
    const more = hosts.map((host) => `${this.#scheme}://${host}:${this.clientPort}`);
    this.#flags = [
      ...["--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer],
      ...["--initial-cluster", cluster, "--name", name],
      ...["--listen-client-urls", [this.endpoint, ...more].join(",")],
      ...["--advertise-client-urls", this.endpoint],
      ...["--log-level", "error", "--unsafe-no-fsync", ...flags],
    ];
  }

  /** One server, which listens; on `hosts`, too. */
  static async start(
    options: { tls?: boolean; flags?: readonly string[]; hosts?: readonly string[] } = {},
  ): Promise<Etcd> {
    const { tls = false, flags = [], hosts = [] } = options;
    const [clientPort, peerPort] = [await freePort(), await freePort()];
    const peers = new Map([["default", `http://127.0.0.1:${peerPort}`]]);
    const scheme = tls ? "https" : "http";
    const etcd = new Etcd({ clientPort, name: "default", peers, scheme, flags, hosts });
    await etcd.run();
    return etcd;
  }

  /** Members of one cluster, which listen. */
  static async cluster(members: number): Promise<Etcd[]> {
    const peers = new Map<string, string>();
    for (let i = 0; i < members; i += 1) {
      peers.set(`etcd-${i}`, `http://127.0.0.1:${await freePort()}`);
    }
    const servers: Etcd[] = [];
    for (const name of peers.keys()) {
      const clientPort = await freePort();
      servers.push(new Etcd({ clientPort, name, peers, scheme: "http", flags: [] }));
    }
    await Promise.all(servers.map((server) => server.run()));
    return servers;
  }

  get endpoint(): string {
    // TLS checks a name.
    const host = this.#scheme === "https" ? "localhost" : "127.0.0.1";
    return `${this.#scheme}://${host}:${this.clientPort}`;
  }

  async run(): Promise<void> {
    const program = join(etcdPrograms(), "etcd");
    const child = spawn(program, [...this.#flags, "--data-dir", this.#dataDirectory], {
      stdio: ["ignore", "ignore", "pipe"],
    });
    let said = "";
    child.stderr.on("data", (chunk: Buffer) => {
      said = `${said}${chunk}`.slice(-4000);
    });
    this.#process = child;
    for (let i = 0; i < 600; i += 1) {
      if (child.exitCode !== null) throw new Error(`etcd does not start: ${said}`);
      if (await isOpen(this.clientPort)) return;
      await sleep(50);
    }
    throw new Error(`etcd does not listen: ${said}`);
  }

  async kill(signal: "SIGKILL" | "SIGTERM" = "SIGKILL"): Promise<void> {
    const child = this.#process;
    if (child === undefined || child.exitCode !== null || child.signalCode !== null) return;
    child.kill(signal);
    await once(child, "exit");
  }

  signal(signal: "SIGSTOP" | "SIGCONT"): void {
    this.#process?.kill(signal);
  }

  async remove(): Promise<void> {
    await this.kill();
    rmSync(this.#directory, { recursive: true, force: true });
  }

  /** Runs etcdctl against this server. */
  ctl(...args: readonly string[]): string {
    return this.#tool("etcdctl", ["--endpoints", this.endpoint, ...args]);
  }

  /** Writes a backup of what the server holds. */
  snapshot(name: string): string {
    const file = join(this.#directory, name);
    this.ctl("snapshot", "save", file);
    return file;
  }

  /** Starts again on a backup, as an operator restores one. */
  async restore(file: string, ...flags: readonly string[]): Promise<void> {
    await this.kill();
    const peer = this.#flags[this.#flags.indexOf("--listen-peer-urls") + 1] ?? "";
    this.#dataDirectory = join(this.#directory, `restored-${Date.now()}`);
    const cluster = ["--initial-cluster", `default=${peer}`, "--initial-advertise-peer-urls", peer];
    const into = ["--data-dir", this.#dataDirectory, ...cluster, ...flags];
    this.#tool("etcdutl", ["snapshot", "restore", file, ...into]);
    await this.run();
  }

  /** Starts again with nothing. What it had is kept for `refill`. */
  async empty(): Promise<void> {
    await this.kill();
    renameSync(this.#dataDirectory, `${this.#dataDirectory}.before`);
    await this.run();
  }

  /** Starts again with what it had before `empty`. */
  async refill(): Promise<void> {
    await this.kill();
    rmSync(this.#dataDirectory, { recursive: true });
    renameSync(`${this.#dataDirectory}.before`, this.#dataDirectory);
    await this.run();
  }

  #tool(name: string, args: readonly string[]): string {
    const done = spawnSync(join(etcdPrograms(), name), args, { encoding: "utf8" });
    if (done.status !== 0) throw new Error(`${name} ${args.join(" ")}: ${done.stderr}`);
    return done.stdout;
  }
}
