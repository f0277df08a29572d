/**
 * Idempotence: what a partition remembers of its producers (KIP-98). Derived from the history of
 * the log, not from its beginning: deleting old records makes no producer unknown (KIP-360).
 */
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { BodyInfo } from "@millrace/record";
import type { Pace } from "../files/breathe.ts";
import { Durability } from "../files/durability.ts";
import type { ProducerBudget } from "./producer-budget.ts";

/**
 * Latest batches of a producer that a retry may repeat, where Kafka keeps five. As many as a client
 * may have in flight: brokers tell it in `ProduceOpened.producer_batches`.
 */
export const batchesKept = 16;
/**
 * Most producers that a partition remembers. Beyond it the one that has been idle longest is
 * forgotten: a client that makes up producer ids must not fill the memory.
 */
export const producersMax = 65_536;
/** Monotonic time for which a producer must look expired, milliseconds. */
export const expiryGraceMs = 3_600_000;
/** Producers that one call of `expire` looks at; some milliseconds. */
export const expiredPerCall = 8_192;
/** Producers copied, or whose sequences are forgotten, in one turn; some milliseconds. */
export const producersPerTurn = 8_192;
/** Numbers of a batch in `Producer.batches`. */
const batchNumbers = 4;
/** Sequences wrap from 2^31-1 to 0. */
const sequenceCount = 2 ** 31;

export interface RememberedBatch {
  readonly baseSequence: number;
  readonly lastSequence: number;
  readonly baseOffset: number;
  readonly appendTimeMs: number;
}

/** One producer; never changed, replaced. */
export interface Producer {
  readonly id: number;
  readonly epoch: number;
  readonly lastAppendTimeMs: number;
  /**
   * Its latest batches, oldest first: for each its base sequence, last sequence, base offset and
   * append time. Objects of them would be a million in one table, and the garbage collector would
   * stop everything while it moves those.
   */
  readonly batches: readonly number[];
}

/** A producer that looks expired, and since when on the monotonic clock. */
interface IdleProducer {
  readonly producer: Producer;
  readonly sinceMs: number;
}

interface ExpiryPass {
  /** Still to be looked at, at most. */
  left: number;
  readonly at: Iterator<Producer>;
  readonly idle: Map<number, IdleProducer>;
}

/** The first append of a batch that came again. */
export interface DuplicateOf {
  readonly baseOffset: number;
  readonly appendTimeMs: number;
}

/** Compaction leaves sequences as they were, and takes records: their number says nothing. */
const lastSequenceOf = (info: BodyInfo): number =>
  (info.baseSequence + info.lastOffsetDelta) % sequenceCount;

export const packBatches = (batches: readonly RememberedBatch[]): number[] => {
  const packed: number[] = [];
  for (const { baseSequence, lastSequence, baseOffset, appendTimeMs } of batches) {
    packed.push(baseSequence, lastSequence, baseOffset, appendTimeMs);
  }
  // Without the room that growing left.
  return packed.slice();
};

export const unpackBatches = (packed: readonly number[]): RememberedBatch[] => {
  const batches: RememberedBatch[] = [];
  for (let at = 0; at < packed.length; at += batchNumbers) {
    batches.push({
      baseSequence: packed[at] ?? 0,
      lastSequence: packed[at + 1] ?? 0,
      baseOffset: packed[at + 2] ?? 0,
      appendTimeMs: packed[at + 3] ?? 0,
    });
  }
  return batches;
};

/** What a table that has gone on says of `offset`; older batches may have left it. */
export const asOf =
  (offset: number) =>
  (producer: Producer): Producer => {
    const { batches } = producer;
    let kept = batches.length;
    while (kept > 0 && (batches[kept - batchNumbers + 2] ?? 0) >= offset) kept -= batchNumbers;
    return kept === batches.length ? producer : { ...producer, batches: batches.slice(0, kept) };
  };

/** Base offsets of the last batches of producers. */
export const lastBatchesOf = (producers: readonly Producer[]): ReadonlySet<number> => {
  const offsets = new Set<number>();
  for (const { batches } of producers) {
    const last = batches[batches.length - batchNumbers + 2];
    if (last !== undefined) offsets.add(last);
  }
  return offsets;
};

const refuse = (code: ErrorCode, what: string): MillraceError => new MillraceError(code, what);

/** Producers by id, in the order of their last batches. */
export class ProducerTable {
  readonly #producers = new Map<number, Producer>();
  readonly #producersMax: number;
  /** Undefined for a table that another one counts for. */
  readonly #budget: ProducerBudget | undefined;
  /** Producers that the last pass of `expire` found too old. */
  #idle = new Map<number, IdleProducer>();
  /** A pass of `expire` that goes on with the next call. */
  #pass: ExpiryPass | undefined;
  /** Of everything in the table, by a snapshot. */
  readonly durability = new Durability();

  constructor(budget?: ProducerBudget, most = producersMax) {
    this.#budget = budget;
    this.#producersMax = most;
  }

  get size(): number {
    return this.#producers.size;
  }

  has(id: number): boolean {
    return this.#producers.has(id);
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
    const { batches } = known;
    for (let at = 0; at < batches.length; at += batchNumbers) {
      if (batches[at] === baseSequence && batches[at + 1] === lastSequence) {
        return { baseOffset: batches[at + 2] ?? 0, appendTimeMs: batches[at + 3] ?? 0 };
      }
    }
    const last = batches[batches.length - batchNumbers + 1];
    const expected = last === undefined ? 0 : (last + 1) % sequenceCount;
    if (last === undefined || baseSequence === expected) return undefined;
    throw refuse(
      ErrorCode.OUT_OF_ORDER_SEQUENCE,
      `producer ${producerId} sent sequence ${baseSequence}, expected ${expected}: ` +
        "a batch before it is missing",
    );
  }

  /**
   * Remembers an appended batch. Never refuses: what is in the log was accepted. Returns the
   * producer as of this batch, or undefined when it is not idempotent.
   */
  record(info: BodyInfo, baseOffset: number, appendTimeMs: number): Producer | undefined {
    if (info.producerId < 0) return undefined;
    const known = this.#producers.get(info.producerId);
    const batch = [info.baseSequence, lastSequenceOf(info), baseOffset, appendTimeMs];
    const sameEpoch = known !== undefined && known.epoch === info.producerEpoch;
    const producer: Producer = {
      id: info.producerId,
      epoch: info.producerEpoch,
      lastAppendTimeMs: appendTimeMs,
      batches: sameEpoch
        ? known.batches.slice(batchNumbers * (1 - batchesKept)).concat(batch)
        : batch,
    };
    this.adopt(producer);
    return producer;
  }

  /** Takes a producer as another table has it. */
  adopt(producer: Producer): void {
    const isKnown = this.#producers.delete(producer.id);
    this.#producers.set(producer.id, producer);
    this.durability.changed();
    if (isKnown) return;
    this.#budget?.changed(1);
    this.trim(this.#producersMax);
  }

  /** Forgets those that have been idle longest, until so many are left. */
  trim(most: number): void {
    const over = this.#producers.size - most;
    if (over <= 0) return;
    for (const id of this.#producers.keys()) {
      if (this.#producers.size <= most) break;
      this.#producers.delete(id);
    }
    this.durability.changed();
    this.#budget?.changed(-over);
  }

  /**
   * Replaces everything by what another table holds. Others run in between, and must not append;
   * where the other table is cut meanwhile, it is copied anew.
   */
  async copyFrom(other: ProducerTable, pace: Pace): Promise<void> {
    for (let copied = -1; copied !== other.durability.version; ) {
      copied = other.durability.version;
      this.replace([]);
      for (const producer of other.#producers.values()) {
        if (pace.took()) await pace.pause();
        this.#producers.set(producer.id, producer);
      }
      this.#budget?.changed(this.#producers.size);
    }
  }

  /**
   * Forgets producers whose last append was before `beforeMs` of the wall clock, and that have
   * appended nothing since an earlier call at least `expiryGraceMs` ago: the time of an append may
   * have been wrong. Looks at `expiredPerCall` of them; the next call goes on behind them.
   */
  expire(beforeMs: number, monoMs: number): void {
    this.#pass ??= { left: this.#producers.size, at: this.#producers.values(), idle: new Map() };
    const pass = this.#pass;
    // Those that append meanwhile come again at the end, which would never be reached.
    for (let looked = 0; looked < expiredPerCall; looked += 1) {
      const next = pass.left > 0 ? pass.at.next() : undefined;
      if (next === undefined || next.done === true) {
        this.#idle = pass.idle;
        this.#pass = undefined;
        return;
      }
      pass.left -= 1;
      const producer = next.value;
      const { id } = producer;
      if (producer.lastAppendTimeMs >= beforeMs) continue;
      const noted = this.#idle.get(id);
      const since = noted?.producer === producer ? noted : { producer, sinceMs: monoMs };
      if (monoMs - since.sinceMs >= expiryGraceMs) this.#remove(id);
      else pass.idle.set(id, since);
    }
  }

  /**
   * Batches are missing: who was fenced stays known, and no sequences, which would refuse a
   * producer that has gone on in them. Others run in between, and must not append.
   */
  async forgetSequences(pace: Pace): Promise<void> {
    for (const producer of this.#producers.values()) {
      if (pace.took()) await pace.pause();
      // A known key keeps its place.
      // It may have been forgotten in between.
      if (producer.batches.length === 0 || this.#producers.get(producer.id) !== producer) continue;
      this.#producers.set(producer.id, { ...producer, batches: [] });
    }
    this.durability.changed();
  }

  /** Every producer, in the order of their last batches: what a snapshot holds. */
  entries(): readonly Producer[] {
    return [...this.#producers.values()];
  }

  /** Replaces everything by the entries of another table or a snapshot. */
  replace(entries: Iterable<Producer>): void {
    const { size } = this.#producers;
    this.#producers.clear();
    for (const producer of entries) this.#producers.set(producer.id, producer);
    this.durability.changed();
    this.#budget?.changed(this.#producers.size - size);
  }

  #remove(id: number): void {
    this.#producers.delete(id);
    this.durability.changed();
    this.#budget?.changed(-1);
  }
}
