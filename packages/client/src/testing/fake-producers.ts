/** What a fake broker remembers of idempotent producers, by the rules of ProduceService.Produce. */
import { ErrorCode } from "@millrace/errors";
import { type BodyInfo, RecordWalk, type WireProduceRequest } from "@millrace/record";

const sequenceCount = 2 ** 31;

interface Remembered {
  readonly first: number;
  readonly count: number;
  readonly baseOffset: number;
}

type Conditions = Pick<WireProduceRequest, "expectedEndOffset" | "expectedLastOffsetForKey">;

interface Known {
  readonly epoch: number;
  readonly batches: readonly Remembered[];
}

/** A retry, a refusal, or undefined: to be appended. */
export type Judged = { readonly duplicateOf: number } | { readonly refusal: ErrorCode } | undefined;

export class FakeProducers {
  /** Batches that a retry may repeat; told to clients. 0: the server does not say it. */
  batchesKept = 16;
  /** The id that the next producer gets. */
  nextId = 0;
  /** Retries that were recognised. */
  duplicates = 0;
  /** Batches that were refused for their sequences. */
  readonly refusals: string[] = [];
  readonly #known = new Map<string, Known>();
  /** By partition and key. */
  readonly #lastOffsets = new Map<string, number>();

  /** Of a request to a log that ends at `end`. */
  judge(partition: number, info: BodyInfo, conditions: Conditions, end: number): Judged {
    const judged = this.#judgeSequence(partition, info);
    if (judged !== undefined) return judged;
    const { expectedEndOffset, expectedLastOffsetForKey: expectedLast } = conditions;
    if (expectedEndOffset !== undefined && expectedEndOffset !== end) {
      return { refusal: ErrorCode.END_OFFSET_MISMATCH };
    }
    const last = this.lastOffset(partition, info);
    if (expectedLast === undefined || expectedLast === last) return undefined;
    return { refusal: ErrorCode.LAST_OFFSET_MISMATCH };
  }

  /** Offset of the last record of the first key of a batch; -1 without one. */
  lastOffset(partition: number, { compression, records }: BodyInfo): number {
    if (compression !== "none") return -1;
    const cursor = new RecordWalk(records, 0);
    cursor.next();
    return this.#lastOffsets.get(`${partition}/${cursor.key}`) ?? -1;
  }

  #judgeSequence(partition: number, info: BodyInfo): Judged {
    const { producerId, producerEpoch: epoch, baseSequence: first, recordCount } = info;
    const known = this.#known.get(`${partition}/${producerId}`);
    if (producerId < 0 || known === undefined) return undefined;
    if (epoch < known.epoch) return this.#refuse("INVALID_PRODUCER_EPOCH");
    if (epoch > known.epoch) {
      return first === 0 ? undefined : this.#refuse("OUT_OF_ORDER_SEQUENCE");
    }
    const same = known.batches.find((one) => one.first === first && one.count === recordCount);
    if (same !== undefined) {
      this.duplicates += 1;
      return { duplicateOf: same.baseOffset };
    }
    const last = known.batches.at(-1);
    const expected = last === undefined ? 0 : (last.first + last.count) % sequenceCount;
    return first === expected ? undefined : this.#refuse("OUT_OF_ORDER_SEQUENCE");
  }

  record(partition: number, info: BodyInfo, baseOffset: number): void {
    const { producerId, producerEpoch: epoch, baseSequence: first, recordCount: count } = info;
    if (info.compression === "none") {
      const cursor = new RecordWalk(info.records, 0);
      while (cursor.next()) {
        this.#lastOffsets.set(`${partition}/${cursor.key}`, baseOffset + cursor.offsetDelta);
      }
    }
    if (producerId < 0) return;
    const key = `${partition}/${producerId}`;
    const known = this.#known.get(key);
    const before = known?.epoch === epoch ? known.batches : [];
    const kept = [...before, { first, count, baseOffset }].slice(-Math.max(1, this.batchesKept));
    this.#known.set(key, { epoch, batches: kept });
  }

  /** Records from an offset on are gone, of every partition. */
  cut(endOffset: number): void {
    for (const [key, offset] of this.#lastOffsets) {
      if (offset >= endOffset) this.#lastOffsets.delete(key);
    }
  }

  /** As after a day without a batch. */
  forget(): void {
    this.#known.clear();
  }

  #refuse(name: "INVALID_PRODUCER_EPOCH" | "OUT_OF_ORDER_SEQUENCE"): Judged {
    this.refusals.push(name);
    return { refusal: ErrorCode[name] };
  }
}
