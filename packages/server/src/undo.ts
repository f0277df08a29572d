/** Steps that undo a start, run in reverse order. */
import type { Logger } from "@millrace/env";

export class Undo {
  readonly #steps: (() => void | Promise<void>)[] = [];

  add(step: () => void | Promise<void>): void {
    this.#steps.push(step);
  }

  /** Runs every step, also after one that failed. Never rejects. */
  async run(logger: Logger): Promise<void> {
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await step();
      } catch (thrown) {
        logger.error({ err: thrown }, "a step of stopping failed");
      }
    }
  }
}

/** Runs a start. One that fails is undone, and rejects with its own error. */
export const startOrUndo = async <T>(
  logger: Logger,
  start: (undo: Undo) => Promise<T>,
): Promise<T> => {
  const undo = new Undo();
  try {
    return await start(undo);
  } catch (thrown) {
    await undo.run(logger);
    throw thrown;
  }
};
