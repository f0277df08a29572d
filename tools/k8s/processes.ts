/**
 * Processes that outlive the one that starts them: known by pid and start, so that nothing else is
 * ever ended in their place.
 */
import { spawn, spawnSync } from "node:child_process";
import { once } from "node:events";
import { closeSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { dirname } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";

export interface ProcessIdentity {
  readonly name: string;
  readonly pid: number;
  /** When it started, in whatever way this machine tells; differs for any other of this pid. */
  readonly started: string;
}

const pollMs = 50;

/** State and start of a line of `/proc/PID/stat`, whose second field may contain anything. */
export const parseStat = (line: string): { readonly state: string; readonly ticks: string } => {
  const fields = line.slice(line.lastIndexOf(")") + 2).split(" ");
  return { state: fields[0] ?? "", ticks: fields[19] ?? "" };
};

/** When the process of this pid started, or undefined where there is none that runs. */
export const startOf = (pid: number): string | undefined => {
  if (process.platform !== "linux") {
    const done = spawnSync("ps", ["-o", "lstart=", "-p", String(pid)], { encoding: "utf8" });
    return done.stdout.trim() || undefined;
  }
  try {
    const { state, ticks } = parseStat(readFileSync(`/proc/${pid}/stat`, "utf8"));
    if (state === "Z" || state === "X") return undefined;
    return `${readFileSync("/proc/sys/kernel/random/boot_id", "utf8").trim()}/${ticks}`;
  } catch {
    return undefined;
  }
};

export const isRunning = ({ pid, started }: ProcessIdentity): boolean => startOf(pid) === started;

/** Sends a signal to this process and to no other. */
const signal = (identity: ProcessIdentity, name: NodeJS.Signals): void => {
  if (!isRunning(identity)) return;
  try {
    process.kill(identity.pid, name);
  } catch {
    // It has ended since.
  }
};

const hasEndedWithin = async (identity: ProcessIdentity, ms: number): Promise<boolean> => {
  const deadline = performance.now() + ms;
  while (isRunning(identity)) {
    if (performance.now() > deadline) return false;
    await sleep(pollMs);
  }
  return true;
};

/** Ends a process: kindly, and after `patienceMs` by force. */
export const endProcess = async (identity: ProcessIdentity, patienceMs: number): Promise<void> => {
  signal(identity, "SIGTERM");
  if (await hasEndedWithin(identity, patienceMs)) return;
  signal(identity, "SIGKILL");
  if (await hasEndedWithin(identity, 10_000)) return;
  throw new Error(
    `${identity.name} (pid ${identity.pid}) does not end, even by SIGKILL: see \`ps ${identity.pid}\``,
  );
};

export interface Command {
  /** Of the process; its log is `NAME.log`. */
  readonly name: string;
  readonly program: string;
  readonly args: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

/** A process that was started, and what it said. */
export interface Launched extends ProcessIdentity {
  readonly log: string;
}

export interface LaunchOptions {
  readonly log: string;
  /** Whether it goes on when this process, or its terminal, ends. */
  readonly outlives: boolean;
}

export const launch = async (command: Command, options: LaunchOptions): Promise<Launched> => {
  mkdirSync(dirname(options.log), { recursive: true });
  const log = openSync(options.log, "w", 0o600);
  try {
    const child = spawn(command.program, [...command.args], {
      detached: options.outlives,
      stdio: ["ignore", log, log],
      env: { ...process.env, ...command.env },
    });
    // Rejects where the program cannot be run.
    await once(child, "spawn");
    if (options.outlives) child.unref();
    const pid = child.pid ?? 0;
    return { name: command.name, pid, started: startOf(pid) ?? "ended at once", log: options.log };
  } finally {
    closeSync(log);
  }
};

/** The last lines of a log. */
export const lastLines = (log: string, lines = 12): string => {
  try {
    return readFileSync(log, "utf8").trim().split("\n").slice(-lines).join("\n");
  } catch {
    return "";
  }
};

export interface Wait {
  readonly what: string;
  readonly deadlineMs: number;
  /** Without these there is nothing to wait for. */
  readonly processes: readonly Launched[];
  readonly signal?: AbortSignal | undefined;
}

/** Waits until something is so. Ends with the last lines of a log where a process has ended. */
export const waitUntil = async (
  isSo: () => Promise<boolean> | boolean,
  { deadlineMs, processes, signal: aborted, what }: Wait,
): Promise<void> => {
  const deadline = performance.now() + deadlineMs;
  while (!(await isSo())) {
    aborted?.throwIfAborted();
    const ended = processes.find((one) => !isRunning(one));
    if (ended !== undefined) {
      throw new Error(`${ended.name} has ended (${ended.log}):\n${lastLines(ended.log)}`);
    }
    if (performance.now() > deadline) {
      const logs = processes.map((one) => `${one.log}:\n${lastLines(one.log)}`).join("\n");
      throw new Error(`not within ${deadlineMs} ms: ${what}\n${logs}`);
    }
    await sleep(100);
  }
};
