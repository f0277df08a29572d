/**
 * Keeps a stream to another process open: opens it anew whenever it ends, after a pause that grows
 * while it cannot be opened.
 */
import type { Clock, Random } from "@millrace/env";
import { MillraceError } from "@millrace/errors";

export interface StreamRetriesOptions {
  readonly clock: Clock;
  readonly random: Random;
  /** Longest pause, ms, before it is spread. */
  readonly pauseMsMax: number;
  /** One stream, from its opening to its end. Calls `opened` in between; rejects when it fails. */
  readonly attempt: (opened: () => void) => Promise<void>;
  /** Called for the first failure in a row. */
  readonly onFailure: (error: MillraceError) => void;
}

/** Pause after the first failure, ms; doubled with each one in a row. */
const pauseMsMin = 50;

/** A pause after some failures in a row, spread so that peers do not retry together. */
export const pauseMsAfter = (failures: number, msMax: number, random: Random): number =>
  Math.min(msMax, pauseMsMin * 2 ** Math.min(failures, 10)) * (0.5 + random.float());

export class StreamRetries {
  readonly #options: StreamRetriesOptions;
  #isStopped = false;
  #wake: () => void = () => {};

  constructor(options: StreamRetriesOptions) {
    this.#options = options;
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
      await this.#pause(failures);
      failures += 1;
    }
  }

  /** Ends the pause, and begins no other attempt. The caller ends the one that is under way. */
  stop(): void {
    this.#isStopped = true;
    this.#wake();
  }

  async #pause(failures: number): Promise<void> {
    const { clock, pauseMsMax, random } = this.#options;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#wake = resolve;
    const cancel = clock.timer(pauseMsAfter(failures, pauseMsMax, random), resolve);
    await promise;
    cancel();
  }
}
