/**
 * The simulator's kernel: virtual time and one queue of events. Nothing happens but events, in the
 * order of (time, sequence), so the same seed gives the same run.
 */
import { setImmediate as turn } from "node:timers/promises";
import type { Cancel, Clock } from "@millrace/env";
import { SeededRandom } from "./random.ts";

interface Event {
  readonly atMs: number;
  readonly sequence: number;
  readonly run: () => void;
  cancelled: boolean;
}

const before = (a: Event, b: Event): boolean =>
  a.atMs < b.atMs || (a.atMs === b.atMs && a.sequence < b.sequence);

/** A binary heap of events. */
class EventQueue {
  readonly #heap: Event[] = [];

  push(event: Event): void {
    const heap = this.#heap;
    heap.push(event);
    let at = heap.length - 1;
    while (at > 0) {
      const parent = (at - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || before(above, event)) break;
      heap[at] = above;
      at = parent;
    }
    heap[at] = event;
  }

  pop(): Event | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let at = 0;
    for (;;) {
      const left = heap[2 * at + 1];
      const right = heap[2 * at + 2];
      if (left === undefined) break;
      const goRight = right !== undefined && before(right, left);
      const child = goRight ? right : left;
      if (before(last, child)) break;
      heap[at] = child;
      at = 2 * at + (goRight ? 2 : 1);
    }
    heap[at] = last;
    return first;
  }
}

/** FNV-1a over text, for traces. */
const mix = (hash: number, text: string): number => {
  let mixed = hash;
  for (let i = 0; i < text.length; i += 1) {
    mixed = Math.imul(mixed ^ text.charCodeAt(i), 0x01000193);
  }
  return mixed >>> 0;
};

export class Kernel {
  readonly random: SeededRandom;
  readonly #queue = new EventQueue();
  #nowMs = 0;
  #sequence = 0;
  #hash = 0x811c9dc5;
  #glitchMs = 0;
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

  /** Hash of everything traced so far: equal for equal runs. */
  get traceHash(): number {
    return this.#hash;
  }

  /** Adds to the trace. */
  trace(what: string): void {
    this.#hash = mix(this.#hash, `${this.#nowMs} ${what}\n`);
  }

  /** Runs `run` after `delayMs` of virtual time. */
  schedule(delayMs: number, run: () => void): Cancel {
    const atMs = this.#nowMs + Math.max(0, delayMs);
    const event: Event = { atMs, sequence: this.#sequence++, run, cancelled: false };
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
    while (!done()) {
      if (this.#nowMs > endMs) throw new Error(`not done after ${limitMs} ms of virtual time`);
      await this.runOne();
    }
  }

  /**
   * Runs the next event, and everything that follows from it at once. Throws when there is none.
   */
  async runOne(): Promise<void> {
    for (;;) {
      const event = this.#queue.pop();
      if (event === undefined) throw new Error(`deadlock at ${this.#nowMs} ms: no event is left`);
      if (event.cancelled) continue;
      this.#nowMs = event.atMs;
      this.events += 1;
      event.run();
      await turn();
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
}

/** One life of a simulated process. After `kill` none of its callbacks runs any more. */
export class Incarnation {
  readonly #kernel: Kernel;
  #alive = true;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
  }

  get alive(): boolean {
    return this.#alive;
  }

  kill(): void {
    this.#alive = false;
  }

  /** Like the kernel's, but dies with the process. */
  schedule(delayMs: number, run: () => void): Cancel {
    return this.#kernel.schedule(delayMs, () => {
      if (this.#alive) run();
    });
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
      defer: (fn) => void this.schedule(0, fn),
    };
  }
}
