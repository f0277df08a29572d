/** Limits the work that all streams together do in one turn of the event loop. */

/** Grants `perTurn` pieces of work per turn, in the order in which they were asked for. */
export class TurnLimiter {
  readonly #perTurn: number;
  readonly #defer: (run: () => void) => void;
  #left: number;
  #waiting: (() => void)[] = [];
  #deferred = false;

  /** `defer` runs its argument in a later turn of the event loop. */
  constructor(perTurn: number, defer: (run: () => void) => void) {
    this.#perTurn = perTurn;
    this.#left = perTurn;
    this.#defer = defer;
  }

  /** Undefined: start now. A promise: start when it resolves. */
  take(): Promise<void> | undefined {
    this.#deferNext();
    if (this.#left > 0 && this.#waiting.length === 0) {
      this.#left -= 1;
      return undefined;
    }
    return new Promise((resolve) => {
      this.#waiting.push(resolve);
    });
  }

  #deferNext(): void {
    if (this.#deferred) return;
    this.#deferred = true;
    this.#defer(() => this.#next());
  }

  #next(): void {
    this.#deferred = false;
    const now = this.#waiting.splice(0, this.#perTurn);
    this.#left = this.#perTurn - now.length;
    if (now.length > 0) this.#deferNext();
    for (const resolve of now) resolve();
  }
}
