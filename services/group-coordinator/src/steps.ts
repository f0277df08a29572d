/** Computations in steps, so that none of a large group holds the event loop for long. */

/** Yields where others may run. */
export type Steps<T> = Generator<undefined, T, undefined>;

/**
 * Units of work in a step. A unit is a look at a partition, a member or an edge, up to a
 * microsecond with what hangs on it.
 */
const unitsPerStep = 4_000;

/** Counts work, and knows when a step is over. */
export class Pace {
  #left = unitsPerStep;

  /** Counts units. Returns whether the step is over, which begins the next one. */
  took(units = 1): boolean {
    this.#left -= units;
    if (this.#left > 0) return false;
    this.#left = unitsPerStep;
    return true;
  }
}

/** Runs a computation at once. */
export const atOnce = <T>(steps: Steps<T>): T => {
  for (;;) {
    const step = steps.next();
    if (step.done === true) return step.value;
  }
};
