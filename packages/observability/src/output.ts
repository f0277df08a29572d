/**
 * Where log lines go. Logging must neither block the process nor end it: a reader that is slow
 * costs lines, a reader that is gone costs all further lines, and both are counted.
 */
import { fstatSync } from "node:fs";
import type { Writable } from "node:stream";
import { pino } from "pino";

/** Bytes of lines that wait for a slow reader; further lines are dropped. */
export const logQueueBytesMax = 1024 * 1024;

/** A destination of lines. `write` never throws and never waits. */
export interface LogOutput {
  write(line: string): void;
  /** Resolves once everything is written, or after `timeoutMs`. */
  flush(timeoutMs: number): Promise<void>;
  /** Lines that were dropped so far. */
  readonly droppedLines: number;
}

/** The part of a stream that an output needs. */
type Target = Pick<Writable, "write" | "on" | "writableLength">;

/** Pipes, sockets and terminals. Node's own streams over pipes do not block. */
class StreamOutput implements LogOutput {
  readonly #target: Target;
  #gone = false;
  #dropped = 0;
  #droppedSinceNotice = 0;

  constructor(target: Target) {
    this.#target = target;
    // EPIPE or EIO: the reader is gone for good.
    target.on("error", () => {
      this.#gone = true;
    });
    target.on("drain", () => this.#notice());
  }

  get droppedLines(): number {
    return this.#dropped;
  }

  write(line: string): void {
    if (this.#gone || this.#target.writableLength + line.length > logQueueBytesMax) {
      this.#dropped += 1;
      this.#droppedSinceNotice += 1;
      return;
    }
    this.#target.write(line);
  }

  async flush(timeoutMs: number): Promise<void> {
    const endMs = performance.now() + timeoutMs;
    while (!this.#gone && this.#target.writableLength > 0 && performance.now() < endMs) {
      await new Promise<void>((resolve) => {
        setTimeout(resolve, 5);
      });
    }
  }

  /** The reader is back: say what it has missed. */
  #notice(): void {
    const lines = this.#droppedSinceNotice;
    if (lines === 0 || this.#gone) return;
    this.#droppedSinceNotice = 0;
    const time = new Date().toISOString();
    const msg = "log lines were dropped because they were not read in time";
    this.#target.write(`${JSON.stringify({ level: "warn", time, lines, msg })}\n`);
  }
}

/** Files: written in the thread pool, which a file does not block for long. */
class FileOutput implements LogOutput {
  readonly #file: ReturnType<typeof pino.destination>;
  #dropped = 0;

  constructor(fd: number) {
    this.#file = pino.destination({ dest: fd, sync: false, maxLength: logQueueBytesMax });
    // Lines that cannot be written stay in the queue; what the queue cannot hold is counted.
    this.#file.on("error", () => {});
    this.#file.on("drop", () => {
      this.#dropped += 1;
    });
  }

  get droppedLines(): number {
    return this.#dropped;
  }

  write(line: string): void {
    this.#file.write(line);
  }

  flush(timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const timer = setTimeout(resolve, timeoutMs);
      this.#file.flush(() => {
        clearTimeout(timer);
        resolve();
      });
    });
  }
}

/** An output over any stream. */
export const streamOutput = (target: Target): LogOutput => new StreamOutput(target);

/** The process's standard output. From now on, errors of standard output and error end nothing. */
export const standardOutput = (): LogOutput => {
  // There is nowhere left to tell it.
  process.stderr.on("error", () => {});
  if (fstatSync(1).isFile()) return new FileOutput(1);
  return streamOutput(process.stdout);
};
