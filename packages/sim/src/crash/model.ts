/** What one partition promised, from its creation to its deletion. */
import { must } from "@millrace/errors";
import type { FlushPolicy, TimestampOffset } from "@millrace/log";
import type { CrashModel } from "../disk.ts";
import type { FoundBatch, ModelBatch } from "./batches.ts";
import { problemOfCleaned, problemOfKeys, timesOf } from "./compaction-model.ts";
import { EpochModel } from "./epoch-model.ts";
import { ProducerModel } from "./producer-model.ts";

/** A truncation that was asked for and may or may not be in effect. */
interface Pending {
  readonly offset: number;
  /** The log begins anew there. */
  readonly isReset?: boolean;
}

export class PartitionModel {
  readonly name: string;
  /** The whole history, also below the log start. */
  batches: ModelBatch[] = [];
  epochs = new EpochModel();
  producers = new ProducerModel();
  /** `create` resolved: the partition is there after any crash. */
  created = false;
  /** `delete` was called: the partition may be gone. */
  deleting = false;
  truncation: Pending | undefined;
  /** Truncations and resets that took effect, also those that removed no batch. */
  cuts = 0;
  logStartConfirmed = 0;
  logStartAsked = 0;
  /** As it is in memory. */
  highWatermark = 0;
  /** What a checkpoint has: after a crash it is no lower. */
  highWatermarkDurable = 0;
  /** End of what survives a power cut, whatever the policy: it was flushed or recovered. */
  durableEnd = 0;
  /** Bytes of it rotted, or cannot be read: it may be offline. */
  suspect: string | undefined;
  /** It was seen offline; until an operator repairs it, nothing of it may be lost. */
  offline = false;
  /** Worst crash since it was last found whole. */
  loss: CrashModel = "process";
  /** Batches that the bits which rotted may have cost at most. */
  batchesRotted = 0;
  /** A failed fsync may have taken from the page cache what was acknowledged from there. */
  cacheBetrayed = false;
  /** Offsets of snapshots of the producers whose files rotted. */
  rottenSnapshots = new Set<number>();
  /** What truncations removed: reads that began before may still return it. */
  removed: ModelBatch[] = [];
  /** Its log may be compacted. */
  compacted = false;
  tombstonesGo = false;
  highWatermarkMax = 0;
  /** Offset before which nothing of the log is left but its producers. */
  lostBelow = 0;

  constructor(name: string) {
    this.name = name;
  }

  copy(): PartitionModel {
    const copy = new PartitionModel(this.name);
    Object.assign(copy, this);
    copy.batches = this.batches.map((batch) => ({ ...batch }));
    copy.epochs = this.epochs.copy();
    copy.producers = this.producers.copy();
    copy.removed = [...this.removed];
    copy.rottenSnapshots = new Set(this.rottenSnapshots);
    return copy;
  }

  get endOffset(): number {
    const last = this.batches.at(-1);
    return Math.max(this.lostBelow, last === undefined ? 0 : last.lastOffset + 1);
  }

  /** End of what was acknowledged. */
  get ackedEnd(): number {
    const last = this.batches.findLast(({ acked }) => acked);
    return Math.max(this.durableEnd, last === undefined ? 0 : last.lastOffset + 1);
  }

  /** End of what must be there after the crashes so far. */
  mustEnd(): number {
    if (this.loss === "process" && !this.cacheBetrayed) return this.ackedEnd;
    const last = this.batches.findLast(({ acked, policy }) => acked && policy === "commit");
    return Math.max(this.durableEnd, last === undefined ? 0 : last.lastOffset + 1);
  }

  append(batch: ModelBatch): void {
    this.batches.push(batch);
    this.producers.record(batch);
    this.epochs.begin(batch.leaderEpoch, batch.baseOffset);
  }

  acknowledge(batch: ModelBatch): void {
    batch.acked = true;
    if (batch.policy === "commit") this.epochs.confirm(batch.leaderEpoch);
  }

  /** The truncation that was asked for took effect. */
  truncated(): void {
    const { isReset, offset } = must(this.truncation, "truncation under way");
    this.truncation = undefined;
    this.cuts += 1;
    if (isReset) {
      this.#beginAnew(offset);
      return;
    }
    this.cutTo(offset);
    this.highWatermark = Math.min(this.highWatermark, offset);
    this.highWatermarkDurable = Math.min(this.highWatermarkDurable, offset);
    this.durableEnd = Math.min(this.durableEnd, offset);
  }

  /** Nothing is known of before, and the log is empty, durably. */
  #beginAnew(offset: number): void {
    this.removed.push(...this.batches);
    this.batches = [];
    this.epochs = new EpochModel();
    this.producers = new ProducerModel();
    this.rottenSnapshots.clear();
    this.lostBelow = offset;
    this.logStartConfirmed = offset;
    this.logStartAsked = offset;
    this.highWatermark = offset;
    this.highWatermarkMax = offset;
    this.highWatermarkDurable = offset;
    this.durableEnd = offset;
  }

  /** Takes back the batches from an offset on, and all that followed from them. */
  cutTo(offset: number): void {
    const kept = this.batches.filter((batch) => batch.lastOffset < offset);
    const cut = kept.length < this.batches.length;
    this.removed.push(...this.batches.slice(kept.length));
    if (this.logStartAsked > 0 && this.logStartAsked >= offset) this.epochs.doubtful = true;
    this.batches = kept;
    this.epochs.truncate(offset);
    const before = this.producers;
    this.producers = ProducerModel.of(kept);
    this.producers.doubt(before, cut);
  }

  /**
   * The batch that a read returned, if it was there at any time since `removedBefore` were removed.
   */
  accounts(found: FoundBatch, removedBefore: number, same: Same): boolean {
    const current = this.batchAt(found.baseOffset);
    if (current !== undefined && same(found, current)) return true;
    if (this.compacted && this.problemOfCleaned(found) === undefined) return true;
    return this.removed.slice(removedBefore).some((batch) => same(found, batch));
  }

  problemOfCleaned(found: FoundBatch): string | undefined {
    const { batches, removed } = this;
    const before = { ...this.#compaction, batches: [...removed, ...batches] };
    return problemOfCleaned(this.#compaction, found) && problemOfCleaned(before, found);
  }

  problemOfKeys(logStart: number, end: number, found: readonly FoundBatch[]): string | undefined {
    return this.compacted ? problemOfKeys(this.#compaction, logStart, end, found) : undefined;
  }

  get times() {
    return timesOf(this.#compaction);
  }

  get #compaction() {
    const { batches, tombstonesGo } = this;
    const highWatermarkMax = Math.max(this.highWatermarkMax, this.highWatermark);
    return { batches, highWatermarkMax, tombstonesGo };
  }

  batchAt(offset: number): ModelBatch | undefined {
    return this.batches.findLast(({ baseOffset }) => baseOffset <= offset);
  }

  /** First readable record at or after a time. */
  offsetForTimestamp(timestampMs: number, logStart: number): TimestampOffset | undefined {
    return this.#firstRecord(logStart, (ms) => ms >= timestampMs);
  }

  /** First readable record with the largest timestamp. */
  maxTimestamp(logStart: number): TimestampOffset | undefined {
    let largestMs = -1;
    this.#firstRecord(logStart, (ms) => {
      largestMs = Math.max(largestMs, ms);
      return false;
    });
    return this.#firstRecord(logStart, (ms) => ms === largestMs);
  }

  #firstRecord(logStart: number, wanted: (ms: number) => boolean): TimestampOffset | undefined {
    for (const { baseOffset, leaderEpoch, timestampsMs } of this.batches) {
      for (const [i, timestampMs] of timestampsMs.entries()) {
        const offset = baseOffset + i;
        if (offset < logStart) continue;
        if (offset >= this.highWatermark) return undefined;
        if (wanted(timestampMs)) return { offset, timestampMs, leaderEpoch };
      }
    }
    return undefined;
  }
}

type Same = (found: FoundBatch, model: ModelBatch) => boolean;

/** What an append promises as soon as it is acknowledged. */
export const survivesPowerCut = (policy: FlushPolicy): boolean => policy === "commit";
