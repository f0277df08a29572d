/**
 * A wall clock that retention may rely on. One wrong reading (a machine that was resumed, a wrong
 * NTP answer, a start with a clock a day ahead) must not delete data. So a clock that jumped is
 * believed only after further readings agree with it, and either records from outside do, too, or a
 * day has passed. Small steps must not add up to a jump: a reading is compared with the last pair
 * of wall and monotonic time that records agreed with, not with the reading before it.
 */
import type { Clock, Logger } from "@millrace/env";

/**
 * Difference between the wall clock's and the monotonic clock's progress that counts as a jump. A
 * start so long after the last checkpoint may be a clock that is wrong, and is one, too.
 */
export const jumpMs = 5 * 60_000;
/**
 * A clock in doubt whose readings agree for this long is believed without records: somebody had a
 * day to notice, and a directory that gets no records must not keep everything for ever.
 */
export const doubtMs = 24 * 3_600_000;
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

/** Whether the two clocks ran alike since a reading. */
const ranAlike = (since: Reading, { wallMs, monoMs }: Reading): boolean =>
  Math.abs(wallMs - expected(since, monoMs)) <= jumpMs;

const untilText = "nothing is deleted by age until it agrees with records or a day has passed";

export class RetentionClock {
  readonly #clock: Clock;
  readonly #logger: Logger;
  /** The last reading that records agreed with, or that was believed in their stead. */
  #agreed: Reading;
  /** First reading of a clock in doubt. */
  #doubt: Reading | undefined;
  /** A record agrees with the clock, since the last agreed reading or since the doubt began. */
  #confirmed = false;

  /** `knownMs`: the time that the last checkpoint believed, if the directory knows one. */
  constructor(clock: Clock, logger: Logger, knownMs: number | undefined) {
    this.#clock = clock;
    this.#logger = logger;
    const now = this.#now();
    this.#agreed = now;
    if (knownMs === undefined || now.wallMs - knownMs <= jumpMs) return;
    // Nothing is known of the time in which the process did not run.
    this.#agreed = { wallMs: knownMs, monoMs: now.monoMs };
    this.#doubt = now;
    const facts = { ahead_ms: Math.round(now.wallMs - knownMs), wall_time_ms: now.wallMs };
    this.#logger.info(facts, `the wall clock is ahead of the last checkpoint: ${untilText}`);
  }

  /** The wall clock, milliseconds; undefined while it is in doubt. */
  read(): number | undefined {
    const now = this.#now();
    if (ranAlike(this.#agreed, now)) {
      if (this.#doubt !== undefined) {
        this.#logger.info({}, "the clock is right again");
        this.#doubt = undefined;
        this.#confirmed = false;
      }
      if (this.#confirmed) this.#agree(now);
      return now.wallMs;
    }
    const doubt = this.#doubt;
    if (doubt === undefined || !ranAlike(doubt, now)) {
      this.#begin(now);
      return undefined;
    }
    const forMs = now.monoMs - doubt.monoMs;
    const believed = forMs >= doubtMs || (this.#confirmed && forMs >= readingsApartMs);
    if (!believed) return undefined;
    this.#logger.info({ wall_time_ms: now.wallMs }, "the clock is believed again");
    this.#agree(now);
    return now.wallMs;
  }

  /**
   * What the next start may rely on: a clock in doubt is in doubt there, too. The longer its
   * readings have agreed, the nearer this comes to it: where processes end every day, no doubt
   * would ever end.
   */
  knownMs(): number {
    const now = this.#now();
    const believed = expected(this.#agreed, now.monoMs);
    const doubt = this.#doubt;
    if (doubt === undefined || now.wallMs <= believed || !ranAlike(doubt, now)) {
      return Math.floor(believed);
    }
    const part = Math.min(1, (now.monoMs - doubt.monoMs) / doubtMs);
    return Math.floor(believed + (now.wallMs - believed) * part);
  }

  /**
   * A batch was appended whose newest record has this timestamp: another machine's clock, mostly.
   */
  observe(recordMs: number): void {
    if (this.#confirmed) return;
    this.#confirmed = Math.abs(recordMs - this.#clock.wallMs()) <= recordAgreesMs;
  }

  #now(): Reading {
    return { wallMs: this.#clock.wallMs(), monoMs: this.#clock.monoMs() };
  }

  #agree(now: Reading): void {
    this.#agreed = now;
    this.#doubt = undefined;
    this.#confirmed = false;
  }

  #begin(now: Reading): void {
    this.#doubt = now;
    this.#confirmed = false;
    const jumpedMs = Math.round(now.wallMs - expected(this.#agreed, now.monoMs));
    this.#logger.warn(
      { jumped_ms: jumpedMs, wall_time_ms: now.wallMs },
      `the wall clock jumped: ${untilText}`,
    );
  }
}
