/**
 * The control loop of one reign: state of the mirror, desired changes, guarded transactions, wait
 * until the mirror has read them, and again until nothing is desired. One round at a time.
 */
import type { Cancel, Clock, Logger, Random } from "@millrace/env";
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";
import type { Mirror } from "@millrace/metadata";
import type { StateMirror } from "./cluster-state.ts";
import { Decisions } from "./decisions.ts";
import type { Change } from "./desired.ts";
import { type ChangeObserver, writeChanges } from "./guarded-changes.ts";
import { leaderBalanceIntervalMs, transactionsInFlight } from "./limits.ts";
import type { ControllerMetrics } from "./metrics.ts";
import type { Reign } from "./reign.ts";

export interface ControlLoopOptions {
  readonly mirror: Mirror;
  readonly state: StateMirror;
  readonly reign: Reign;
  readonly clock: Clock;
  readonly random: Random;
  readonly logger: Logger;
  readonly metrics: ControllerMetrics;
}

/** Longest wait for the mirror to have read what a round wrote, ms. Then the round is repeated. */
const mirrorTimeoutMs = 10_000;
/** Pause after a failure, ms; doubles with every one in a row. */
const retryMsMin = 100;
const retryMsMax = 5_000;
/** Leaders that the line about a round names. */
const examplesMax = 5;

/** What a round has done. */
interface Written {
  /** The mirror has to reach it before the next round. */
  revision: number;
  changes: number;
  readonly elected: Change[];
}

export class ControlLoop {
  readonly #options: ControlLoopOptions;
  readonly #decisions: Decisions;
  readonly #stopListening: () => void;
  readonly #waiters = new Set<() => void>();
  #wake: () => void = () => {};
  #again = true;
  #settledAt = 0;
  #failures = 0;
  #balances = false;
  #cancelBalance: Cancel = () => {};

  constructor(options: ControlLoopOptions) {
    this.#options = options;
    const { mirror, reign, state } = options;
    this.#decisions = new Decisions(state, reign.epoch);
    this.#stopListening = mirror.onChange(() => this.#kick());
    reign.onEnd(() => {
      this.#stopListening();
      this.#decisions.close();
      this.#cancelBalance();
      this.#kick();
      this.#tell();
    });
    this.#balanceLater();
    void this.#run();
  }

  /**
   * True once nothing was left to change at this revision or a later one; false when `timeoutMs`
   * passed first, and when the reign ends.
   */
  async settled(revision: number, timeoutMs: number): Promise<boolean> {
    const { mirror, clock, reign } = this.#options;
    const endMs = clock.monoMs() + timeoutMs;
    // Before it has read its own election the loop changes nothing.
    const wanted = Math.max(revision, reign.epoch);
    if (!(await mirror.waitForRevision(wanted, timeoutMs))) return false;
    // The mirror may have come here without a change.
    this.#kick();
    while (reign.isActive && this.#settledAt < wanted) {
      const leftMs = endMs - clock.monoMs();
      if (leftMs <= 0) return false;
      const { promise, resolve } = Promise.withResolvers<void>();
      const cancel = clock.timer(leftMs, resolve);
      this.#waiters.add(resolve);
      await promise;
      this.#waiters.delete(resolve);
      cancel();
    }
    return reign.isActive;
  }

  /** What a conflict leaves waits for the next time. */
  #balanceLater(): void {
    this.#cancelBalance = this.#options.clock.timer(leaderBalanceIntervalMs, () => {
      this.#balances = true;
      this.#kick();
      this.#balanceLater();
    });
  }

  #kick(): void {
    this.#again = true;
    this.#wake();
  }

  #tell(): void {
    for (const resolve of this.#waiters) resolve();
  }

  async #run(): Promise<void> {
    const { mirror, reign, logger, metrics } = this.#options;
    while (reign.isActive) {
      try {
        await this.#round();
        this.#failures = 0;
      } catch (thrown) {
        if (!reign.isActive || hasCode(thrown, ErrorCode.NOT_CONTROLLER)) return;
        metrics.onFailure();
        const err = MillraceError.from(thrown);
        logger.warn({ err, revision: mirror.revision }, "a change cannot be made: trying again");
        await this.#backOff();
      }
    }
  }

  /** Waits for something to do, and does it once. */
  async #round(): Promise<void> {
    const { mirror, state } = this.#options;
    if (!this.#again) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#wake = resolve;
      await promise;
    }
    this.#again = false;
    const { revision } = state.current;
    const changes = this.#decisions.next(this.#balances);
    this.#balances = false;
    if (changes.length === 0) {
      this.#settledAt = revision;
      this.#tell();
      return;
    }
    this.#again = true;
    const written = await this.#write(changes);
    this.#report(written);
    // Everything has changed under it: the mirror may need a moment.
    if (written.changes === 0) await this.#options.clock.sleep(retryMsMin);
    if (await mirror.waitForRevision(written.revision, mirrorTimeoutMs)) return;
    throw new MillraceError(
      ErrorCode.UNAVAILABLE,
      `the mirror of the metadata has not reached revision ${written.revision} ` +
        `within ${mirrorTimeoutMs} ms: check the metadata store`,
    );
  }

  async #write(changes: readonly Change[]): Promise<Written> {
    const { reign, metrics } = this.#options;
    const written: Written = { revision: 0, changes: 0, elected: [] };
    const observer: ChangeObserver<Change> = {
      onWritten: (made, revision) => {
        written.revision = Math.max(written.revision, revision);
        written.changes += made.length;
        written.elected.push(...made.filter(({ elects }) => elects));
      },
      onConflict: (_, revision) => {
        written.revision = Math.max(written.revision, revision);
        metrics.onConflict();
      },
    };
    await writeChanges(reign.write, changes, observer, transactionsInFlight);
    return written;
  }

  #report({ changes, elected, revision }: Written): void {
    const { logger, metrics, reign } = this.#options;
    metrics.onChanges(changes, elected.length);
    if (changes === 0) return;
    const leaderless = elected.filter(({ record }) => record?.leader === undefined).length;
    const examples = elected.slice(0, examplesMax).map(({ key, record }) => ({
      ...{ key, leader: record?.leader, leader_epoch: record?.leaderEpoch, isr: record?.isr },
    }));
    logger.info(
      { epoch: reign.epoch, revision, changes, elected: elected.length, leaderless, examples },
      "the metadata is adapted to the brokers",
    );
  }

  async #backOff(): Promise<void> {
    const { clock, random } = this.#options;
    const ms = Math.min(retryMsMax, retryMsMin * 2 ** Math.min(this.#failures, 10));
    this.#failures += 1;
    this.#again = true;
    await clock.sleep(ms * (0.5 + random.float()));
  }
}
