/**
 * Which leader epochs a partition must know, and where they began (KIP-101, KIP-279), written anew
 * from the rules.
 */

export interface ModelEpoch {
  readonly epoch: number;
  readonly startOffset: number;
  /** Its record was acknowledged: it must be known after any crash. */
  confirmed: boolean;
  /** The log may take it to have begun as late as this, where its first batches were lost. */
  readonly latestStart?: number;
  /** The log may not know it any more: no flush makes it known. */
  readonly maybeUnknown?: boolean;
}

type Span = Pick<ModelEpoch, "epoch" | "startOffset">;

interface PossibleEpochs {
  /** Those that the log knows, where they began. */
  readonly known: readonly Span[];
  /** What its answers come from: none of them begins below the log start. */
  readonly answering: readonly Span[];
}

/**
 * What is left when the log begins at `offset`: the epoch that covers it begins there. Epochs that
 * ended there may still be known, from any of them on: they have no records, and the answers mean
 * the same.
 */
const fromStart = (epochs: readonly Span[], offset: number): Span[][] => {
  const covering = epochs.findLastIndex(({ startOffset }) => startOffset <= offset);
  if (covering < 0) return [[...epochs]];
  const ended = epochs.findLastIndex(({ startOffset }) => startOffset < offset);
  return epochs.slice(Math.max(0, ended), covering + 1).map(({ epoch }, i) => {
    const first = Math.max(0, ended) + i;
    return [{ epoch, startOffset: offset }, ...epochs.slice(first + 1)];
  });
};

/** Lists of epochs that are tried, where many are not certain: 2^12 for twelve of them. */
const listsMax = 4096;

export const endOffsetFor = (
  epochs: readonly Span[],
  epoch: number,
  endOffset: number,
): { leaderEpoch: number; endOffset: number } | undefined => {
  const latest = epochs.at(-1);
  if (latest === undefined || epoch > latest.epoch) return undefined;
  const next = epochs.findIndex((entry) => entry.epoch > epoch);
  if (next < 0) return { leaderEpoch: epoch, endOffset };
  return {
    leaderEpoch: epochs[next - 1]?.epoch ?? epoch,
    endOffset: epochs[next]?.startOffset ?? endOffset,
  };
};

export class EpochModel {
  epochs: ModelEpoch[] = [];
  /**
   * What was cut or damaged cannot be told from here on: only the latest confirmed epoch is
   * asserted.
   */
  doubtful = false;
  /** The file of epochs rotted: those without records may be forgotten. */
  damaged = false;
  /**
   * A batch rotted. It may have been the last that knew its epoch, once the log start has passed
   * what the epoch holds.
   */
  batchesRotted = false;

  copy(): EpochModel {
    const copy = new EpochModel();
    copy.epochs = this.epochs.map((entry) => ({ ...entry }));
    copy.doubtful = this.doubtful;
    copy.damaged = this.damaged;
    copy.batchesRotted = this.batchesRotted;
    return copy;
  }

  get latest(): number {
    return this.epochs.at(-1)?.epoch ?? 0;
  }

  /** An epoch begins, if it is new. */
  begin(epoch: number, startOffset: number): void {
    if (this.epochs.length === 0 || epoch > this.latest)
      this.epochs.push({ epoch, startOffset, confirmed: false });
  }

  /** The beginning of an epoch is durable: the log led in it. */
  confirm(epoch: number): void {
    this.epochs = this.epochs.map((entry) =>
      entry.epoch === epoch ? { ...entry, confirmed: true, maybeUnknown: false } : entry,
    );
  }

  /** What the log knows of the epochs up to one is durable. */
  confirmUpTo(epoch: number): void {
    for (const entry of this.epochs) {
      if (entry.epoch <= epoch && entry.maybeUnknown !== true) entry.confirmed = true;
    }
  }

  /** Everything from an offset on is cut: epochs that began there never were. */
  truncate(offset: number): void {
    this.epochs = this.epochs
      .filter(({ startOffset }) => startOffset < offset)
      .map((entry) => {
        const maybeUnknown = entry.maybeUnknown === true || (entry.latestStart ?? 0) >= offset;
        return { ...entry, maybeUnknown, confirmed: entry.confirmed && !maybeUnknown };
      });
  }

  /**
   * Every list of epochs that may be found in a log that ends at `end` and begins at `logStart`,
   * those that know most first.
   */
  possible(end: number, logStart: number, surviving: ReadonlySet<number>): PossibleEpochs[] {
    const bounded = this.epochs.map((entry, i) => {
      const startOffset = Math.min(entry.startOffset, end);
      const survives = surviving.has(entry.epoch);
      const next = this.epochs[i + 1]?.startOffset ?? end;
      const deleted = !survives && startOffset < next && next <= logStart;
      const durable = entry.confirmed && !this.damaged && !(this.batchesRotted && deleted);
      const certain = durable || survives;
      return { epoch: entry.epoch, startOffset, durable, certain };
    });
    const below = bounded.filter(({ startOffset }) => startOffset < logStart);
    // Of those that began below the log start only the last one that is known tells.
    const needed = below.findLastIndex(({ certain }) => certain) + 1;
    let lists: Span[][] = [];
    for (let known = below.length; known >= needed; known -= 1) lists.push(below.slice(0, known));
    const durable = below.findLastIndex((entry) => entry.durable) + 1;
    const last = below[needed - 1];
    if (last !== undefined && durable < needed) {
      // It is known by the batches that are left of it, and seems to begin with them.
      const { epoch } = last;
      for (let known = needed - 1; known >= durable; known -= 1) {
        lists.push([...below.slice(0, known), { epoch, startOffset: logStart }]);
      }
    }
    for (const { certain, ...entry } of bounded.slice(below.length)) {
      const without = lists;
      lists = without.map((list) => [...list, entry]);
      // Where it is not certain, it may be known or not.
      if (!certain && without.length < listsMax) lists.push(...without);
    }
    return lists.flatMap((known) =>
      fromStart(known, logStart).map((answering) => ({ known, answering })),
    );
  }

  /**
   * What was found counts from now on: the most that the answers agree with, of which only that is
   * certain without which none of them agrees. What began below the log start stays known: where
   * the file of epochs rots, an epoch without records is forgotten, and the one before it answers
   * instead.
   */
  adopt(found: readonly PossibleEpochs[]): void {
    this.doubtful = found.length === 0;
    const startsOf = (epoch: number): number[] =>
      found.flatMap(({ known }) => known.find((entry) => entry.epoch === epoch)?.startOffset ?? []);
    const [most] = found;
    const before = this.epochs;
    this.epochs = (most?.known ?? []).map(({ epoch, startOffset }) => {
      const starts = startsOf(epoch);
      const confirmed = starts.length === found.length;
      const doubted = before.find((entry) => entry.epoch === epoch)?.latestStart ?? 0;
      const latestStart = Math.max(doubted, ...starts);
      return { epoch, startOffset, confirmed, latestStart, maybeUnknown: !confirmed };
    });
  }
}
