/** Leader-epoch cache: where each leader epoch began (KIP-101, KIP-279). */
import { assert } from "@millrace/errors";
import { Durability } from "../files/durability.ts";

export interface EpochEntry {
  readonly leaderEpoch: number;
  readonly startOffset: number;
}

/** Rising epochs with rising or equal start offsets. */
export class EpochCache {
  #entries: EpochEntry[] = [];
  /**
   * The log starts here. The first epoch may have begun before it, which a truncation must know.
   */
  #logStartOffset = 0;
  /** Of all entries, by the `leader-epochs` file. */
  readonly durability = new Durability();

  get latest(): number {
    return this.#entries.at(-1)?.leaderEpoch ?? 0;
  }

  /** Where the latest epoch began; undefined when none is known. */
  get latestStart(): number | undefined {
    return this.#entries.at(-1)?.startOffset;
  }

  /** As they began, the first one maybe below the log start. */
  get entries(): readonly EpochEntry[] {
    return this.#entries;
  }

  /** Replaces everything by what the file holds. */
  load(entries: readonly EpochEntry[]): void {
    this.#entries = [...entries];
  }

  /**
   * Epoch `leaderEpoch` begins at `startOffset`; nothing when it is the latest already. An epoch
   * that began at the same offset had no records and stays known, as Kafka keeps it.
   */
  assign(leaderEpoch: number, startOffset: number): boolean {
    const last = this.#entries.at(-1);
    if (last !== undefined && leaderEpoch <= last.leaderEpoch) {
      assert(leaderEpoch === last.leaderEpoch, "leader epochs rise");
      return false;
    }
    assert(last === undefined || startOffset >= last.startOffset, "epoch starts rise");
    this.#entries.push({ leaderEpoch, startOffset });
    this.durability.changed();
    return true;
  }

  /** A deleted batch at `offset` was of this epoch. Later ones may be known already. */
  remember(leaderEpoch: number, offset: number): void {
    const last = this.#entries.at(-1);
    const later =
      last !== undefined && (offset < last.startOffset || leaderEpoch < last.leaderEpoch);
    if (!later) this.assign(leaderEpoch, offset);
  }

  /** Forgets epochs that began at or after `endOffset`. */
  truncateFromEnd(endOffset: number): void {
    const kept = this.#entries.filter((entry) => entry.startOffset < endOffset);
    if (kept.length !== this.#entries.length) this.durability.changed();
    this.#entries = kept;
  }

  /**
   * The log starts at `startOffset`: forgets epochs that ended before it. The one that ended right
   * there is the latest again after a truncation to the log start.
   */
  truncateFromStart(startOffset: number): void {
    this.#logStartOffset = startOffset;
    const first = this.#entries.findLastIndex((entry) => entry.startOffset < startOffset);
    if (first <= 0) return;
    this.#entries = this.#entries.slice(first);
    this.durability.changed();
  }

  /** The log begins anew at `startOffset`: nobody has led it. */
  beginAnew(startOffset: number): void {
    this.#entries = [];
    this.#logStartOffset = startOffset;
    this.durability.changed();
  }

  /**
   * (largest epoch ≤ the one asked, where the next one begins); undefined for a newer epoch than
   * any.
   */
  endOffsetFor(
    leaderEpoch: number,
    logEndOffset: number,
  ): { leaderEpoch: number; endOffset: number } | undefined {
    const last = this.#entries.at(-1);
    if (last === undefined || leaderEpoch > last.leaderEpoch) return undefined;
    if (leaderEpoch === last.leaderEpoch) return { leaderEpoch, endOffset: logEndOffset };
    const next = this.#entries.findIndex((entry) => entry.leaderEpoch > leaderEpoch);
    const nextStart = this.#entries[next]?.startOffset ?? logEndOffset;
    const endOffset = Math.max(nextStart, this.#logStartOffset);
    return { leaderEpoch: this.#entries[next - 1]?.leaderEpoch ?? leaderEpoch, endOffset };
  }

  /** The latest epoch that began at or before `offset`. */
  latestAt(offset: number): EpochEntry | undefined {
    return this.#entries.findLast(({ startOffset }) => startOffset <= offset);
  }

  /** Epoch of the record at `offset`; 0 when unknown. */
  epochOf(offset: number): number {
    return this.latestAt(offset)?.leaderEpoch ?? 0;
  }
}
