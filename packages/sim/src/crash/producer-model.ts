/**
 * What a partition must remember of its producers (KIP-98, KIP-360), written anew from the rules.
 */
import type { ProducerStamp } from "@millrace/record";
import { type ModelBatch, stampOf } from "./batches.ts";

/** Batches that a retry may repeat. */
const window = 16;
const sequences = 2 ** 31;

interface Remembered {
  readonly epoch: number;
  readonly lastAppendMs: number;
  /** The newest last. */
  readonly batches: readonly ModelBatch[];
}

/** What must become of a batch. */
export type Verdict =
  | { readonly kind: "accept" }
  | { readonly kind: "duplicate"; readonly of: ModelBatch }
  | { readonly kind: "old epoch" }
  | { readonly kind: "out of order" }
  /** The partition may have forgotten the producer, and need not. */
  | { readonly kind: "unknown" };

export const lastSequenceOf = (stamp: ProducerStamp, count: number): number =>
  (stamp.baseSequence + count - 1) % sequences;

export class ProducerModel {
  #producers = new Map<number, Remembered>();
  /**
   * Producers that may be forgotten: idle for longer than a wall clock allowed, or lost with
   * damage.
   */
  #uncertain = new Set<number>();
  /** What the log remembered of batches below this offset may be lost. */
  #doubtBelow = 0;
  /** The same, once a cut takes back the batches behind which a snapshot still knows it. */
  #doubtBelowAfterCut = 0;

  static of(history: readonly ModelBatch[]): ProducerModel {
    const model = new ProducerModel();
    for (const batch of history) model.record(batch);
    return model;
  }

  copy(): ProducerModel {
    const copy = new ProducerModel();
    copy.#producers = new Map(this.#producers);
    copy.#uncertain = new Set(this.#uncertain);
    copy.#doubtBelow = this.#doubtBelow;
    copy.#doubtBelowAfterCut = this.#doubtBelowAfterCut;
    return copy;
  }

  ids(): number[] {
    return [...this.#producers.keys()].filter((id) => !this.#uncertain.has(id));
  }

  get(id: number): Remembered | undefined {
    return this.#producers.get(id);
  }

  /**
   * Takes over from another model which of the producers may be forgotten. A cut that removed a
   * producer's newest batches (`cut`) brings back its older window, which may reach below what is
   * known.
   */
  doubt(other: ProducerModel, cut: boolean): void {
    for (const id of other.#uncertain) this.#uncertain.add(id);
    this.#doubtBelowAfterCut = other.#doubtBelowAfterCut;
    this.doubtWindows(
      cut ? Math.max(other.#doubtBelow, other.#doubtBelowAfterCut) : other.#doubtBelow,
    );
  }

  /** As `doubtWindows`, from the next cut on. */
  doubtWindowsAfterCut(offset: number): void {
    this.#doubtBelowAfterCut = Math.max(this.#doubtBelowAfterCut, offset);
  }

  /** Producers whose window reaches below an offset may be known in part. */
  doubtWindows(offset: number): void {
    this.#doubtBelow = Math.max(this.#doubtBelow, offset);
    for (const [id, { batches }] of this.#producers) {
      if ((batches[0]?.baseOffset ?? 0) < offset) this.#uncertain.add(id);
    }
  }

  /** A check with this wall clock may forget who is idle since before `beforeMs`. */
  doubtIdle(beforeMs: number): void {
    for (const [id, { lastAppendMs }] of this.#producers) {
      if (lastAppendMs < beforeMs) this.#uncertain.add(id);
    }
  }

  record(batch: ModelBatch): void {
    const stamp = stampOf(batch.batch);
    if (stamp === undefined) return;
    const known = this.#producers.get(stamp.producerId);
    const before = known?.epoch === stamp.producerEpoch ? known.batches : [];
    this.#producers.set(stamp.producerId, {
      epoch: stamp.producerEpoch,
      lastAppendMs: batch.appendTimeMs,
      batches: [...before, batch].slice(-window),
    });
  }

  judge(stamp: ProducerStamp | undefined, count: number): Verdict {
    if (stamp === undefined) return { kind: "accept" };
    const known = this.#producers.get(stamp.producerId);
    if (known === undefined) return { kind: "accept" };
    if (this.#uncertain.has(stamp.producerId)) return { kind: "unknown" };
    if (stamp.producerEpoch < known.epoch) return { kind: "old epoch" };
    if (stamp.producerEpoch > known.epoch) {
      return { kind: stamp.baseSequence === 0 ? "accept" : "out of order" };
    }
    const last = lastSequenceOf(stamp, count);
    for (const batch of known.batches) {
      const other = stampOf(batch.batch);
      if (other === undefined || other.baseSequence !== stamp.baseSequence) continue;
      if (lastSequenceOf(other, batch.timestampsMs.length) === last) {
        return { kind: "duplicate", of: batch };
      }
    }
    return { kind: stamp.baseSequence === this.next(stamp.producerId) ? "accept" : "out of order" };
  }

  /** The sequence that the producer's next batch must begin with. */
  next(id: number): number {
    const last = this.#producers.get(id)?.batches.at(-1);
    const stamp = last === undefined ? undefined : stampOf(last.batch);
    if (last === undefined || stamp === undefined) return 0;
    return (lastSequenceOf(stamp, last.timestampsMs.length) + 1) % sequences;
  }
}
