/** Listeners of one partition: called when something that they may wait for has moved. */
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
