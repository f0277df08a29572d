/**
 * The simulator's kernel: virtual time and one queue of events. Nothing happens but events, in the
 * order of (time, sequence), so the same seed gives the same run.
 */
import { setImmediate as turn } from "node:timers/promises";
import type { Cancel, Clock } from "@millrace/env";
import { type Event, EventQueue } from "./event-queue.ts";
import { Marks } from "./marks.ts";
import { SeededRandom } from "./random.ts";
import { Trace } from "./trace.ts";

export class Kernel {
  readonly random: SeededRandom;
  /** `sometimes`, `always` and `buggify` of everything in this run; for `Env.sim`. */
  readonly marks: Marks;
  readonly #queue = new EventQueue();
  readonly #trace = new Trace();
  #nowMs = 0;
  #sequence = 0;
  #glitchMs = 0;
  /** Events that ran: the number of the step that runs now. */
  events = 0;
  /**
   * How far the wall clock is from where it should be, milliseconds. Monotonic time is never
   * touched.
   */
  wallOffsetMs = 0;

  /**
   * `from`: a kernel whose time goes on here, such as that of a run that is tried out in several
   * ways.
   */
  constructor(seed: number, from?: Pick<Kernel, "nowMs" | "wallOffsetMs">) {
    this.random = new SeededRandom(seed);
    this.marks = new Marks(seed, (what) => this.trace(what));
    this.#nowMs = from?.nowMs ?? 0;
    this.wallOffsetMs = from?.wallOffsetMs ?? 0;
  }

  /** The next read of the wall clock, and no other, is wrong by so much. */
  glitchWallClock(byMs: number): void {
    this.#glitchMs = byMs;
  }

  /** Reads the wall clock, which begins at a fixed date. */
  readWallMs(): number {
    const glitchMs = this.#glitchMs;
    this.#glitchMs = 0;
    return 1_700_000_000_000 + Math.floor(this.#nowMs) + this.wallOffsetMs + glitchMs;
  }

  get nowMs(): number {
    return this.#nowMs;
  }

  /** Hash of every event and everything traced so far: equal for equal runs. */
  get traceHash(): number {
    return this.#trace.hash;
  }

  /** Gets every line of the trace from now on. */
  set onTrace(onLine: (line: string) => void) {
    this.#trace.onLine = onLine;
  }

  /** Adds to the trace, at the present step. */
  trace(what: string): void {
    this.#trace.add(this.events, this.#nowMs, what);
  }

  /** Runs `run` after `delayMs` of virtual time. `what` names the event in the trace. */
  schedule(delayMs: number, run: () => void, what = "timer"): Cancel {
    return this.scheduleAt(this.#nowMs + Math.max(0, delayMs), run, what);
  }

  /**
   * Runs `run` at a time that is not before now. Events of exactly one time keep their order, which
   * a delay cannot promise: sums differ in their last bit.
   */
  scheduleAt(atMs: number, run: () => void, what: string): Cancel {
    const event: Event = { atMs, sequence: this.#sequence++, what, run, cancelled: false };
    this.#queue.push(event);
    return () => {
      event.cancelled = true;
    };
  }

  /**
   * Runs events until `done` says so. Throws when the queue runs dry or `limitMs` of virtual time
   * pass first: something waits for what will never happen.
   */
  async runUntil(done: () => boolean, limitMs = 3_600_000): Promise<void> {
    const endMs = this.#nowMs + limitMs;
    await turn();
    this.#checkPromises();
    while (!done()) {
      if (this.#nowMs > endMs) throw new Error(`not done after ${limitMs} ms of virtual time`);
      await this.runOne();
    }
  }

  /**
   * Runs the next event, and everything that follows from it at once. Throws when there is none,
   * and when an `always` of the run does not hold.
   */
  async runOne(): Promise<void> {
    for (;;) {
      const event = this.#queue.pop();
      if (event === undefined) throw new Error(`deadlock at ${this.#nowMs} ms: no event is left`);
      if (event.cancelled) continue;
      this.#nowMs = event.atMs;
      this.events += 1;
      this.#trace.add(this.events, event.atMs, event.what);
      event.run();
      await turn();
      this.#checkPromises();
      return;
    }
  }

  /** Runs a promise to its end. */
  async run<T>(work: Promise<T>, limitMs?: number): Promise<T> {
    let settled = false;
    const watch = work.then(
      () => {
        settled = true;
      },
      () => {
        settled = true;
      },
    );
    await this.runUntil(() => settled, limitMs);
    await watch;
    return work;
  }

  #checkPromises(): void {
    const { broken } = this.marks;
    if (broken !== undefined) throw new Error(`broken at step ${this.events}: ${broken}`);
  }
}

/**
 * One life of a simulated process. What it schedules, and what comes from outside through `run`,
 * stands still during a pause and never happens after a kill.
 */
export class Incarnation {
  readonly #kernel: Kernel;
  readonly #name: string;
  readonly #atKill = new Set<() => void>();
  /** What came during a pause, in order. */
  #backlog: (() => void)[] = [];
  #alive = true;
  #paused = false;

  /** `name` is for the trace. */
  constructor(kernel: Kernel, name = "process") {
    this.#kernel = kernel;
    this.#name = name;
  }

  get alive(): boolean {
    return this.#alive;
  }

  /** SIGKILL. What the operating system does about it, such as closing connections, follows. */
  kill(): void {
    if (!this.#alive) return;
    this.#kernel.trace(`kill ${this.#name}`);
    this.#alive = false;
    this.#backlog = [];
    for (const undo of this.#atKill) undo();
    this.#atKill.clear();
  }

  /** SIGSTOP: the process stands still. Its connections stay open, and peers hear nothing. */
  pause(): void {
    if (!this.#alive || this.#paused) return;
    this.#kernel.trace(`pause ${this.#name}`);
    this.#paused = true;
  }

  /** SIGCONT: what came meanwhile happens now, in its order, an event each. */
  resume(): void {
    if (!this.#paused) return;
    this.#kernel.trace(`resume ${this.#name}`);
    this.#paused = false;
    this.#catchUp();
  }

  /** Runs `undo`, as the operating system, when the process is killed. Returns how to forget it. */
  whenKilled(undo: () => void): Cancel {
    this.#atKill.add(undo);
    return () => void this.#atKill.delete(undo);
  }

  /** Runs what comes from outside now, after a pause, or never. */
  run(what: () => void): void {
    if (!this.#alive) return;
    if (this.#paused || this.#backlog.length > 0) this.#backlog.push(what);
    else what();
  }

  /** Like the kernel's, in the life of the process. */
  schedule(delayMs: number, run: () => void, what = "timer"): Cancel {
    let cancelled = false;
    const due = (): void => {
      if (!cancelled) run();
    };
    const cancel = this.#kernel.schedule(delayMs, () => this.run(due), `${this.#name}: ${what}`);
    return () => {
      cancelled = true;
      cancel();
    };
  }

  /** The process's clock. */
  clock(): Clock {
    const kernel = this.#kernel;
    return {
      monoMs: () => kernel.nowMs,
      wallMs: () => kernel.readWallMs(),
      timer: (ms, fn) => this.schedule(ms, fn),
      sleep: (ms, signal) =>
        new Promise((resolve, reject) => {
          if (signal?.aborted === true) {
            reject(signal.reason);
            return;
          }
          const onAbort = (): void => {
            cancel();
            reject(signal?.reason);
          };
          const cancel = this.schedule(ms, () => {
            signal?.removeEventListener("abort", onAbort);
            resolve();
          });
          signal?.addEventListener("abort", onAbort, { once: true });
        }),
      defer: (fn) => void this.schedule(0, fn, "defer"),
    };
  }

  /** One event for each thing that came during the pause, unless another pause begins. */
  #catchUp(): void {
    this.#kernel.schedule(
      0,
      () => {
        if (this.#paused) return;
        this.#backlog.shift()?.();
        if (this.#backlog.length > 0) this.#catchUp();
      },
      `${this.#name}: catch up`,
    );
  }
}
