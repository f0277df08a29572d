import type { Cancel, Clock } from "@millrace/env";

export interface LivenessContext {
  readonly clock: Clock;
  /** Longest time that the application may take before it asks for more, milliseconds. */
  readonly maxMs: number;
  /** Changes whenever the application gets on. */
  readonly progress: () => number;
  /** The application has nothing to do. */
  readonly isIdle: () => boolean;
  /** Two thirds of the time are over. */
  readonly onSlow: (sinceMs: number) => void;
  /** All of it is. Told once: start it again to go on. */
  readonly onStuck: (sinceMs: number) => void;
}

/** Looks in the time of the limit. */
const looks = 30;

/** Watches that the application gets on: signs of life alone would keep one that is stuck. */
export class Liveness {
  readonly #context: LivenessContext;
  #progress = 0;
  #sinceMs = 0;
  #warned = false;
  #cancel: Cancel = () => {};

  constructor(context: LivenessContext) {
    this.#context = context;
  }

  start(): void {
    this.#goesOn();
    this.#arm();
  }

  stop(): void {
    this.#cancel();
  }

  #arm(): void {
    const { clock, maxMs } = this.#context;
    this.#cancel();
    this.#cancel = clock.timer(Math.max(1, maxMs / looks), () => this.#look());
  }

  #look(): void {
    const { clock, isIdle, maxMs, onSlow, onStuck, progress } = this.#context;
    if (isIdle() || progress() !== this.#progress) this.#goesOn();
    const sinceMs = clock.monoMs() - this.#sinceMs;
    if (sinceMs >= maxMs) {
      onStuck(sinceMs);
      return;
    }
    if (sinceMs * 3 >= maxMs * 2 && !this.#warned) {
      this.#warned = true;
      onSlow(sinceMs);
    }
    this.#arm();
  }

  #goesOn(): void {
    this.#progress = this.#context.progress();
    this.#sinceMs = this.#context.clock.monoMs();
    this.#warned = false;
  }
}
