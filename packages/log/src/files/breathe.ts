/**
 * Pauses of long computations, so that none holds the event loop for more than some milliseconds.
 */
import type { Clock } from "@millrace/env";

/** What pauses need of a clock. */
export type Pauses = Pick<Clock, "defer">;

/** For tools that nobody else shares a process with. */
export const noPauses: Pauses = { defer: (fn) => fn() };

/** Lets everything that is ready run first. */
export const breathe = (clock: Pauses): Promise<void> =>
  new Promise((resolve) => {
    clock.defer(resolve);
  });

/**
 * A clock for computations that pause at once, such as a start that loads 32 partitions: each goes
 * on in a turn of its own, because together they would take too long. Not beside other work, whose
 * turns all of them would wait for.
 */
export const inTurns = <C extends Pauses>(clock: C): C => {
  const waiting: (() => void)[] = [];
  const goOn = (): void => {
    waiting.shift()?.();
    if (waiting.length > 0) clock.defer(goOn);
  };
  const defer = (fn: () => void): void => {
    waiting.push(fn);
    if (waiting.length === 1) clock.defer(goOn);
  };
  return { ...clock, defer };
};

/** Counts the steps of a long computation, and knows when others must run. */
export class Pace {
  readonly #clock: Pauses;
  readonly #perTurn: number;
  #steps = 0;

  /** A pause is due after `perTurn` steps. */
  constructor(clock: Pauses, perTurn: number) {
    this.#clock = clock;
    this.#perTurn = perTurn;
  }

  /** Counts steps; a large one may count for several. Returns whether a pause is due. */
  took(steps = 1): boolean {
    this.#steps += steps;
    return this.#steps >= this.#perTurn;
  }

  /** Others ran, such as during a read: counting begins anew. */
  rested(): void {
    this.#steps = 0;
  }

  get due(): boolean {
    return this.#steps >= this.#perTurn;
  }

  pause(): Promise<void> {
    this.rested();
    return breathe(this.#clock);
  }
}

/** Runs a computation in steps, with a pause after each. */
export const inSteps = async <T>(
  clock: Pauses,
  steps: Generator<undefined, T, undefined>,
): Promise<T> => {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
    await breathe(clock);
  }
};

/** Runs a computation in steps at once: for small ones, and for tests. */
export const atOnce = <T>(steps: Generator<undefined, T, undefined>): T => {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
};
