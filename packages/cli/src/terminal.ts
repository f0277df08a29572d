/**
 * The one writer of a terminal: lines, output, and one status line at the bottom that is written
 * again in place. Without a terminal there is no status line, and nothing else differs.
 */
import { type Io, printResult, tell } from "./io.ts";

/** Time between two paintings of the status line, milliseconds. */
const paintMs = 250;
/** Back to the first column, and the line is empty. */
const erase = "\r\u001b[2K";
const lineFeed = 10;

export class Terminal {
  readonly #io: Io;
  readonly #timer: NodeJS.Timeout | undefined;
  /** Makes the text of the status line; "" for none. */
  #status: () => string = () => "";
  #shown = "";
  /** The output ended within a line: nothing may be written behind it. */
  #midLine = false;

  constructor(io: Io) {
    this.#io = io;
    if (!io.progress) return;
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
    const text = this.#status().slice(0, Math.max(0, this.#io.columns() - 1));
    if (text === this.#shown) return;
    this.#shown = text;
    this.#write(`${erase}${text}`);
  }

  /** A line for the user, above the status line. */
  async line(text: string): Promise<void> {
    this.#clear();
    const begin = this.#midLine ? "\n" : "";
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
    this.#clear();
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
