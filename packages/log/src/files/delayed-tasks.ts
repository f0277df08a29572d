/** Work that is done later, unless the directory is closed first; the next opening does it then. */
import type { Cancel, Clock, Logger } from "@millrace/env";

export class DelayedTasks {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #cancels = new Set<Cancel>();
  readonly #running = new Set<Promise<void>>();
  #closed = false;

  constructor(clock: Clock, logger: Logger) {
    this.#clock = clock;
    this.#logger = logger;
  }

  /** Runs `work` once after `ms`; a failure is logged under `what`. */
  add(ms: number, what: string, work: () => Promise<void>): void {
    if (this.#closed) return;
    const cancel = this.#clock.timer(ms, () => {
      this.#cancels.delete(cancel);
      const running = work()
        .catch((thrown: unknown) => this.#logger.warn({ err: thrown }, `${what} failed`))
        .finally(() => this.#running.delete(running));
      this.#running.add(running);
    });
    this.#cancels.add(cancel);
  }

  /** Nothing begins any more. Resolves once what has begun is over: the next process may follow. */
  async close(): Promise<void> {
    this.#closed = true;
    for (const cancel of this.#cancels) cancel();
    this.#cancels.clear();
    await Promise.all(this.#running);
  }
}
