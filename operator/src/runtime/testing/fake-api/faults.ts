/** What goes wrong between an operator and its API server, each with its probability. */
export interface Faults {
  /** The request does not arrive. */
  readonly cut: number;
  /** The server refuses for now: 429 with Retry-After, 500, 503. */
  readonly refuse: number;
  /** The request is carried out, and its answer is lost. */
  readonly loseAnswer: number;
  /** A write is refused with 409 though nothing has changed. */
  readonly conflict: number;
  /** The server forgets its history when it is asked for something. */
  readonly compact: number;
  /** Before an event: the watch breaks, ends, has expired (410), or stands still. */
  readonly watchBreaks: number;
  readonly watchEnds: number;
  readonly watchExpires: number;
  readonly watchHangs: number;
  /** An event comes twice, after one of another object, or not at all. */
  readonly duplicate: number;
  readonly reorder: number;
  readonly loseEvent: number;
  /** Longest time on the way, milliseconds. */
  readonly latencyMs: number;
}

export type Fault = Exclude<keyof Faults, "latencyMs">;

export const noFaults: Faults = {
  ...{ cut: 0, refuse: 0, loseAnswer: 0, conflict: 0, compact: 0 },
  ...{ watchBreaks: 0, watchEnds: 0, watchExpires: 0, watchHangs: 0 },
  ...{ duplicate: 0, reorder: 0, loseEvent: 0, latencyMs: 5 },
};

/** Everything at once. */
export const manyFaults: Faults = {
  ...{ cut: 0.05, refuse: 0.1, loseAnswer: 0.05, conflict: 0.05, compact: 0.05 },
  ...{ watchBreaks: 0.05, watchEnds: 0.05, watchExpires: 0.05, watchHangs: 0.02 },
  ...{ duplicate: 0.2, reorder: 0.3, loseEvent: 0.05, latencyMs: 800 },
};
