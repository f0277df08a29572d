/** Work that is done later, unless the directory is closed first; the next opening does it then. */
import type { Cancel, Clock, Logger } from "@millrace/env";

export class DelayedTasks {
  readonly #clock: Clock;
  readonly #logger: Logger;
  readonly #cancels = new Set<Cancel>();

  constructor(clock: Clock, logger: Logger) {
    this.#clock = clock;
    this.#logger = logger;
  }

  /** Runs `work` once after `ms`; a failure is logged under `what`. */
  add(ms: number, what: string, work: () => Promise<void>): void {
    const cancel = this.#clock.timer(ms, () => {
      this.#cancels.delete(cancel);
      work().catch((thrown: unknown) => this.#logger.warn({ err: thrown }, `${what} failed`));
    });
    this.#cancels.add(cancel);
  }

  close(): void {
    for (const cancel of this.#cancels) cancel();
    this.#cancels.clear();
  }
}
