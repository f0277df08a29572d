/** Counts over several runs. */
import type { RunReport } from "./run.ts";

const everywhere = [
  "boot: leader epochs rise after an unclean stop",
  "buggify no tail cache",
  "crash: power",
  "crash: process",
  "fault: cut",
  "fault: lose",
  "fault: partition",
  "fault: pause",
  "fault: stall",
  "log: a batch came again",
  "network: a connection is half-open",
  "network: a connection is refused",
  "network: a connection is reset",
  "network: a machine resets a connection that is over",
  "network: a packet is lost",
  "network: a silent connection is given up",
] as const;

const standalone = ["buggify checkpoints all the time", "fault: narrow"] as const;

const cluster = [
  "cluster: a process does not start",
  "fault: client",
  "fault: store cut",
  "fault: store down",
  "fault: store loses answers",
  "fault: store slow",
  "repair: rebuild",
  "repair: truncate",
  "says: a dead broker is fenced: its address refuses connections",
  "says: a hung broker is fenced: its heartbeats are silent",
  "says: a leader cannot be followed: trying again",
  "says: a log differs from its leader's",
  "says: in-sync replicas cannot be changed: trying again",
  "says: the election cannot be held: trying again",
  "store: a request is lost",
  "store: an answer is lost",
] as const;

/** Of a cluster with more machines than replicas. */
const moving = ["moves: cancelled", "moves: draining", "moves: recorded"] as const;

export class Totals {
  readonly marks = new Map<string, number>();
  #runs = 0;
  #events = 0;
  #simulatedMs = 0;
  #acked = 0;
  #read = 0;
  readonly #expected: readonly string[];

  /** What a campaign of some sixty seeds must reach, or it does not try what it should. */
  constructor(brokers: number | undefined) {
    const own = brokers === undefined ? standalone : cluster;
    this.#expected = [...everywhere, ...own, ...((brokers ?? 0) > 3 ? moving : [])];
  }

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
    return this.#expected.filter((name) => !this.marks.has(name));
  }

  summary(): string {
    const hours = (this.#simulatedMs / 3_600_000).toFixed(1);
    return (
      `${this.#runs} runs, ${this.#events} events in ${hours} simulated hours, ` +
      `${this.#acked} acknowledged, ${this.#read} read along`
    );
  }
}
