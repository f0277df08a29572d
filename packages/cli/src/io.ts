/** What a command sees of the process, so that tests can stand in for it. */
import type { Readable, Writable } from "node:stream";
import { ErrorCode, MillraceError } from "@millrace/errors";

export interface Io {
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborted by an interrupt. */
  readonly signal: AbortSignal;
  /** True when somebody watches stderr. */
  readonly progress: boolean;
}

/** Exit codes: what interfaces.md promises. */
export const exitCodes = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const;

/** The reader of stdout went away: not an error, and nothing more to do. */
export class ClosedPipe extends Error {
  override readonly name = "ClosedPipe";
}

/** Writes with back-pressure. Throws ClosedPipe when the reader is gone. */
export const write = (stream: Writable, data: Uint8Array | string): Promise<void> =>
  new Promise((resolve, reject) => {
    if (stream.destroyed) {
      reject(new ClosedPipe());
      return;
    }
    stream.write(data, (error) => {
      if (error === null || error === undefined) resolve();
      else reject("code" in error && error.code === "EPIPE" ? new ClosedPipe() : error);
    });
  });

/** Wrong usage: exit code 2. */
export class UsageError extends MillraceError {
  constructor(message: string) {
    super(ErrorCode.INVALID_REQUEST, message);
  }
}

/** A whole number of a flag. Throws UsageError. */
export const wholeNumber = (flag: string, text: string, min: number, max: number): number => {
  const value = Number(text);
  if (/^-?\d+$/.test(text) && value >= min && value <= max) return value;
  throw new UsageError(`${flag} ${text}: use a whole number from ${min} to ${max}`);
};
