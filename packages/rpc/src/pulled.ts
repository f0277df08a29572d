/** The reading half of a stream, the same for every carrier: readers pull messages. */

import { Waiters } from "@millrace/env";
import type { MillraceError } from "@millrace/errors";

export abstract class Pulled<In> {
  /** Reads reject with this once everything received is read. */
  protected failure: MillraceError | undefined;
  /** The peer has half-closed. */
  protected ended = false;
  readonly #readers = new Waiters();

  abstract tryRead(): In | undefined;

  async read(): Promise<In | undefined> {
    for (;;) {
      const message = this.tryRead();
      if (message !== undefined) return message;
      if (this.failure !== undefined) throw this.failure;
      if (this.ended) return undefined;
      await this.#readers.wait();
    }
  }

  protected wakeReaders(): void {
    this.#readers.wake();
  }
}
