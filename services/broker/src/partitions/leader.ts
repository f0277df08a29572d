/** One leadership of a partition: it begins when the log has recorded its epoch, and ends once. */
import { type MillraceError, must } from "@millrace/errors";
import type { AppendBatch, Appended, PartitionLog } from "@millrace/log";
import { Acks } from "@millrace/proto/common";
import type { RecordKeys } from "@millrace/record";
import type { KeyIndex } from "../latest/key-index.ts";
import { indexRefusals } from "../latest/refusals.ts";
import { Acknowledgements, type WaitingAppend } from "./acknowledgements.ts";
import { onlyIfKnown } from "./expected-end.ts";
import type { InSyncReplicas } from "./in-sync.ts";
import { refusals } from "./refusals.ts";

/** An append on its way to the log. */
export interface Append extends WaitingAppend {
  /** Where the log must end, unless it has the batch already. Undefined: wherever it ends. */
  readonly expectedEndOffset?: number | undefined;
  /**
   * Offset of the last record of the batch's key, -1 for none, unless the log has the batch
   * already. All of its records have that key. Undefined: whatever it is.
   */
  readonly expectedLastOffsetForKey?: number | undefined;
  /** Of a compacted topic: the keys of the batch. */
  readonly keys?: RecordKeys | undefined;
  /** The log has taken it: called within `Leader.append`. */
  accepted(log: PartitionLog, appended: Appended): void;
  /** The log has not taken it, and `settle` will say so: called within `Leader.append`. */
  refused(): void;
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
  /** Refusals that wait until what they are about is committed. They hold up nothing else. */
  readonly #refused = new Acknowledgements();
  #keyIndex: KeyIndex | undefined;

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
   * Appends, and answers as `append.acks` asks, later; acks none is not answered. An append that
   * expects another end of the log gets END_OFFSET_MISMATCH. What counts is the end of the log, not
   * the high watermark: of two appends that wait for their acknowledgement, the second must not
   * have expected the same end.
   */
  append(batch: AppendBatch, append: Append): void {
    const { expectedEndOffset, expectedLastOffsetForKey } = append;
    if (expectedLastOffsetForKey !== undefined) {
      this.#appendBehind(batch, append, expectedLastOffsetForKey);
    } else if (expectedEndOffset === undefined || expectedEndOffset === this.log.logEndOffset) {
      this.#append(batch, append);
    } else {
      const { logEndOffset } = this.log;
      const refusal = refusals.endOffsetMismatch(this.#name, expectedEndOffset, logEndOffset);
      this.#appendIfKnown(batch, append, refusal);
    }
  }

  /** The index of the partition's keys. Throws POLICY_VIOLATION for one that is not compacted. */
  requireKeyIndex(): KeyIndex {
    if (this.#keyIndex === undefined) throw indexRefusals.notCompacted(this.#name);
    return this.#keyIndex;
  }

  /** The topic is compacted, and `make` makes the index of its keys; or it is not. */
  useKeyIndex(make: (() => KeyIndex) | undefined): void {
    if (make === undefined) {
      this.#keyIndex?.close();
      this.#keyIndex = undefined;
    } else this.#keyIndex ??= make();
  }

  /**
   * What counts is the last record of the key that was appended, committed or not, as with the end
   * of the log.
   */
  #appendBehind(batch: AppendBatch, append: Append, expected: number): void {
    const index = this.requireKeyIndex();
    index.requireReady();
    const [key] = append.keys?.keys ?? [];
    const actual = key === undefined ? -1 : (index.lastAppended(key) ?? -1);
    if (actual === expected) this.#append(batch, append);
    else {
      const refusal = indexRefusals.lastOffsetMismatch(this.#name, expected, actual);
      this.#appendIfKnown(batch, append, refusal);
    }
  }

  #append(batch: AppendBatch, append: Append): void {
    const { epoch, log } = this;
    // It was validated before the topic was compacted.
    if (this.#keyIndex !== undefined && append.keys === undefined) {
      throw indexRefusals.closed(this.#name);
    }
    if (append.acks === Acks.NONE) {
      this.#accept(append, log.append(batch, epoch, ignore));
      return;
    }
    const acknowledgements = this.#acknowledgements;
    const stored = (error: Error | undefined): void =>
      acknowledgements.stored(append, error && this.#told(error));
    this.#accept(append, log.append(batch, epoch, stored));
    acknowledgements.add(append);
  }

  #accept(append: Append, appended: Appended): void {
    append.accepted(this.log, appended);
    if (this.#keyIndex === undefined || appended.duplicate) return;
    this.#keyIndex.appended(appended.baseOffset, must(append.keys, "keys of a batch"));
  }

  /**
   * For one whose condition does not hold: acknowledged like its first append if the log has it,
   * and refused otherwise. The refusal waits until all that the log has now is committed: before
   * that another leader may end elsewhere, and have what an earlier attempt of this append left.
   */
  #appendIfKnown(batch: AppendBatch, append: Append, refusal: MillraceError): void {
    const { logEndOffset } = this.log;
    try {
      this.#append(onlyIfKnown(batch, refusal), append);
    } catch (thrown) {
      if (thrown !== refusal || this.log.highWatermark >= logEndOffset) throw thrown;
      append.refused();
      this.#refused.add({
        ...{ acks: Acks.ALL, lastOffset: logEndOffset - 1, failure: undefined },
        settle: (lost) => append.settle(lost ?? refusal),
      });
    }
  }

  #failRefused(): void {
    this.#refused.failAll(refusals.endUnknown(this.#name, this.epoch));
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
    this.#keyIndex?.progress();
    this.#acknowledgements.passed(log.highWatermark);
    if (this.#refused.size === 0) return;
    this.#refused.passed(log.highWatermark);
    // It commits nothing any more.
    if (log.state.kind !== "online") this.#failRefused();
  }

  /** Fails what waits for its acknowledgement. */
  end(why: string, hint: MillraceError["leaderHint"]): void {
    this.useKeyIndex(undefined);
    this.#failRefused();
    if (this.#acknowledgements.size === 0) return;
    this.#acknowledgements.failAll(refusals.leadershipLost(this.#name, this.epoch, why, hint));
  }
}
