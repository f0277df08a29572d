/** Idempotence: what a partition remembers of its producers (semantics 2.3, KIP-98). */
import { create } from "@bufbuild/protobuf";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { type ProducerSnapshot, ProducerSnapshotSchema } from "@millrace/proto/storage";
import type { BodyInfo } from "@millrace/record";

/** Batches that a retry may repeat; also the bound of requests in flight (Kafka's five). */
export const batchesKept = 5;
/** Sequences wrap from 2^31-1 to 0. */
const sequenceCount = 2 ** 31;

interface RememberedBatch {
  readonly baseSequence: number;
  readonly lastSequence: number;
  readonly baseOffset: number;
  readonly appendTimeMs: number;
}

/** One producer; never changed, replaced. */
export interface Producer {
  readonly epoch: number;
  readonly lastAppendTimeMs: number;
  readonly batches: readonly RememberedBatch[];
}

/** The first append of a batch that came again. */
export interface DuplicateOf {
  readonly baseOffset: number;
  readonly appendTimeMs: number;
}

const lastSequenceOf = (info: BodyInfo): number =>
  (info.baseSequence + info.recordCount - 1) % sequenceCount;

const refuse = (code: ErrorCode, what: string): MillraceError => new MillraceError(code, what);

/** Producers by id. Derived from the log alone. */
export class ProducerTable {
  readonly #producers = new Map<number, Producer>();
  /** Changed since the last snapshot. */
  dirty = false;

  get size(): number {
    return this.#producers.size;
  }

  /** Checks a batch before its append; returns the first append when it is a retry. Throws
   * INVALID_PRODUCER_EPOCH or OUT_OF_ORDER_SEQUENCE. */
  check(info: BodyInfo): DuplicateOf | undefined {
    if (info.producerId < 0) return undefined;
    const known = this.#producers.get(info.producerId);
    if (known === undefined) return undefined;
    const { producerId, producerEpoch, baseSequence } = info;
    if (producerEpoch < known.epoch) {
      throw refuse(
        ErrorCode.INVALID_PRODUCER_EPOCH,
        `producer ${producerId} has epoch ${known.epoch}, the batch has ${producerEpoch}: ` +
          "another instance took over",
      );
    }
    if (producerEpoch > known.epoch) {
      if (baseSequence === 0) return undefined;
      throw refuse(
        ErrorCode.OUT_OF_ORDER_SEQUENCE,
        `producer ${producerId} begins epoch ${producerEpoch} with sequence ${baseSequence}: begin with 0`,
      );
    }
    const lastSequence = lastSequenceOf(info);
    for (const batch of known.batches) {
      if (batch.baseSequence === baseSequence && batch.lastSequence === lastSequence) {
        return { baseOffset: batch.baseOffset, appendTimeMs: batch.appendTimeMs };
      }
    }
    const last = known.batches.at(-1);
    const expected = last === undefined ? 0 : (last.lastSequence + 1) % sequenceCount;
    if (last === undefined || baseSequence === expected) return undefined;
    throw refuse(
      ErrorCode.OUT_OF_ORDER_SEQUENCE,
      `producer ${producerId} sent sequence ${baseSequence}, expected ${expected}: ` +
        "a batch before it is missing",
    );
  }

  /** Remembers an appended batch. Never refuses: what is in the log was accepted. Returns the producer as
   * of this batch, or undefined when it is not idempotent. */
  record(info: BodyInfo, baseOffset: number, appendTimeMs: number): Producer | undefined {
    if (info.producerId < 0) return undefined;
    const known = this.#producers.get(info.producerId);
    const batch: RememberedBatch = {
      baseSequence: info.baseSequence,
      lastSequence: lastSequenceOf(info),
      baseOffset,
      appendTimeMs,
    };
    const sameEpoch = known !== undefined && known.epoch === info.producerEpoch;
    const producer: Producer = {
      epoch: info.producerEpoch,
      lastAppendTimeMs: appendTimeMs,
      batches: sameEpoch ? [...known.batches.slice(1 - batchesKept), batch] : [batch],
    };
    this.adopt(info.producerId, producer);
    return producer;
  }

  /** Takes a producer as another table has it. */
  adopt(id: number, producer: Producer): void {
    this.#producers.set(id, producer);
    this.dirty = true;
  }

  /** Replaces everything by what another table holds. */
  copyFrom(other: ProducerTable): void {
    this.#producers.clear();
    for (const [id, producer] of other.#producers) this.#producers.set(id, producer);
    this.dirty = true;
  }

  /** Forgets producers idle since before `beforeMs`. */
  expire(beforeMs: number): void {
    for (const [id, producer] of this.#producers) {
      if (producer.lastAppendTimeMs < beforeMs) this.#remove(id);
    }
  }

  /** Forgets producers all of whose remembered batches lie below the log start. */
  dropBelow(logStartOffset: number): void {
    for (const [id, { batches }] of this.#producers) {
      if ((batches.at(-1)?.baseOffset ?? 0) < logStartOffset) this.#remove(id);
    }
  }

  clear(): void {
    if (this.#producers.size > 0) this.dirty = true;
    this.#producers.clear();
  }

  /** What goes to disk, in order of producer id. */
  snapshot(offset: number): ProducerSnapshot {
    const ids = [...this.#producers.keys()].sort((a, b) => a - b);
    const producers = ids.flatMap((id) => {
      const producer = this.#producers.get(id);
      if (producer === undefined) return [];
      return {
        producerId: BigInt(id),
        producerEpoch: producer.epoch,
        lastAppendTimeMs: BigInt(producer.lastAppendTimeMs),
        batches: producer.batches.map((batch) => ({
          baseSequence: batch.baseSequence,
          lastSequence: batch.lastSequence,
          baseOffset: BigInt(batch.baseOffset),
          appendTimeMs: BigInt(batch.appendTimeMs),
        })),
      };
    });
    return create(ProducerSnapshotSchema, { offset: BigInt(offset), producers });
  }

  /** Replaces everything by a snapshot. */
  load(snapshot: ProducerSnapshot): void {
    this.#producers.clear();
    for (const entry of snapshot.producers) {
      this.#producers.set(Number(entry.producerId), {
        epoch: entry.producerEpoch,
        lastAppendTimeMs: Number(entry.lastAppendTimeMs),
        batches: entry.batches.map((batch) => ({
          baseSequence: batch.baseSequence,
          lastSequence: batch.lastSequence,
          baseOffset: Number(batch.baseOffset),
          appendTimeMs: Number(batch.appendTimeMs),
        })),
      });
    }
    this.dirty = false;
  }

  #remove(id: number): void {
    this.#producers.delete(id);
    this.dirty = true;
  }
}
