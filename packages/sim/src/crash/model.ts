/** What a partition may and must hold after a crash, by the promises made before it. */

/** A batch that the log accepted. */
export interface ModelBatch {
  readonly baseOffset: number;
  readonly values: readonly string[];
  acked: boolean;
}

/** A broken promise. */
export class Violation extends Error {
  override readonly name = "Violation";
}

/** What was found in a recovered partition. */
export interface RecoveredLog {
  readonly logStartOffset: number;
  readonly endOffset: number;
  readonly highWatermark: number;
  /** Values from the log start on, by offset. */
  readonly records: readonly { readonly offset: number; readonly value: string }[];
}

const endOf = (batch: ModelBatch): number => batch.baseOffset + batch.values.length;

export class PartitionModel {
  readonly name: string;
  /** False where acknowledgements do not wait for an fsync. */
  readonly durableAcks: boolean;
  batches: ModelBatch[] = [];
  /** Set while a truncation was asked for and not confirmed: the log before it. */
  beforeTruncation: ModelBatch[] | undefined;
  logStartConfirmed = 0;
  logStartAsked = 0;
  /** Largest high watermark that anybody saw. */
  seenHighWatermark = 0;

  constructor(name: string, durableAcks: boolean) {
    this.name = name;
    this.durableAcks = durableAcks;
  }

  get endOffset(): number {
    const last = this.batches.at(-1);
    return last === undefined ? 0 : endOf(last);
  }

  append(baseOffset: number, values: readonly string[]): ModelBatch {
    if (baseOffset !== this.endOffset && this.batches.length > 0) {
      throw new Violation(`${this.name}: appended at ${baseOffset}, expected ${this.endOffset}`);
    }
    const batch = { baseOffset, values, acked: false };
    this.batches.push(batch);
    return batch;
  }

  askTruncation(offset: number): void {
    this.beforeTruncation = this.batches;
    this.batches = this.batches.filter((batch) => endOf(batch) <= offset);
  }

  confirmTruncation(): void {
    this.beforeTruncation = undefined;
  }

  /** Checks a recovered log, and takes it as the new truth. `lossy`: unfsynced data may be gone. */
  check(found: RecoveredLog, lossy: boolean): void {
    const fail = (what: string): never => {
      throw new Violation(`${this.name}: ${what}`);
    };
    if (found.logStartOffset < this.logStartConfirmed) {
      fail(`log start ${found.logStartOffset} fell below ${this.logStartConfirmed}`);
    }
    if (found.logStartOffset > this.logStartAsked) {
      fail(`log start ${found.logStartOffset} was never asked for`);
    }
    if (found.highWatermark > found.endOffset) fail("high watermark past the end");
    const truth = this.#truthFor(found);
    const expected = new Map<number, string>();
    for (const batch of truth) {
      for (const [i, value] of batch.values.entries()) expected.set(batch.baseOffset + i, value);
    }
    let next = found.logStartOffset;
    for (const { offset, value } of found.records) {
      if (offset !== next) fail(`offset ${next} is missing, ${offset} follows`);
      if (expected.get(offset) !== value) {
        fail(
          `offset ${offset} has ${value.slice(0, 30)}, not ${expected.get(offset)?.slice(0, 30)}`,
        );
      }
      next = offset + 1;
    }
    if (next !== Math.max(found.endOffset, found.logStartOffset)) {
      fail(`reads end at ${next}, the log at ${found.endOffset}`);
    }
    if (truth.some((batch) => batch.baseOffset < next && endOf(batch) > next)) {
      fail(`the log ends inside a batch, at ${next}`);
    }
    const mustHold = this.durableAcks || !lossy;
    if (mustHold) this.#checkPromises(truth, found, next, fail);
    this.batches = truth.filter((batch) => endOf(batch) <= next);
    this.beforeTruncation = undefined;
    this.logStartConfirmed = found.logStartOffset;
    this.seenHighWatermark = Math.min(this.seenHighWatermark, next);
    for (const batch of this.batches) batch.acked = true;
  }

  #checkPromises(
    truth: readonly ModelBatch[],
    found: RecoveredLog,
    end: number,
    fail: (what: string) => never,
  ): void {
    for (const batch of truth) {
      if (!batch.acked || endOf(batch) <= found.logStartOffset) continue;
      if (endOf(batch) > end)
        fail(`acknowledged offset ${batch.baseOffset} is lost, the log ends at ${end}`);
    }
    if (this.seenHighWatermark > end) {
      fail(`offsets up to ${this.seenHighWatermark} were readable, the log ends at ${end}`);
    }
  }

  /** While a truncation was under way either log may be found. */
  #truthFor(found: RecoveredLog): readonly ModelBatch[] {
    const before = this.beforeTruncation;
    if (before === undefined) return this.batches;
    return found.endOffset > this.endOffset ? before : this.batches;
  }
}
