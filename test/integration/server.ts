/** The real server, as its own process, on a directory and free ports. */
import { type ChildProcess, spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("../..", import.meta.url));
const main = join(root, "services/standalone/src/main.ts");

export interface Exit {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
  readonly stderr: string;
}

/** What is around the process. */
export interface Surroundings {
  /** A command that runs the rest of its arguments. */
  readonly wrapper?: readonly string[];
  readonly stdio?: readonly ("ignore" | "pipe" | number)[];
}

export class ServerProcess {
  readonly directory: string;
  readonly #child: ChildProcess;
  readonly exited: Promise<Exit>;
  #stderr = "";

  constructor(
    directory: string,
    flags: readonly string[] = [],
    nodeFlags: readonly string[] = [],
    { wrapper = [], stdio = ["ignore", "ignore", "pipe"] }: Surroundings = {},
  ) {
    this.directory = directory;
    const listens = ["listen", "internal-listen", "health-listen", "http-listen"];
    const args = listens.flatMap((flag) => [`--${flag}`, "127.0.0.1:0"]);
    rmSync(join(directory, "endpoints.json"), { force: true });
    const node = [process.execPath, ...nodeFlags, main];
    const [command = "", ...rest] = [...wrapper, ...node, "--data-dir", directory, ...args];
    this.#child = spawn(command, [...rest, ...flags], { stdio: [...stdio] });
    this.#child.stderr?.on("data", (chunk: Buffer) => {
      this.#stderr += chunk.toString();
    });
    this.exited = new Promise((resolve) => {
      this.#child.once("exit", (code, signal) => resolve({ code, signal, stderr: this.#stderr }));
    });
  }

  get pid(): number {
    return this.#child.pid ?? 0;
  }

  /** Addresses, once it is ready. Rejects with what it printed when it ended first. */
  async ready(): Promise<{ client: string; http: string; health: string }> {
    const path = join(this.directory, "endpoints.json");
    for (let i = 0; i < 600; i += 1) {
      if (existsSync(path)) {
        const text = readFileSync(path, "utf8");
        if (text.endsWith("\n")) return JSON.parse(text);
      }
      if (this.#child.exitCode !== null) throw new Error(`the server ended: ${this.#stderr}`);
      await sleep(50);
    }
    throw new Error(`the server is not ready: ${this.#stderr}`);
  }

  async kill(signal: NodeJS.Signals): Promise<Exit> {
    this.#child.kill(signal);
    return this.exited;
  }
}

/** Runs with a directory that is removed afterwards. */
export const withDirectory = async (run: (directory: string) => Promise<void>): Promise<void> => {
  const directory = mkdtempSync(join(tmpdir(), "millrace-test-"));
  try {
    await run(directory);
  } finally {
    rmSync(directory, { recursive: true, force: true });
  }
};
