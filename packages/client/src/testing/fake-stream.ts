/** The client's side of a stream, without a transport. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { ClientStream } from "@millrace/rpc";

/** The client's side of a stream whose server is a function. */
export class FakeStream<Out, In> implements ClientStream<Out, In> {
  readonly #onWrite: (message: Out) => void;
  readonly #queue: In[] = [];
  #wake: (() => void) | undefined;
  #error: unknown;
  over = false;

  constructor(onWrite: (message: Out) => void) {
    this.#onWrite = onWrite;
  }

  push(message: In): void {
    if (this.over) return;
    this.#queue.push(message);
    this.#wake?.();
  }

  tryRead(): In | undefined {
    return this.#queue.shift();
  }

  async read(): Promise<In | undefined> {
    for (;;) {
      if (this.#error !== undefined) throw this.#error;
      const next = this.#queue.shift();
      if (next !== undefined || this.over) return next;
      await new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
    }
  }

  write(message: Out): boolean {
    if (this.over) return false;
    setImmediate(() => {
      if (!this.over) this.#onWrite(message);
    });
    return true;
  }

  async drained(): Promise<void> {}

  queuedBytes(): number {
    return 0;
  }

  end(): void {
    this.over = true;
    this.#wake?.();
  }

  cancel(reason?: unknown): void {
    this.#error ??= reason ?? new MillraceError(ErrorCode.CANCELLED, "cancelled");
    this.end();
  }
}
