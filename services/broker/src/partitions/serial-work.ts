/** Work that runs once at a time, and again by itself after a failure. */
import type { Cancel, Clock } from "@millrace/env";

/** Pause after a failure, ms; doubles with each one that follows. */
export const retryMsMin = 500;
export const retryMsMax = 60_000;

interface Running {
  readonly kind: "running";
  /** Asked for once more meanwhile. */
  again: boolean;
}

type WorkState =
  | { readonly kind: "idle" }
  | Running
  /** The last run failed. */
  | { readonly kind: "waiting"; readonly cancel: Cancel }
  | { readonly kind: "closed" };

/** What is to be done. */
export interface Work {
  run(): Promise<void>;
  /** A run failed, and the next one begins in `retryMs` unless it is asked for earlier. */
  failed(thrown: unknown, retryMs: number): void;
}

const idle: WorkState = { kind: "idle" };
const closed: WorkState = { kind: "closed" };

export class SerialWork {
  readonly #clock: Clock;
  readonly #work: Work;
  #state: WorkState = idle;
  #done: Promise<void> | undefined;
  /** Runs in a row that failed. */
  #failures = 0;

  constructor(clock: Clock, work: Work) {
    this.#clock = clock;
    this.#work = work;
  }

  /** Resolves when nothing runs any more; undefined when nothing does. A retry is not awaited. */
  get running(): Promise<void> | undefined {
    return this.#state.kind === "running" ? this.#done : undefined;
  }

  /** There is something to do: runs now, or right after the run that is under way. */
  request(): void {
    const state = this.#state;
    if (state.kind === "closed") return;
    if (state.kind === "running") {
      state.again = true;
      return;
    }
    if (state.kind === "waiting") state.cancel();
    const running: Running = { kind: "running", again: false };
    this.#state = running;
    this.#done = this.#runAll(running);
  }

  /** No run begins any more; one that is under way goes on to its end, and tells nobody. */
  close(): void {
    if (this.#state.kind === "waiting") this.#state.cancel();
    this.#state = closed;
  }

  async #runAll(running: Running): Promise<void> {
    let failed: { readonly thrown: unknown } | undefined;
    do {
      running.again = false;
      failed = await this.#work.run().then(
        () => undefined,
        (thrown: unknown) => ({ thrown }),
      );
      if (this.#state !== running) return;
    } while (running.again);
    this.#state = idle;
    this.#done = undefined;
    if (failed === undefined) this.#failures = 0;
    else this.#retryLater(failed.thrown);
  }

  #retryLater(thrown: unknown): void {
    const retryMs = Math.min(retryMsMax, retryMsMin * 2 ** this.#failures);
    this.#failures += 1;
    this.#state = { kind: "waiting", cancel: this.#clock.timer(retryMs, () => this.request()) };
    this.#work.failed(thrown, retryMs);
  }
}
