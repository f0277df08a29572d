/**
 * Keys that are to be worked at, each once at a time. A key that is added while it waits is in the
 * queue once; one that is added while it is worked at is worked at once more.
 */
import type { Cancel, Clock, Random } from "@millrace/env";
import { type BackoffOptions, backoffMs } from "./backoff.ts";
import { noRuntimeMetrics, type RuntimeMetrics } from "./metrics.ts";
import { RateLimit, type RateOptions } from "./rate-limit.ts";

/** What is to become of a key that was worked at. */
export type Outcome =
  | { readonly type: "done"; readonly requeueAfterMs?: number | undefined }
  /** To be tried again, by back-off and not within `notBeforeMs`. */
  | { readonly type: "retry"; readonly notBeforeMs?: number };

export interface QueueOptions {
  readonly name: string;
  readonly clock: Clock;
  readonly random: Random;
  readonly metrics?: RuntimeMetrics;
  /** Must not throw: what it throws counts as a retry. */
  work(key: string, failures: number): Promise<Outcome>;
  /** The queue was full, keys were refused, and there is room again. */
  onRoom?(): void;
  readonly concurrency?: number;
  readonly keysMax?: number;
  readonly backoff?: BackoffOptions;
  /** How soon a key that has failed may run again because it was added. */
  readonly retryGapMs?: number;
  /** Of retries of all keys together. */
  readonly retryRate?: RateOptions;
}

export const queueDefaults = {
  concurrency: 4,
  keysMax: 100_000,
  backoff: { minMs: 500, maxMs: 300_000 },
  retryGapMs: 1000,
  retryRate: { perSecond: 10, burst: 100 },
} as const;

type Entry =
  | { readonly state: "ready" }
  | { readonly state: "delayed"; readonly dueMs: number; readonly cancel: Cancel }
  | { readonly state: "active"; readonly isWantedAgain: boolean };

export class WorkQueue {
  readonly #options: QueueOptions & Required<Pick<QueueOptions, keyof typeof queueDefaults>>;
  readonly #metrics: RuntimeMetrics;
  readonly #retries: RateLimit;
  readonly #entries = new Map<string, Entry>();
  /** Keys in the state `ready`, oldest first. */
  readonly #ready = new Set<string>();
  readonly #failures = new Map<string, number>();
  /** Before when a key that has failed does not run again, whoever adds it. */
  readonly #earliestMs = new Map<string, number>();
  readonly #idle: (() => void)[] = [];
  #active = 0;
  #hasRefused = false;
  #state: "waiting" | "running" | "stopped" = "waiting";

  constructor(options: QueueOptions) {
    this.#options = { ...queueDefaults, ...options };
    this.#metrics = options.metrics ?? noRuntimeMetrics;
    this.#retries = new RateLimit(options.clock, this.#options.retryRate);
  }

  /** Keys in the queue, those that are worked at among them. */
  get size(): number {
    return this.#entries.size;
  }

  get active(): number {
    return this.#active;
  }

  /** Keys may be added before; nothing is worked at until now. */
  start(): void {
    if (this.#state === "waiting") this.#state = "running";
    this.#pump();
  }

  /** Begins nothing more. Resolves when what is worked at has ended. */
  stop(): Promise<void> {
    this.#state = "stopped";
    for (const entry of this.#entries.values()) if (entry.state === "delayed") entry.cancel();
    if (this.#active === 0) return Promise.resolve();
    return new Promise((resolve) => void this.#idle.push(resolve));
  }

  /** False where the queue is full. A key that failed a moment ago stays put off for a moment. */
  add(key: string): boolean {
    const earliestMs = this.#earliestMs.get(key);
    if (earliestMs === undefined) return this.addAfter(key, 0);
    return this.addAfter(key, earliestMs - this.#options.clock.monoMs());
  }

  /** As `add`, in a while. The earlier time counts for a key that waits already. */
  addAfter(key: string, ms: number): boolean {
    if (this.#state === "stopped") return false;
    const entry = this.#entries.get(key);
    if (entry === undefined && this.#entries.size >= this.#options.keysMax) {
      this.#hasRefused = true;
      this.#metrics.onOverflow(this.#options.name);
      return false;
    }
    if (entry?.state === "active") {
      this.#entries.set(key, { state: "active", isWantedAgain: true });
      return true;
    }
    if (entry?.state === "ready") return true;
    const dueMs = this.#options.clock.monoMs() + Math.max(0, ms);
    if (entry?.state === "delayed") {
      if (entry.dueMs <= dueMs) return true;
      entry.cancel();
    }
    this.#put(key, dueMs, ms);
    this.#pump();
    return true;
  }

  #put(key: string, dueMs: number, ms: number): void {
    if (ms > 0) {
      const cancel = this.#options.clock.timer(ms, () => this.#due(key));
      this.#entries.set(key, { state: "delayed", dueMs, cancel });
      return;
    }
    this.#entries.set(key, { state: "ready" });
    this.#ready.add(key);
  }

  #due(key: string): void {
    this.#entries.set(key, { state: "ready" });
    this.#ready.add(key);
    this.#pump();
  }

  #pump(): void {
    while (this.#state === "running" && this.#active < this.#options.concurrency) {
      const [key] = this.#ready;
      if (key === undefined) break;
      this.#ready.delete(key);
      this.#entries.set(key, { state: "active", isWantedAgain: false });
      this.#active += 1;
      void this.#work(key);
    }
    const delayed = this.#entries.size - this.#ready.size - this.#active;
    this.#metrics.onQueue(this.#options.name, this.#ready.size, delayed, this.#active);
  }

  async #work(key: string): Promise<void> {
    let outcome: Outcome = { type: "retry" };
    try {
      outcome = await this.#options.work(key, this.#failures.get(key) ?? 0);
    } catch {
      // The queue goes on; whoever gave it the work reports its errors.
    }
    const entry = this.#entries.get(key);
    this.#active -= 1;
    this.#entries.delete(key);
    this.#settle(key, outcome, entry?.state === "active" && entry.isWantedAgain);
    this.#pump();
    this.#tellOfRoom();
    if (this.#active === 0) for (const resolve of this.#idle.splice(0)) resolve();
  }

  #settle(key: string, outcome: Outcome, isWantedAgain: boolean): void {
    if (this.#state === "stopped") return;
    if (outcome.type === "retry") {
      this.#retry(key, outcome.notBeforeMs ?? 0);
      if (isWantedAgain) this.add(key);
      return;
    }
    this.#failures.delete(key);
    this.#earliestMs.delete(key);
    if (isWantedAgain) this.addAfter(key, 0);
    else if (outcome.requeueAfterMs !== undefined) this.addAfter(key, outcome.requeueAfterMs);
  }

  #retry(key: string, notBeforeMs: number): void {
    const { name, clock, random, backoff, retryGapMs } = this.#options;
    const failures = (this.#failures.get(key) ?? 0) + 1;
    this.#failures.set(key, failures);
    this.#earliestMs.set(key, clock.monoMs() + Math.max(retryGapMs, notBeforeMs));
    this.#metrics.onRetry(name);
    const ms = Math.max(backoffMs(backoff, failures, random), this.#retries.reserveMs());
    this.addAfter(key, Math.max(ms, notBeforeMs));
  }

  #tellOfRoom(): void {
    if (!this.#hasRefused || this.#entries.size > this.#options.keysMax / 2) return;
    this.#hasRefused = false;
    this.#options.onRoom?.();
  }
}
