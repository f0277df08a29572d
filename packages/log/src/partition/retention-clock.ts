/**
 * A wall clock that retention may rely on. One wrong reading (a machine that was resumed, a wrong
 * NTP answer, a start with a clock a year ahead) must not delete data. So a clock that jumped is
 * believed only after further readings agree with it, and either records from outside do, too, or
 * an hour has passed.
 */
import type { Clock, Logger } from "@millrace/env";

/** Difference between the wall clock's and the monotonic clock's progress that counts as a jump. */
export const jumpMs = 5 * 60_000;
/** Ahead of the last checkpoint by more than this at the start: the clock is in doubt. */
export const aheadAtStartMs = 24 * 3_600_000;
/** A clock in doubt whose readings agree for this long is believed. */
export const doubtMs = 3_600_000;
/** Records from outside confirm the clock when they are this close to it. */
const recordAgreesMs = 3_600_000;
/** Shortest time between two readings that count as two. */
const readingsApartMs = 1000;

interface Reading {
  readonly wallMs: number;
  readonly monoMs: number;
}

/** What the wall clock would show now if it had run like the monotonic one since a reading. */
const expected = (since: Reading, monoMs: number): number => since.wallMs + (monoMs - since.monoMs);

export class RetentionClock {
  readonly #clock: Clock;
  readonly #logger: Logger;
  /** The last reading that was believed. */
  #trusted: Reading;
  /** First reading of a clock in doubt. */
  #doubt: Reading | undefined;
  /** A record appended since the doubt began agrees with the clock in doubt. */
  #confirmed = false;

  /** `knownMs`: the wall clock at the last checkpoint, if the directory knows one. */
  constructor(clock: Clock, logger: Logger, knownMs: number | undefined) {
    this.#clock = clock;
    this.#logger = logger;
    const now = this.#now();
    this.#trusted = now;
    if (knownMs === undefined || now.wallMs - knownMs <= aheadAtStartMs) return;
    // Nothing is known of the time in which the process did not run.
    this.#trusted = { wallMs: knownMs, monoMs: now.monoMs };
    this.#begin(now);
  }

  /** The wall clock, milliseconds; undefined while it is in doubt. */
  read(): number | undefined {
    const now = this.#now();
    if (Math.abs(now.wallMs - expected(this.#trusted, now.monoMs)) <= jumpMs) {
      if (this.#doubt !== undefined) this.#logger.info({}, "the clock is right again");
      return this.#believe(now);
    }
    const doubt = this.#doubt;
    const agrees =
      doubt !== undefined && Math.abs(now.wallMs - expected(doubt, now.monoMs)) <= jumpMs;
    if (doubt === undefined || !agrees) {
      this.#begin(now);
      return undefined;
    }
    const forMs = now.monoMs - doubt.monoMs;
    const believed = forMs >= doubtMs || (this.#confirmed && forMs >= readingsApartMs);
    if (!believed) return undefined;
    this.#logger.info({ wall_time_ms: now.wallMs }, "the clock is believed again");
    return this.#believe(now);
  }

  /** What the next start may rely on: a clock in doubt is in doubt there, too. */
  knownMs(): number {
    return Math.floor(expected(this.#trusted, this.#clock.monoMs()));
  }

  /**
   * A batch was appended whose newest record has this timestamp: another machine's clock, mostly.
   */
  observe(recordMs: number): void {
    if (this.#doubt === undefined || this.#confirmed) return;
    this.#confirmed = Math.abs(recordMs - this.#clock.wallMs()) <= recordAgreesMs;
  }

  #now(): Reading {
    return { wallMs: this.#clock.wallMs(), monoMs: this.#clock.monoMs() };
  }

  #believe(now: Reading): number {
    this.#trusted = now;
    this.#doubt = undefined;
    this.#confirmed = false;
    return now.wallMs;
  }

  #begin(now: Reading): void {
    this.#doubt = now;
    this.#confirmed = false;
    const jumpedMs = Math.round(now.wallMs - expected(this.#trusted, now.monoMs));
    this.#logger.warn(
      { jumped_ms: jumpedMs, wall_time_ms: now.wallMs },
      "the wall clock jumped: nothing is deleted by age until it agrees with records or an hour has passed",
    );
  }
}
