/** A server of any kind as a real child process on loopback, with a directory of its own. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { freePort } from "./etcd.ts";

export type Role = "broker" | "controller" | "group-coordinator" | "standalone";

interface Endpoints {
  readonly client: string;
  readonly internal: string;
  readonly health: string;
  readonly http: string;
}

const mainOf = (role: Role): string =>
  fileURLToPath(
    new URL(
      `../../services/${role}/src/${role === "standalone" ? "" : "process/"}main.ts`,
      import.meta.url,
    ),
  );

export class ServerProcess {
  readonly directory: string;
  readonly http: string;
  readonly #child: ChildProcess;
  /** What it has said on standard output and on standard error. */
  #said = { stdout: "", stderr: "" };

  private constructor(role: Role, directory: string, port: number, flags: readonly string[]) {
    this.directory = directory;
    this.http = `127.0.0.1:${port}`;
    const listens = ["listen", "internal-listen", "health-listen"];
    const addresses = listens.flatMap((flag) => [`--${flag}`, "127.0.0.1:0"]);
    const own = ["--data-dir", directory, "--http-listen", this.http, ...addresses];
    this.#child = spawn(process.execPath, [mainOf(role), ...own, ...flags], {
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const name of ["stdout", "stderr"] as const) {
      this.#child[name]?.on("data", (chunk: Buffer) => {
        this.#said[name] += chunk.toString();
      });
    }
  }

  static async start(
    role: Role,
    directory: string,
    flags: readonly string[],
  ): Promise<ServerProcess> {
    return new ServerProcess(role, directory, await freePort(), flags);
  }

  get stderr(): string {
    return this.#said.stderr;
  }

  get endpoints(): Endpoints {
    return JSON.parse(readFileSync(join(this.directory, "endpoints.json"), "utf8"));
  }

  get #hasEnded(): boolean {
    return this.#child.exitCode !== null || this.#child.signalCode !== null;
  }

  /** An answer of its HTTP port; undefined while it does not listen. */
  async get(path: string): Promise<{ status: number; body: string } | undefined> {
    try {
      const answer = await fetch(`http://${this.http}${path}`);
      return { status: answer.status, body: await answer.text() };
    } catch {
      return undefined;
    }
  }

  /** Resolves once `/readyz` answers so. Rejects when the process ends first. */
  async untilReadyz(expected: (status: number, body: string) => boolean): Promise<void> {
    for (let i = 0; i < 1200; i += 1) {
      const answer = await this.get("/readyz");
      if (answer !== undefined && expected(answer.status, answer.body)) return;
      if (this.#hasEnded) break;
      await sleep(50);
    }
    throw new Error(`the process is not there: ${this.#said.stderr}${this.#said.stdout}`);
  }

  signal(signal: "SIGSTOP" | "SIGCONT"): void {
    this.#child.kill(signal);
  }

  /** Resolves with the exit code; null after a signal that it did not handle. */
  async end(signal: NodeJS.Signals = "SIGTERM"): Promise<number | null> {
    if (!this.#hasEnded) {
      this.#child.kill(signal);
      await once(this.#child, "exit");
    }
    return this.#child.exitCode;
  }
}
