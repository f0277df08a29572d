/** Waiting for other processes during a start: for the store to answer, for a record to be made. */
import type { Clock, Logger } from "@millrace/env";
import { MillraceError } from "@millrace/errors";

/** Pause between two attempts, ms. */
const pauseMs = 500;

export interface PatienceOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  /** What is waited for, for people: "waiting for the metadata store". */
  readonly waiting: string;
  /** Told once the first attempt has failed. */
  readonly onWaiting?: ((reason: string) => void) | undefined;
  /** Ends the wait with its reason. */
  readonly signal?: AbortSignal | undefined;
}

/**
 * Asks again until there is an answer: after undefined, and after an error that may pass. Every
 * attempt has the deadline of its own call; only `signal` bounds the whole.
 */
export const untilAnswered = async <T>(
  ask: () => Promise<T | undefined>,
  { clock, logger, waiting, onWaiting, signal }: PatienceOptions,
): Promise<T> => {
  let isTold = false;
  for (;;) {
    signal?.throwIfAborted();
    let err: MillraceError | undefined;
    try {
      const answer = await ask();
      if (answer !== undefined) return answer;
    } catch (thrown) {
      err = MillraceError.from(thrown);
      if (!err.spec.retriable) throw thrown;
    }
    if (!isTold) logger.warn(err === undefined ? {} : { err }, waiting);
    isTold = true;
    onWaiting?.(err === undefined ? waiting : `${waiting}: ${err.message}`);
    await clock.sleep(pauseMs, signal);
  }
};
