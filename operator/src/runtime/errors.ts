/** What errors of an API server mean to those who asked. */
import { ApiError } from "./kubernetes.ts";

const hasStatus = (error: unknown, status: number): boolean =>
  error instanceof ApiError && error.status === status;

export const isConflict = (error: unknown): boolean => hasStatus(error, 409);
export const isNotFound = (error: unknown): boolean => hasStatus(error, 404);
/** A resource version, or a page of a list, that the server does not have any more. */
export const isExpired = (error: unknown): boolean => hasStatus(error, 410);

/** Goes on failing until somebody changes the object: waiting does not help. */
export class TerminalError extends Error {
  override readonly name = "TerminalError";
  /** CamelCase, for a condition. */
  readonly reason: string;

  constructor(reason: string, message: string, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.reason = reason;
  }
}

/** The request itself is wrong: bad, of a method or media type that is not served, invalid. */
const terminalStatuses: ReadonlySet<number> = new Set([400, 405, 413, 415, 422]);

/** The error as one that no repetition mends; undefined for all others. */
export const terminalOf = (error: unknown): TerminalError | undefined => {
  if (error instanceof TerminalError) return error;
  if (!(error instanceof ApiError) || !terminalStatuses.has(error.status)) return undefined;
  return new TerminalError(error.reason || "Refused", error.message, error);
};

/** What the server asks to wait, milliseconds; 0 where it asks nothing. */
export const retryAfterMs = (error: unknown): number =>
  error instanceof ApiError ? (error.retryAfterMs ?? 0) : 0;

/** A short word for a label of metrics: the status, or why there was none. */
export const statusLabel = (error: unknown): string => {
  if (error instanceof ApiError) return error.status === 0 ? "none" : String(error.status);
  return "error";
};

export const messageOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);
