/** Counts over several runs. */
import type { RunReport } from "./run.ts";

/** What a campaign of some sixty seeds must reach, or it does not try what it should. */
const expectedMarks = [
  "boot: leader epochs rise after an unclean stop",
  "buggify checkpoints all the time",
  "buggify no tail cache",
  "crash: power",
  "crash: process",
  "fault: cut",
  "fault: lose",
  "fault: narrow",
  "fault: partition",
  "fault: pause",
  "fault: stall",
  "network: a connection is half-open",
  "network: a connection is refused",
  "network: a connection is reset",
  "network: a machine resets a connection that is over",
  "network: a packet is lost",
  "network: a silent connection is given up",
] as const;

export class Totals {
  readonly marks = new Map<string, number>();
  #runs = 0;
  #events = 0;
  #simulatedMs = 0;
  #acked = 0;
  #read = 0;

  add(report: RunReport): void {
    this.#runs += 1;
    this.#events += report.events;
    this.#simulatedMs += report.simulatedMs;
    this.#acked += report.acked;
    this.#read += report.read;
    for (const [name, count] of report.marks) {
      this.marks.set(name, (this.marks.get(name) ?? 0) + count);
    }
  }

  /** Marks that no run has reached. */
  missing(): string[] {
    return expectedMarks.filter((name) => !this.marks.has(name));
  }

  summary(): string {
    const hours = (this.#simulatedMs / 3_600_000).toFixed(1);
    return (
      `${this.#runs} runs, ${this.#events} events in ${hours} simulated hours, ` +
      `${this.#acked} acknowledged, ${this.#read} read along`
    );
  }
}
