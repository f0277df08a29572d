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
/** Tables looked at, and producers forgotten, in the turn of one append; some milliseconds. */
export const stepsPerAppend = 2048;

/** Tables that are being cut to one size. */
interface Cut {
  readonly most: number;
  /** Those that are still to be looked at. */
  readonly tables: Iterator<CountedProducers>;
  forgotten: number;
}

/**
 * Largest size at which tables of these sizes have at most `total` together: those that are smaller
 * keep what they have. At least 1.
 */
export const evenSize = (tables: Iterable<{ readonly size: number }>, total: number): number => {
  // Counted, not sorted: there may be ten thousand of them, in the turn of an append.
  const ofSize: number[] = [];
  let larger = 0;
  for (const { size } of tables) {
    while (ofSize.length <= size) ofSize.push(0);
    ofSize[size] = (ofSize[size] ?? 0) + 1;
    larger += 1;
  }
  let together = 0;
  for (const [size, tablesOfSize] of ofSize.entries()) {
    larger -= tablesOfSize;
    // One more for each table that has more.
    together += larger;
    if (together > total) return Math.max(1, size);
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
  #cut: Cut | undefined;
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
    if ((this.#count > this.#limit || this.#cut !== undefined) && !this.#isCutting) this.#even();
  }

  /** Tables that came without telling, as those of a start, count from here on. In steps. */
  *recount(): Generator<undefined, void, undefined> {
    this.#count = 0;
    this.#pending = 0;
    for (const { pending, size } of this.#tables()) {
      this.#count += size;
      this.#pending += pending;
    }
    this.#limit = this.max;
    for (this.changed(0); this.#cut !== undefined; this.changed(0)) yield;
  }

  /** Whether so many may be kept for a snapshot. */
  hasRoomFor(pending: number): boolean {
    return this.#pending + pending <= pendingProducersMax;
  }

  /** So many more are kept for snapshots than before, or fewer. */
  pendingChanged(by: number): void {
    this.#pending += by;
  }

  /** Cuts some of the tables; the next change goes on behind them. */
  #even(): void {
    this.#cut ??= {
      most: evenSize(this.#tables(), Math.floor(this.max * keptPart)),
      tables: this.#tables()[Symbol.iterator](),
      forgotten: 0,
    };
    const cut = this.#cut;
    // What is trimmed tells so by `changed`, which must not begin anew.
    this.#isCutting = true;
    let next = cut.tables.next();
    for (let steps = 0; next.done !== true; next = cut.tables.next()) {
      const before = this.#count;
      if (next.value.size > cut.most) next.value.trim(cut.most);
      cut.forgotten += before - this.#count;
      steps += 1 + before - this.#count;
      if (steps >= stepsPerAppend) break;
    }
    this.#isCutting = false;
    if (next.done !== true) return;
    this.#cut = undefined;
    this.#limit = Math.max(this.max, Math.ceil(this.#count / keptPart));
    if (cut.forgotten > 0) this.#onForgotten(cut.forgotten);
  }
}
