/** One leadership of a partition: it begins when the log has recorded its epoch, and ends once. */
import type { MillraceError } from "@millrace/errors";
import type { AppendBatch, Appended, PartitionLog } from "@millrace/log";
import { Acks } from "@millrace/proto/common";
import { Acknowledgements, type WaitingAppend } from "./acknowledgements.ts";
import { onlyIfKnown } from "./expected-end.ts";
import type { InSyncReplicas } from "./in-sync.ts";
import { refusals } from "./refusals.ts";

/** An append on its way to the log. */
export interface Append extends WaitingAppend {
  /** Where the log must end, unless it has the batch already. Undefined: wherever it ends. */
  readonly expectedEndOffset?: number | undefined;
  /** The log has taken it: called within `Leader.append`. */
  accepted(log: PartitionLog, appended: Appended): void;
}

const ignore = (): void => {};

export class Leader {
  readonly kind = "leader";
  readonly log: PartitionLog;
  readonly epoch: number;
  readonly inSync: InSyncReplicas;
  /** Where the log ended when it took over. */
  readonly #startOffset: number;
  /** What the client is told of a failure of the log. */
  readonly #told: (error: Error) => Error;
  readonly #acknowledgements = new Acknowledgements();

  constructor(
    log: PartitionLog,
    epoch: number,
    startOffset: number,
    inSync: InSyncReplicas,
    told: (error: Error) => Error,
  ) {
    this.log = log;
    this.epoch = epoch;
    this.inSync = inSync;
    this.#startOffset = startOffset;
    this.#told = told;
  }

  get #name(): string {
    return `${this.log.topic}-${this.log.partition}`;
  }

  /**
   * Appends, and answers as `append.acks` asks, later; acks none is not answered. Throws
   * END_OFFSET_MISMATCH. The end is that of the log, not the high watermark: of two appends that
   * wait for their acknowledgement, the second must not have expected the same end.
   */
  append(given: AppendBatch, append: Append): void {
    const { epoch, log } = this;
    const { expectedEndOffset } = append;
    let batch = given;
    if (expectedEndOffset !== undefined && expectedEndOffset !== log.logEndOffset) {
      const { logEndOffset } = log;
      batch = onlyIfKnown(given, () =>
        refusals.endOffsetMismatch(this.#name, expectedEndOffset, logEndOffset),
      );
    }
    if (append.acks === Acks.NONE) {
      append.accepted(log, log.append(batch, epoch, ignore));
      return;
    }
    const acknowledgements = this.#acknowledgements;
    const stored = (error: Error | undefined): void =>
      acknowledgements.stored(append, error && this.#told(error));
    append.accepted(log, log.append(batch, epoch, stored));
    acknowledgements.add(append);
  }

  /**
   * The end of what can be read, for a caller who asks for the latest offset. Throws
   * LEADER_NOT_AVAILABLE until the high watermark has reached the start of the epoch: an earlier
   * leader may have told a higher one.
   */
  latestOffset(): number {
    const { highWatermark } = this.log;
    if (highWatermark < this.#startOffset) throw refusals.latestUnknown(this.#name, this.epoch);
    return highWatermark;
  }

  /**
   * The log, a follower or the view has moved. The high watermark is where every replica in sync
   * has stored what the flush policy demands, and stands still while they are fewer than
   * `min.insync.replicas` (KIP-966).
   */
  progress(hasMinInsync: boolean): void {
    const { inSync, log } = this;
    if (hasMinInsync) log.updateHighWatermark(inSync.committedEnd(log.ackedEndOffset));
    this.#acknowledgements.passed(log.highWatermark);
  }

  /** Fails what waits for its acknowledgement. */
  end(why: string, hint: MillraceError["leaderHint"]): void {
    if (this.#acknowledgements.size === 0) return;
    this.#acknowledgements.failAll(refusals.leadershipLost(this.#name, this.epoch, why, hint));
  }
}
