/** What a failed write tells about its outcome, and the time that a call may take. */
import type { Clock } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";

/** A write that may have happened, or may still happen. */
export const unknownOutcome = (message: string, cause?: unknown): MillraceError =>
  new MillraceError(ErrorCode.UNAVAILABLE, message, { facts: { outcome: "unknown" }, cause });

/** A call that did nothing, and never will. */
export const notDone = (message: string, cause?: unknown): MillraceError =>
  new MillraceError(ErrorCode.UNAVAILABLE, message, { facts: { outcome: "none" }, cause });

/** For calls on a closed store (`none`), and those that its closing cut short (`unknown`). */
export const storeClosed = (outcome: "none" | "unknown"): MillraceError =>
  new MillraceError(ErrorCode.CANCELLED, "the metadata store is closed: open it again", {
    facts: { outcome },
  });

/**
 * Whether a write that failed with this error may have happened, or may still happen. False only
 * when it certainly did not and never will.
 */
export const isOutcomeUnknown = (thrown: unknown): boolean =>
  !(thrown instanceof MillraceError) ||
  (thrown.spec.sideEffects && thrown.facts?.["outcome"] !== "none");

/** Settles as `work` does, or rejects with `late()` after `ms`. */
export const withTimeout = <T>(
  clock: Clock,
  ms: number,
  work: Promise<T>,
  late: () => Error,
): Promise<T> =>
  new Promise((resolve, reject) => {
    const cancel = clock.timer(ms, () => reject(late()));
    work.then(
      (value) => {
        cancel();
        resolve(value);
      },
      (thrown: unknown) => {
        cancel();
        reject(thrown);
      },
    );
  });

/** For a watch from a revision that the store has not reached. */
export const divergedError = (fromRevision: number, revision: number): MillraceError =>
  new MillraceError(
    ErrorCode.UNAVAILABLE,
    `the metadata store is at revision ${revision}, before ${fromRevision - 1} that was seen: ` +
      "it was restored, or is another one: list again",
  );
