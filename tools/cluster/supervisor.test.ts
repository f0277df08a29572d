/** A supervisor over processes that do nothing. */
import assert from "node:assert/strict";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { within } from "@millrace/env/testing";
import { type Action, actions, sendCommand } from "./control.ts";
import type { Process } from "./layout.ts";
import {
  type ProcessEntry,
  type ProcessState,
  type Role,
  readClusterFile,
  writeClusterFile,
} from "./state.ts";
import { Supervisor } from "./supervisor.ts";

/** Longer than any step takes: a process that dies is started again after a second. ms */
const patienceMs = 10_000;

const isAlive = (pid: number): boolean => {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
};

/** A supervisor of an etcd and two controllers. `fields` changes some of them by name. */
const setUp = (
  context: TestContext,
  fields: Readonly<Record<string, Partial<Process>>> = {},
  directory = mkdtempSync(join(tmpdir(), "millrace-cluster-")),
) => {
  const processOf = (role: Role, id: number): Process => {
    const name = `${role}-${id}`;
    const dataDirectory = join(directory, name);
    return {
      ...{ name, role, id, dataDirectory, logFile: `${dataDirectory}.log` },
      ...{ command: "sleep", args: ["60"], endpoints: { client: `127.0.0.1:${id}` } },
      isReady: async () => true,
      ...fields[name],
    };
  };
  const processes = [processOf("etcd", 0), processOf("controller", 0), processOf("controller", 1)];
  const supervisor = new Supervisor(directory, processes);
  context.after(async () => {
    // A clean stop of a process that hangs takes longer than a test that fails may.
    for (const { pid = 0 } of supervisor.cluster.processes) {
      if (pid > 0) process.kill(pid, "SIGKILL");
    }
    await supervisor.stop();
    rmSync(directory, { recursive: true, force: true });
  });
  const act = (action: Action, name: string) => sendCommand(directory, { action, name });
  /** What `cluster.json` says of a process. */
  const entry = (name: string): ProcessEntry => {
    const found = readClusterFile(directory).processes.find((one) => one.name === name);
    assert.ok(found !== undefined, `${name} is not in cluster.json`);
    return found;
  };
  /** Resolves with the process's number once `cluster.json` has the process in a state. */
  const become = async (name: string, state: ProcessState): Promise<number> => {
    const endMs = performance.now() + patienceMs;
    while (entry(name).state !== state) {
      assert.ok(performance.now() < endMs, `${name} is ${entry(name).state}, not ${state}`);
      await sleep(10);
    }
    return entry(name).pid ?? 0;
  };
  return { directory, supervisor, act, entry, become };
};

test("the next start of a cluster tells its processes which cluster they are of", async (context) => {
  const directory = mkdtempSync(join(tmpdir(), "millrace-cluster-"));
  writeClusterFile(directory, { cluster_id: "ours", bootstrap: "", processes: [] });
  const said = (name: string): string => join(directory, `${name}.args`);
  const telling = (name: string): Partial<Process> => ({
    command: "sh",
    args: ["-c", 'echo "$@" > "$0"; exec sleep 60', said(name)],
    isReady: async () => existsSync(said(name)) && readFileSync(said(name)).length > 0,
  });
  const names = ["etcd-0", "controller-0", "controller-1"];
  const fields = Object.fromEntries(names.map((name) => [name, telling(name)]));
  const { supervisor } = setUp(context, fields, directory);
  assert.equal(await supervisor.start(), true);
  const told = names.map((name) => readFileSync(said(name), "utf8"));
  const ours = "--cluster-id ours\n";
  assert.deepEqual(told, ["\n", ours, ours]);
  assert.equal(readClusterFile(directory).cluster_id, "ours");
});

test("cluster.json says what runs; stop ends all of it", async (context) => {
  const { directory, supervisor, entry } = setUp(context);
  assert.equal(await supervisor.start(), true);
  const { bootstrap, cluster_id, processes } = readClusterFile(directory);
  assert.deepEqual([bootstrap, cluster_id], ["", ""]);
  assert.deepEqual(
    processes.map(({ name, state }) => `${name} ${state}`),
    ["etcd-0 running", "controller-0 running", "controller-1 running"],
  );
  const { pid = 0, ...rest } = entry("controller-1");
  assert.deepEqual(rest, {
    ...{ name: "controller-1", role: "controller", id: 1, state: "running" },
    ...{ endpoints: { client: "127.0.0.1:1" } },
    ...{ data_dir: join(directory, "controller-1"), log: join(directory, "controller-1.log") },
  });
  const pids = processes.map((one) => one.pid ?? 0);
  assert.ok(pid > 0 && pids.every(isAlive));
  await supervisor.stop();
  assert.deepEqual(pids.filter(isAlive), []);
  for (const one of readClusterFile(directory).processes) {
    assert.deepEqual([one.state, one.pid], ["stopped", undefined], one.name);
  }
});

test("a process that is killed is started again, one that is stopped is not", async (context) => {
  const { supervisor, act, entry, become } = setUp(context);
  await supervisor.start();
  const first = entry("etcd-0").pid ?? 0;
  await act("kill", "etcd-0");
  await become("etcd-0", "restarting");
  assert.equal(isAlive(first), false);
  const second = await become("etcd-0", "running");
  assert.ok(second > 0 && second !== first);
  await act("stop", "etcd-0");
  assert.deepEqual([entry("etcd-0").state, isAlive(second)], ["stopped", false]);
  await sleep(1500);
  assert.equal(entry("etcd-0").state, "stopped");
  await act("start", "etcd-0");
  const third = await become("etcd-0", "running");
  await act("restart", "etcd-0");
  const fourth = await become("etcd-0", "running");
  assert.deepEqual([third, fourth].map(isAlive), [false, true]);
});

test("a process that is paused goes on when it is resumed, and can be stopped", async (context) => {
  const { supervisor, act, become } = setUp(context);
  await supervisor.start();
  await act("pause", "controller-0");
  const pid = await become("controller-0", "paused");
  await act("resume", "controller-0");
  assert.equal(await become("controller-0", "running"), pid);
  await act("pause", "controller-0");
  await within(act("stop", "controller-0"), "end of a process that was paused", patienceMs);
  assert.equal(isAlive(pid), false);
});

test("every command refuses a process that is not there, and names those that are", async (context) => {
  const { supervisor, act } = setUp(context);
  await supervisor.start();
  for (const action of actions) {
    await assert.rejects(act(action, "broker-9"), {
      message: "there is no process broker-9: use one of etcd-0, controller-0, controller-1",
    });
  }
});

test("a command that is cut off, or is none, leaves the supervisor alone", async (context) => {
  const { directory, supervisor, act, entry } = setUp(context);
  await supervisor.start();
  const path = join(directory, "control.sock");
  const cut = connect(path);
  await once(cut, "connect");
  cut.write(`${JSON.stringify({ action: "restart", name: "etcd-0" })}\n`, () => cut.destroy());
  const strange = connect(path);
  strange.write("hello\n");
  const [answer] = await once(strange, "data");
  assert.match(String(answer), /^\{"error":".*JSON/);
  await act("stop", "controller-0");
  assert.equal(entry("controller-0").state, "stopped");
});

test("a process that is down cannot be killed or paused", async (context) => {
  const { supervisor, act } = setUp(context);
  await supervisor.start();
  await act("stop", "controller-1");
  for (const action of ["kill", "pause"] as const) {
    const message = "controller-1 is not up: start it first";
    await assert.rejects(act(action, "controller-1"), { message });
  }
});

test("a process that ends while it starts fails the start, which names its log", async (context) => {
  const never = { command: "false", isReady: async () => false };
  const { directory, supervisor } = setUp(context, { "controller-1": never });
  const message = `controller-1 ended: look into ${join(directory, "controller-1.log")}`;
  await assert.rejects(supervisor.start(), { message });
});

test("a stop during the start leaves no process", async (context) => {
  const { directory, supervisor, become } = setUp(context, {
    "etcd-0": { isReady: async () => false },
  });
  const started = supervisor.start();
  while (supervisor.cluster.processes[0]?.state !== "starting") await sleep(5);
  const pid = await become("etcd-0", "starting");
  await supervisor.stop();
  assert.equal(await started, false);
  assert.equal(isAlive(pid), false);
  for (const one of readClusterFile(directory).processes) {
    assert.deepEqual([one.state, one.pid], ["stopped", undefined], one.name);
  }
});

test("a stop during a restart leaves no process", async (context) => {
  const { directory, supervisor, act } = setUp(context);
  await supervisor.start();
  const restarted = act("restart", "etcd-0");
  while (readClusterFile(directory).processes[0]?.state === "running") await sleep(1);
  await supervisor.stop();
  await restarted;
  assert.deepEqual(
    supervisor.cluster.processes.map(({ pid }) => pid),
    [undefined, undefined, undefined],
  );
});

test("a directory has one cluster at a time", async (context) => {
  const { directory, supervisor, entry } = setUp(context);
  await supervisor.start();
  const second = setUp(context, {}, directory).supervisor;
  const message = `a cluster runs in ${directory}: stop it, or use another --dir`;
  await assert.rejects(second.start(), { message });
  await second.stop();
  assert.equal(entry("etcd-0").state, "running", "the first one's file is untouched");
});
