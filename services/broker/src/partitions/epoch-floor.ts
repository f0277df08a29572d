/**
 * A log that was not closed cleanly leads only in a higher epoch than it knows. What the stop took
 * from it may be elsewhere: one epoch must not have two histories.
 */
import type { Logger } from "@millrace/env";

export class EpochFloor {
  readonly #logger: Logger;
  /** Latest leader epoch of the log when it was opened after an unclean stop, else undefined. */
  readonly #uncleanEpoch: number | undefined;
  #reported = false;

  constructor(logger: Logger, uncleanEpoch: number | undefined) {
    this.#logger = logger;
    this.#uncleanEpoch = uncleanEpoch;
  }

  /** False for an epoch in which the partition must not lead; the first one is logged. */
  allows(leaderEpoch: number, topic: string, partition: number): boolean {
    const uncleanEpoch = this.#uncleanEpoch;
    if (uncleanEpoch === undefined || leaderEpoch > uncleanEpoch) return true;
    if (this.#reported) return false;
    this.#reported = true;
    this.#logger.error(
      { topic, partition, leader_epoch: leaderEpoch, log_leader_epoch: uncleanEpoch },
      "a partition does not lead: its log was not closed cleanly, and its leader epoch has not " +
        "risen since: restart the server, which raises it; if that does not help, the metadata is " +
        "older than the log: restore the newest backup",
    );
    return false;
  }
}
