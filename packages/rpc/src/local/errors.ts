/** The errors of the in-memory carrier. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import { ConnectionError, type ConnectionTrouble } from "../connection-error.ts";

/** The call failed because of its connection. */
export const broken = (trouble: ConnectionTrouble, what: string): MillraceError =>
  new MillraceError(ErrorCode.UNAVAILABLE, `${what}: retry, or try another server`, {
    cause: new ConnectionError(trouble, what),
  });

/** The caller gave up. */
export const cancelled = (): MillraceError =>
  new MillraceError(ErrorCode.CANCELLED, "the peer cancelled the call, or its connection broke");

export const deadlinePassed = (): MillraceError =>
  new MillraceError(ErrorCode.DEADLINE_EXCEEDED, "the call's deadline passed: allow more time");

/** What an aborted signal says. */
export const abortError = (signal: AbortSignal | undefined): MillraceError =>
  signal?.reason instanceof MillraceError
    ? signal.reason
    : new MillraceError(ErrorCode.CANCELLED, "cancelled", { cause: signal?.reason });
