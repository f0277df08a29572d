/**
 * The sequences of an idempotent producer in one partition (KIP-98). They count records, so that
 * the broker recognises a batch that is sent again, and notices one that is missing.
 */
import { must } from "@millrace/errors";
import type { ProducerStamp } from "@millrace/record";

/** Sequences wrap from 2^31-1 to 0. */
const sequenceCount = 2 ** 31;
const epochMax = 32_767;

/** The stamp of records that begin `records` later. */
export const advance = (stamp: ProducerStamp, records: number): ProducerStamp => ({
  ...{ ...stamp, baseSequence: (stamp.baseSequence + records) % sequenceCount },
});

export class PartitionSequences {
  /** Stamp of the next batch; undefined while there is no producer id. */
  #next: ProducerStamp | undefined;
  #usedId: number | undefined;
  #isBroken = false;
  #isFenced = false;

  get hasId(): boolean {
    return this.#next !== undefined;
  }

  /** The id that must not be used here any more. */
  get usedId(): number | undefined {
    return this.#usedId;
  }

  /**
   * True once sequences were given to a batch that the log will never have: the broker refuses
   * everything after it.
   */
  get isBroken(): boolean {
    return this.#isBroken;
  }

  /** Begins with sequence 0 under a producer id that was not used here before. */
  begin(producerId: number): void {
    this.#next = { producerId, producerEpoch: 0, baseSequence: 0 };
  }

  /** The stamp of the next batch, by its number of records. */
  take(records: number): ProducerStamp {
    const stamp = must(this.#next, "producer id of an idempotent batch");
    this.#next = advance(stamp, records);
    return stamp;
  }

  /**
   * Takes back the sequences of a batch that the broker refused, and never has. False unless they
   * were the last that were given out: then the broker misses them before those behind.
   */
  takeBack(stamp: ProducerStamp, records: number): boolean {
    const { baseSequence, producerEpoch, producerId } = advance(stamp, records);
    const next = this.#next;
    const isLast =
      !this.#isBroken &&
      next?.producerId === producerId &&
      next.producerEpoch === producerEpoch &&
      next.baseSequence === baseSequence;
    if (isLast) this.#next = stamp;
    return isLast;
  }

  /** A batch that has its sequences failed for good, or the broker misses one before it. */
  break(): void {
    this.#isBroken = true;
  }

  /** The broker knows a higher epoch of the producer id, which is somebody else's then. */
  fence(): void {
    this.#isBroken = true;
    this.#isFenced = true;
  }

  /**
   * Begins anew with sequence 0 in the next epoch (KIP-360), or waits for another producer id when
   * the epochs of this one are exhausted. What was stamped and is not acknowledged must be stamped
   * anew, so none of it may have been written.
   */
  renew(): void {
    const isFenced = this.#isFenced;
    this.#isBroken = false;
    this.#isFenced = false;
    if (this.#next === undefined) return;
    const { producerId, producerEpoch } = this.#next;
    if (isFenced || producerEpoch === epochMax) {
      this.#usedId = producerId;
      this.#next = undefined;
    } else this.#next = { producerId, producerEpoch: producerEpoch + 1, baseSequence: 0 };
  }
}
