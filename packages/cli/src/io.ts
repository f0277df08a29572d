/** The process as commands see it, so that tests can replace it. */
import type { Readable, Writable } from "node:stream";
import { styleText } from "node:util";
import { digitsText, ErrorCode, MillraceError } from "@millrace/errors";

export interface Io {
  readonly stdin: Readable;
  readonly stdout: Writable;
  readonly stderr: Writable;
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Aborted by SIGINT, SIGTERM and SIGHUP; the reason is an `Interrupted`. */
  readonly signal: AbortSignal;
  /** True when stderr is a terminal. */
  readonly progress: boolean;
  /** True when stdout is a terminal. */
  readonly screen: boolean;
  /** Columns of the terminal; Infinity without one. */
  readonly columns: () => number;
}

/** Whether a person types the input. */
export const isTyped = ({ stdin }: Io): boolean => "isTTY" in stdin && stdin.isTTY === true;

/** Whether a terminal is there, and wants colours (no-color.org). */
const wantsColour = ({ env }: Io, isTerminal: boolean): boolean =>
  isTerminal && !env["NO_COLOR"] && env["TERM"] !== "dumb";

/** Text for stdout or stderr, in a colour where somebody sees it. */
export const styled = (
  io: Io,
  stream: "stdout" | "stderr",
  style: "bold" | "red" | "yellow",
  text: string,
): string =>
  wantsColour(io, stream === "stdout" ? io.screen : io.progress)
    ? styleText(style, text, { validateStream: false })
    : text;

/** `1 record`, `2 records`. */
export const counted = (count: number, one: string, many = `${one}s`): string =>
  `${count} ${count === 1 ? one : many}`;

/** Exit codes that scripts may rely on. A signal ends with 128 and its number. */
export const exitCodes = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const;

/** A signal asked the command to end. */
export class Interrupted extends Error {
  override readonly name = "Interrupted";
  readonly exitCode: number;

  constructor(exitCode: number) {
    super("interrupted");
    this.exitCode = exitCode;
  }
}

/** Exit code of a command whose signal was aborted. */
export const interruptCode = (signal: AbortSignal): number =>
  signal.reason instanceof Interrupted ? signal.reason.exitCode : exitCodes.interrupted;

/** Settles as `work` does, or rejects with Interrupted as soon as the signal is aborted. */
export const interruptible = <T>(signal: AbortSignal, work: Promise<T>): Promise<T> =>
  new Promise((resolve, reject) => {
    const onAbort = (): void => reject(new Interrupted(interruptCode(signal)));
    if (signal.aborted) onAbort();
    signal.addEventListener("abort", onAbort, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener("abort", onAbort));
  });

/** The reader of stdout went away. */
export class ClosedPipe extends Error {
  override readonly name = "ClosedPipe";
}

const closedCodes: ReadonlySet<unknown> = new Set(["EPIPE", "ERR_STREAM_DESTROYED"]);

const writeError = (error: Error): Error => {
  const code = "code" in error ? error.code : undefined;
  if (closedCodes.has(code)) return new ClosedPipe();
  return new MillraceError(
    code === "ENOSPC" ? ErrorCode.DISK_FULL : ErrorCode.UNAVAILABLE,
    `the output cannot be written (${error.message}): check where it goes`,
    { cause: error },
  );
};

const write = (stream: Writable, data: Uint8Array | string): Promise<void> =>
  new Promise((resolve, reject) => {
    if (stream.destroyed) {
      reject(new ClosedPipe());
      return;
    }
    stream.write(data, (error) => {
      if (error === null || error === undefined) resolve();
      else reject(writeError(error));
    });
  });

/**
 * Writes the result of a command to stdout, with back-pressure. Throws ClosedPipe when the reader
 * is gone, which ends the command with 0: for commands whose result is that output. MillraceError.
 */
export const printResult = (io: Io, data: Uint8Array | string): Promise<void> =>
  write(io.stdout, data);

/** Writes to stdout where the exit code is the result: a reader that is gone changes nothing. */
export const printIfRead = async (io: Io, data: string): Promise<void> => {
  try {
    await write(io.stdout, data);
  } catch (thrown) {
    if (!(thrown instanceof ClosedPipe)) throw thrown;
  }
};

/**
 * Tells the user on stderr. Never rejects: whether a line can be written, and whether anybody reads
 * it, neither ends the work nor changes the exit code.
 */
export const tell = (io: Io, text: string): Promise<void> => write(io.stderr, text).catch(() => {});

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
  const range =
    max === Number.MAX_SAFE_INTEGER ? `${min} on` : `${digitsText(min)} to ${digitsText(max)}`;
  throw new UsageError(`${flag} ${text}: use a whole number from ${range}`);
};

/** Collects the values of a flag that may be repeated. */
export const collect = (value: string, all: readonly string[] = []): string[] => [...all, value];
