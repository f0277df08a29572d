/** The command line as its own process, for tests against a real server. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn } from "node:child_process";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { ServerProcess, withDirectory } from "./server.ts";

export const main = fileURLToPath(new URL("../../packages/cli/src/main.ts", import.meta.url));

export interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

/** A running command: its process, what it has printed, and how it ends. */
export interface Running {
  readonly child: ChildProcess;
  readonly ended: Promise<Ended>;
  readonly out: () => string;
  readonly err: () => string;
}

export const startMillrace = (endpoint: string, ...args: string[]): Running => {
  const env = { ...process.env, MILLRACE_BOOTSTRAP: endpoint };
  const child = spawn(process.execPath, [main, ...args], { env, stdio: "pipe" });
  let [out, err] = ["", ""];
  child.stdout.on("data", (chunk: Buffer) => {
    out += chunk.toString();
  });
  child.stderr.on("data", (chunk: Buffer) => {
    err += chunk.toString();
  });
  child.stdin.on("error", () => {});
  const ended = new Promise<Ended>((resolve) => {
    child.on("close", (code) => resolve({ code, out, err }));
  });
  return { child, ended, out: () => out, err: () => err };
};

export const runMillrace = (endpoint: string, input: string, ...args: string[]): Promise<Ended> => {
  const { child, ended } = startMillrace(endpoint, ...args);
  child.stdin?.end(input);
  return ended;
};

export const withServer = (body: (endpoint: string, server: ServerProcess) => Promise<void>) =>
  withDirectory(async (directory) => {
    const server = new ServerProcess(directory);
    try {
      await body((await server.ready()).client, server);
    } finally {
      await server.kill("SIGTERM");
    }
  });

/** Waits for ten seconds at most. */
export const until = async (what: () => boolean): Promise<void> => {
  for (let i = 0; i < 200 && !what(); i += 1) await sleep(50);
  assert.ok(what());
};
