/**
 * The one writer of a terminal: lines, output, and one status line at the bottom that is written
 * again in place. Without a terminal there is no status line, and nothing else differs.
 */
import { exitCodes, type Io, interruptCode, printResult, tell } from "./io.ts";

/** Time between two paintings of the status line, milliseconds. */
const paintMs = 250;
/** Back to the first column, and the line is empty. */
const erase = "\r\u001b[2K";
const lineFeed = 10;

export class Terminal {
  /** Whether there is a status line. */
  readonly hasStatus: boolean;
  readonly #io: Io;
  readonly #timer: NodeJS.Timeout | undefined;
  /** Makes the text of the status line; "" for none. */
  #status: () => string = () => "";
  #shown = "";
  /** The output ended within a line: nothing may be written behind it. */
  #midLine = false;
  /** Whether a `^C` is on a line of its own, or was erased. */
  #isEchoOver = false;

  /** Where a person types, there is no status line: the terminal shows what they type behind it. */
  constructor(io: Io, isTyped = false) {
    this.#io = io;
    this.hasStatus = io.progress && !isTyped;
    if (!this.hasStatus) return;
    this.#timer = setInterval(() => this.paint(), paintMs);
    this.#timer.unref();
  }

  /** From here on the status line says this; it is asked again for each painting. */
  status(text: () => string): void {
    this.#status = text;
  }

  /** Shows the status line as it is now. */
  paint(): void {
    if (this.#timer === undefined || this.#midLine) return;
    const text = this.#fitting(this.#status());
    if (text === this.#shown) return;
    this.#shown = text;
    this.#write(`${erase}${text}`);
  }

  /** A line for the user, above the status line. */
  async line(text: string): Promise<void> {
    const isEcho = this.#isBehindEcho();
    this.#clear();
    const begin = this.#midLine || isEcho ? "\n" : "";
    this.#midLine = false;
    await tell(this.#io, `${begin}${text}\n`);
  }

  /** Output of the command. Rejects as `printResult` does. */
  async result(data: Uint8Array): Promise<void> {
    if (data.length === 0) return;
    if (this.#io.screen) {
      this.#clear();
      this.#midLine = this.#io.progress && data.at(-1) !== lineFeed;
    }
    await printResult(this.#io, data);
  }

  /** Takes the status line away for good. */
  close(): void {
    clearInterval(this.#timer);
    if (this.#isBehindEcho()) this.#write("\n");
    this.#clear();
  }

  /** The first time after a Ctrl-C: whether the `^C` of the terminal stands on this line. */
  #isBehindEcho(): boolean {
    const { progress, signal } = this.#io;
    if (!progress || !signal.aborted || this.#isEchoOver) return false;
    this.#isEchoOver = true;
    return this.#shown === "" && interruptCode(signal) === exitCodes.interrupted;
  }

  #fitting(text: string): string {
    const width = Math.max(0, this.#io.columns() - 1);
    return text.length <= width ? text : `${text.slice(0, Math.max(0, width - 1))}…`;
  }

  #clear(): void {
    if (this.#shown === "") return;
    this.#shown = "";
    this.#write(erase);
  }

  #write(text: string): void {
    // As with every line on stderr: nobody need read it.
    void tell(this.#io, text);
  }
}
