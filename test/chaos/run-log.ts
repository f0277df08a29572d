/** The history of a run, in memory and as JSON lines. */
import { createWriteStream, type WriteStream } from "node:fs";
import { join } from "node:path";
import type { Event, Happening } from "./history.ts";

export class RunLog {
  readonly events: Event[] = [];
  /** Wall-clock time of the start, to find events in the logs of processes. */
  readonly startedAtMs = Date.now();
  readonly #startMs = performance.now();
  readonly #file: WriteStream;

  constructor(directory: string) {
    this.#file = createWriteStream(join(directory, "history.jsonl"));
    this.#file.write(`${JSON.stringify({ kind: "start", started_at_ms: this.startedAtMs })}\n`);
  }

  /** Time since the start, ms. */
  get nowMs(): number {
    return Math.round((performance.now() - this.#startMs) * 1000) / 1000;
  }

  /** Takes an event down, now. */
  readonly tell = (happening: Happening): void => {
    const event = { t: this.nowMs, ...happening };
    this.events.push(event);
    this.#file.write(`${JSON.stringify(event)}\n`);
  };

  close(): Promise<void> {
    return new Promise((resolve) => this.#file.end(resolve));
  }
}
