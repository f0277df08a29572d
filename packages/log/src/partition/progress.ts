/** Listeners of one partition: called when something that they may wait for has moved. */
import type { Logger } from "@millrace/env";

/** Tells that a callback or a listener of a partition threw. */
export const mistakeOf =
  (logger: Logger, of: { readonly topic: string; readonly partition: number }) =>
  (thrown: unknown): void => {
    const { topic, partition } = of;
    const text = "a callback of the log threw: this is a mistake in the server";
    logger.error({ topic, partition, err: thrown }, text);
  };

export class Progress {
  readonly #listeners = new Set<() => void>();
  readonly #onThrown: (thrown: unknown) => void;
  #notifying = false;
  #again = false;

  /** `onThrown`: a listener threw, which is a mistake of its own. */
  constructor(onThrown: (thrown: unknown) => void) {
    this.#onThrown = onThrown;
  }

  /** Returns how to stop. */
  add(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Calls every listener. They may raise the high watermark: then it calls them once more. */
  notify(): void {
    if (this.#notifying) {
      this.#again = true;
      return;
    }
    this.#notifying = true;
    do {
      this.#again = false;
      for (const listener of this.#listeners) {
        try {
          listener();
        } catch (thrown) {
          this.#onThrown(thrown);
        }
      }
    } while (this.#again);
    this.#notifying = false;
  }
}
