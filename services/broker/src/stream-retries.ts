/**
 * Keeps a stream to another process open: opens it anew whenever it ends, after a pause that grows
 * while it cannot be opened.
 */
import { MillraceError } from "@millrace/errors";
import { RetryPause, type RetryPauseOptions } from "./retry-pause.ts";

export interface StreamRetriesOptions extends RetryPauseOptions {
  /** One stream, from its opening to its end. Calls `opened` in between; rejects when it fails. */
  readonly attempt: (opened: () => void) => Promise<void>;
  /** Called for the first failure in a row. */
  readonly onFailure: (error: MillraceError) => void;
}

export class StreamRetries {
  readonly #options: StreamRetriesOptions;
  readonly #pause: RetryPause;
  #isStopped = false;

  constructor(options: StreamRetriesOptions) {
    this.#options = options;
    this.#pause = new RetryPause(options);
  }

  get isStopped(): boolean {
    return this.#isStopped;
  }

  /** Resolves after `stop`, once the last attempt has ended. Never rejects. */
  async run(): Promise<void> {
    const { attempt, onFailure } = this.#options;
    let failures = 0;
    while (!this.#isStopped) {
      let isOpened = false;
      const opened = (): void => {
        isOpened = true;
      };
      const failure = await attempt(opened).catch((thrown: unknown) => MillraceError.from(thrown));
      if (this.#isStopped) return;
      if (isOpened) failures = 0;
      if (failure !== undefined && failures === 0) onFailure(failure);
      await this.#pause.wait(failures);
      failures += 1;
    }
  }

  /** Ends the pause, and begins no other attempt. The caller ends the one that is under way. */
  stop(): void {
    this.#isStopped = true;
    this.#pause.end();
  }
}
