/** `npm run cluster`, from its start to Ctrl-C, and what its commands do meanwhile. */
import assert from "node:assert/strict";
import { type ChildProcess, spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import { connect } from "@millrace/client";
import { readClusterFile } from "../../tools/cluster/state.ts";
import { skipped } from "./etcd.ts";

const main = fileURLToPath(new URL("../../tools/cluster/main.ts", import.meta.url));
/** Below the ports that the operating system gives to connections; another for each run. */
const basePort = 20_000 + (process.pid % 20) * 500;

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

/** A supervisor of an etcd, a controller, two brokers and a group coordinator. */
const setUp = (context: TestContext) => {
  const directory = mkdtempSync(join(tmpdir(), "millrace-cluster-"));
  const sizes = ["--brokers", "2", "--controllers", "1", "--group-coordinators", "1"];
  const args = [main, "--dir", directory, "--base-port", String(basePort), ...sizes];
  const supervisor: ChildProcess = spawn(process.execPath, args);
  const said = { stdout: "", stderr: "" };
  for (const name of ["stdout", "stderr"] as const) {
    supervisor[name]?.on("data", (chunk: Buffer) => {
      said[name] += chunk.toString();
    });
  }
  const exited = once(supervisor, "exit");
  const processes = () => readClusterFile(directory).processes;
  const until = async (what: string, holds: () => boolean): Promise<void> => {
    const endMs = performance.now() + 60_000;
    while (!holds()) {
      const hasEnded = supervisor.exitCode !== null;
      assert.ok(!hasEnded && performance.now() < endMs, `no ${what}: ${said.stderr}`);
      await sleep(20);
    }
  };
  const end = async (signal: NodeJS.Signals): Promise<unknown> => {
    supervisor.kill(signal);
    return (await exited)[0];
  };
  const act = (...command: string[]) => {
    const options = { encoding: "utf8", timeout: 60_000 } as const;
    const run = [main, ...command, "--dir", directory];
    const { status, stderr } = spawnSync(process.execPath, run, options);
    return { status, stderr };
  };
  context.after(async () => {
    if (supervisor.exitCode === null) await end("SIGTERM");
    rmSync(directory, { recursive: true });
  });
  return { directory, said, processes, until, end, act };
};

test("a cluster starts, does what it is told, and leaves nothing", {
  skip: skipped,
}, async (context) => {
  const { directory, said, processes, until, end, act } = setUp(context);
  await until("cluster", () => said.stdout.includes("Ctrl-C stops everything."));
  assert.match(said.stdout, /topic create events --partitions 6 --replication-factor 2\n/);
  const { bootstrap, cluster_id } = readClusterFile(directory);
  assert.equal(bootstrap, `127.0.0.1:${basePort},127.0.0.1:${basePort + 10}`);
  const states = () => processes().map(({ name, state }) => `${name} ${state}`);
  const all = ["etcd-0", "controller-0", "broker-0", "broker-1", "group-coordinator-0"];
  const running = all.map((one) => `${one} running`);
  assert.deepEqual(states(), running);

  const client = await connect({ bootstrap: bootstrap.split(",") });
  context.after(() => client.close());
  assert.equal((await client.admin.cluster()).clusterId, cluster_id);
  await client.admin.createTopic({ name: "t", partitions: 6, replicationFactor: 2 });

  const pidOf = (name: string) => processes().find((one) => one.name === name)?.pid ?? 0;
  const killed = pidOf("broker-1");
  assert.deepEqual(act("kill", "broker-1"), { status: 0, stderr: "" });
  await until("restart", () => pidOf("broker-1") !== killed && states()[3] === running[3]);
  const stderr = `error: there is no process broker-2: use one of ${all.join(", ")}\n`;
  assert.deepEqual(act("stop", "broker-2"), { status: 1, stderr });

  assert.equal(act("pause", "broker-0").status, 0);
  const pids = processes().map(({ pid }) => pid ?? 0);
  assert.ok(pids.every(isAlive));
  assert.equal(await end("SIGTERM"), 0, said.stderr);
  assert.deepEqual(pids.filter(isAlive), []);
  assert.ok(processes().every(({ pid, state }) => pid === undefined && state === "stopped"));
});

test("a signal during the start leaves nothing", { skip: skipped }, async (context) => {
  const { directory, said, processes, until, end } = setUp(context);
  const isStarting = (): boolean => {
    try {
      return processes().some(({ name, pid }) => name === "controller-0" && pid !== undefined);
    } catch {
      return false;
    }
  };
  await until("controller", isStarting);
  const pids = processes().flatMap(({ pid }) => pid ?? []);
  assert.equal(await end("SIGINT"), 0, said.stderr);
  assert.deepEqual(pids.filter(isAlive), []);
  assert.doesNotMatch(said.stdout, /Ctrl-C/);
  assert.ok(readClusterFile(directory).processes.every(({ state }) => state === "stopped"));
});
