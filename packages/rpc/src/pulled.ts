/** The reading half of a stream, the same for every carrier: messages are pulled, and whoever waits is woken. */
import type { MillraceError } from "@millrace/errors";
import { Waiters } from "./waiters.ts";

export abstract class Pulled<In> {
  /** What reads reject with once everything received is read. */
  protected failure: MillraceError | undefined;
  /** The peer has ended its side. */
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
