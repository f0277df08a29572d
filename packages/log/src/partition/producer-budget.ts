/** Producers of all partitions of a directory: bounded together. */

/** What is known of the producers of one partition. */
export interface CountedProducers {
  readonly size: number;
  /** Entries kept for snapshots that are still to be written. */
  readonly pending: number;
  /** Forgets those that have been idle longest, until so many are left. */
  trim(most: number): void;
}

/**
 * Producers kept for snapshots that are still to be written, of all partitions. Beyond it a roll
 * takes none: a truncation then replays more than one segment.
 */
export const pendingProducersMax = 131_072;
/** Part of the bound that is left when producers were forgotten: not every append is to forget. */
const keptPart = 15 / 16;

/**
 * Largest size at which tables of these sizes have at most `total` together: those that are smaller
 * keep what they have. At least 1.
 */
export const evenSize = (sizes: readonly number[], total: number): number => {
  // Typed, because there may be ten thousand of them, in the turn of an append.
  const rising = Float64Array.from(sizes).sort();
  let rest = total;
  for (const [i, size] of rising.entries()) {
    const share = Math.floor(rest / (rising.length - i));
    if (size > share) return Math.max(1, share);
    rest -= size;
  }
  return Number.POSITIVE_INFINITY;
};

/**
 * A client may make up producer ids in every partition that it writes to. When all are too many,
 * the largest tables are cut to one size: who has few producers loses none to another's.
 */
export class ProducerBudget {
  readonly max: number;
  readonly #tables: () => Iterable<CountedProducers>;
  readonly #onForgotten: (count: number) => void;
  #count = 0;
  #pending = 0;
  /** Where tables are cut next. One producer of each stays, however many tables there are. */
  #limit: number;
  #isCutting = false;

  constructor(
    max: number,
    tables: () => Iterable<CountedProducers>,
    onForgotten: (count: number) => void,
  ) {
    this.max = max;
    this.#limit = max;
    this.#tables = tables;
    this.#onForgotten = onForgotten;
  }

  get count(): number {
    return this.#count;
  }

  /** A table has so many more than before, or fewer. */
  changed(by: number): void {
    this.#count += by;
    if (this.#count > this.#limit && !this.#isCutting) this.#even();
  }

  /** Tables that came without telling, as those of a start, count from here on. */
  recount(): void {
    this.#count = 0;
    this.#pending = 0;
    for (const { pending, size } of this.#tables()) {
      this.#count += size;
      this.#pending += pending;
    }
    this.#limit = this.max;
    this.changed(0);
  }

  /** Whether so many may be kept for a snapshot. */
  hasRoomFor(pending: number): boolean {
    return this.#pending + pending <= pendingProducersMax;
  }

  /** So many more are kept for snapshots than before, or fewer. */
  pendingChanged(by: number): void {
    this.#pending += by;
  }

  #even(): void {
    const tables = [...this.#tables()];
    const most = evenSize(
      tables.map(({ size }) => size),
      Math.floor(this.max * keptPart),
    );
    const before = this.#count;
    // What is trimmed tells so by `changed`, which must not begin anew.
    this.#isCutting = true;
    for (const table of tables) if (table.size > most) table.trim(most);
    this.#isCutting = false;
    this.#limit = Math.max(this.max, Math.ceil(this.#count / keptPart));
    if (this.#count < before) this.#onForgotten(before - this.#count);
  }
}
