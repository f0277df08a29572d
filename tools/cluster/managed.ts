/** One process of a cluster: started again when it dies, unless it is to stay down. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdirSync, openSync } from "node:fs";
import type { ProcessEntry, ProcessState, Role } from "./state.ts";

export interface ManagedOptions {
  readonly name: string;
  readonly role: Role;
  readonly id: number;
  readonly command: string;
  readonly args: readonly string[];
  readonly endpoints: Readonly<Record<string, string>>;
  readonly dataDirectory: string;
  readonly logFile: string;
  /** True once it serves. Called again and again while it starts. */
  readonly isReady: () => Promise<boolean>;
  /** Longest wait for a clean stop; then it is killed, ms. Absent: 120 s. */
  readonly stopMs?: number;
  /** Called after every change of state. */
  readonly onChange: () => void;
  /** Arguments that are known only once it runs: for its next start. */
  readonly moreArgs?: () => readonly string[];
}

/** Pause before a process that died is started again, ms. */
const restartMs = 1000;
/** How often a process that starts is asked whether it is ready, ms. */
const askMs = 100;
/** Brokers with 10,000 partitions each, on one disk and two cores, take about a minute. */
const defaultStopMs = 120_000;

const sleep = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms));

export class Managed {
  readonly options: ManagedOptions;
  #child: ChildProcess | undefined;
  #exited: Promise<void> = Promise.resolve();
  #state: ProcessState = "stopped";
  #restart: NodeJS.Timeout | undefined;
  /** It is to stay down for good. */
  #isClosed = false;
  /** Rises with every start: what waits for an older process gives up. */
  #life = 0;

  constructor(options: ManagedOptions) {
    this.options = options;
  }

  get state(): ProcessState {
    return this.#state;
  }

  get entry(): ProcessEntry {
    const { dataDirectory, endpoints, id, logFile, name, role } = this.options;
    const pid = this.#child?.pid;
    return {
      ...{ name, role, id, state: this.#state, endpoints },
      ...(pid === undefined ? {} : { pid }),
      ...{ data_dir: dataDirectory, log: logFile },
    };
  }

  /** Starts it, if it is not up. Nothing starts it after `close`. */
  start(): void {
    clearTimeout(this.#restart);
    if (this.#child !== undefined || this.#isClosed) return;
    const { args, command, dataDirectory, logFile, moreArgs = () => [] } = this.options;
    mkdirSync(dataDirectory, { recursive: true });
    const log = openSync(logFile, "a");
    // A group of its own: Ctrl-C reaches the supervisor alone, which stops all in order.
    const child = spawn(command, [...args, ...moreArgs()], {
      stdio: ["ignore", log, log],
      detached: true,
    });
    closeSync(log);
    this.#child = child;
    this.#life += 1;
    const life = this.#life;
    const exited = Promise.withResolvers<void>();
    this.#exited = exited.promise;
    const gone = (): void => {
      exited.resolve();
      if (this.#life === life) this.#died();
    };
    child.once("exit", gone);
    child.once("error", gone);
    this.#become("starting");
    void this.#untilReady(life);
  }

  /** Stops it cleanly, and keeps it down. Kills it when that takes too long. */
  async stop(): Promise<void> {
    clearTimeout(this.#restart);
    if (this.#state !== "stopped") this.#become("stopped");
    const child = this.#child;
    if (child === undefined) return;
    // A process that is paused hears nothing.
    this.#signal("SIGCONT");
    this.#signal("SIGTERM");
    const { stopMs = defaultStopMs } = this.options;
    const killing = setTimeout(() => this.#signal("SIGKILL"), stopMs);
    await this.#exited;
    clearTimeout(killing);
  }

  /** Stops it for good, also when a command was about to start it. */
  close(): Promise<void> {
    this.#isClosed = true;
    return this.stop();
  }

  async restart(): Promise<void> {
    await this.stop();
    this.start();
  }

  /** SIGKILL. It is started again after a second. */
  kill(): void {
    this.#signal("SIGKILL");
  }

  pause(): void {
    this.#signal("SIGSTOP");
    this.#become("paused");
  }

  resume(): void {
    if (this.#state !== "paused") return;
    this.#signal("SIGCONT");
    this.#become("starting");
    void this.#untilReady(this.#life);
  }

  #signal(signal: NodeJS.Signals): void {
    if (this.#child === undefined) {
      throw new Error(`${this.options.name} is not up: start it first`);
    }
    this.#child.kill(signal);
  }

  #become(state: ProcessState): void {
    this.#state = state;
    this.options.onChange();
  }

  #died(): void {
    this.#child = undefined;
    if (this.#state === "stopped") {
      this.options.onChange();
      return;
    }
    this.#become("restarting");
    this.#restart = setTimeout(() => this.start(), restartMs);
  }

  /** Never rejects. */
  async #untilReady(life: number): Promise<void> {
    while (this.#life === life && this.#state === "starting") {
      const ready = await this.options.isReady().catch(() => false);
      if (this.#life !== life || this.#state !== "starting") return;
      if (ready) this.#become("running");
      else await sleep(askMs);
    }
  }
}
