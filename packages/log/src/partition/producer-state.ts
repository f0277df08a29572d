/** The producers of one partition: as of the log end, as of what counts, and their snapshots. */
import type { LogContext, SegmentContext } from "../context.ts";
import { Pace, type Pauses } from "../files/breathe.ts";
import { isPassing } from "../files/disk-errors.ts";
import type { Segment } from "../segment/segment.ts";
import type { CountedProducers, ProducerBudget } from "./producer-budget.ts";
import {
  type Bounds,
  dropOldSnapshots,
  dropSnapshotsAbove,
  newestSnapshot,
  type ProducersAt,
  rebuildProducers,
  writeSnapshot,
} from "./producer-snapshots.ts";
import { asOf, type Producer, ProducerTable, producersPerTurn } from "./producer-table.ts";

const entriesOf = (all: readonly ProducersAt[]): number =>
  all.reduce((sum, { entries }) => sum + entries.length, 0);

const forgottenText = "producers of deleted segments may be forgotten";

/** Snapshots to write before a recovery point at `offset` may be. */
export interface SnapshotPlan {
  readonly snapshots: readonly ProducersAt[];
  /** Of the completed table, when the plan was made. */
  readonly version: number;
  /** Truncations before it. */
  readonly cuts: number;
  readonly offset: number;
}

export class ProducerState implements CountedProducers {
  /** As of the log end: decides about the next append. */
  readonly latest: ProducerTable;
  /** As of the acknowledged end: what recovery points claim. */
  readonly completed = new ProducerTable();
  readonly #budget: ProducerBudget;
  /** Taken when a segment began, in order; the log may not count up to there yet. */
  #rolls: ProducersAt[] = [];
  /** Offset of the newest snapshot on the disk. */
  #snapshotOffset: number | undefined;
  /** A truncation is under way: the tables are not those of the log. */
  #stale = false;
  #cuts = 0;

  constructor(budget: ProducerBudget) {
    this.#budget = budget;
    this.latest = new ProducerTable(budget);
  }

  get size(): number {
    return this.latest.size;
  }

  get pending(): number {
    return entriesOf(this.#rolls);
  }

  trim(most: number): void {
    for (const table of [this.latest, this.completed]) table.trim(most);
  }

  /** True when recovery must look for a snapshot. */
  get any(): boolean {
    return this.#stale || this.completed.size > 0;
  }

  /** A segment begins at the log end: the table as of then is kept for truncations. */
  rolled(offset: number): void {
    if (this.latest.size === 0 || !this.#budget.hasRoomFor(this.latest.size)) return;
    this.#keep([...this.#rolls, { offset, entries: this.latest.entries() }]);
  }

  /** `latest` is what recovery found; the snapshot of this offset, on the disk, matches exactly. */
  restored(snapshotOffset: number | undefined): void {
    this.#snapshotOffset = snapshotOffset;
  }

  /** What recovery found counts, before anything is done with the log. */
  async completeRestored(clock: Pauses): Promise<void> {
    await this.completed.copyFrom(this.latest, new Pace(clock, producersPerTurn));
    if (this.#snapshotOffset !== undefined)
      this.completed.durability.durableUpTo(this.completed.durability.version);
  }

  /** A batch counts from here on. A producer that was forgotten meanwhile stays so. */
  adopt(producer: Producer): void {
    if (this.latest.has(producer.id)) this.completed.adopt(producer);
  }

  expire(beforeMs: number, monoMs: number): void {
    this.latest.expire(beforeMs, monoMs);
    this.completed.expire(beforeMs, monoMs);
  }

  /** What must be written before a recovery point at `offset`. */
  plan(offset: number): SnapshotPlan | undefined {
    if (this.#stale) return undefined;
    const snapshots = this.#rolls.filter((roll) => roll.offset < offset);
    const { size, durability } = this.completed;
    const { version, pending } = durability;
    if (size > 0 && (this.#snapshotOffset !== offset || pending)) {
      snapshots.push({ offset, entries: this.completed.entries() });
    }
    if (snapshots.length === 0) return undefined;
    return { snapshots, version, cuts: this.#cuts, offset };
  }

  /**
   * Writes the files of a plan, unless the log was cut since: then they are another history's. Only
   * as file work of the partition.
   */
  async write(context: SegmentContext, directory: string, plan: SnapshotPlan): Promise<void> {
    const { clock, disk } = context.env;
    for (const snapshot of plan.snapshots) {
      if (plan.cuts === this.#cuts) await writeSnapshot(clock, disk, directory, snapshot);
    }
  }

  /** The recovery point of a plan is durable: older snapshots may go. */
  async settled(
    context: SegmentContext,
    directory: string,
    bounds: Bounds,
    plan: SnapshotPlan,
  ): Promise<void> {
    if (plan.cuts !== this.#cuts) return;
    this.#keep(this.#rolls.filter(({ offset }) => offset > plan.offset));
    if (plan.snapshots.at(-1)?.offset === plan.offset) {
      this.#snapshotOffset = plan.offset;
      this.completed.durability.durableUpTo(plan.version);
    }
    await dropOldSnapshots(context.env.disk, directory, bounds, this.#snapshotOffset);
  }

  /** The log was cut at `offset`. The tables are void until `rebuild`. */
  cut(offset: number): void {
    this.#stale = true;
    this.#cuts += 1;
    this.#keep(this.#rolls.filter((roll) => roll.offset <= offset));
    if (this.#snapshotOffset !== undefined && this.#snapshotOffset > offset) {
      this.#snapshotOffset = undefined;
    }
  }

  /** The log begins anew, or is deleted: nobody has produced to it. */
  beginAnew(): void {
    this.#cuts += 1;
    this.#keep([]);
    this.#snapshotOffset = undefined;
    for (const table of [this.latest, this.completed]) table.replace([]);
  }

  /**
   * Makes both tables those of the log that ends at `offset`. What `waiting` says of producers is
   * in no snapshot yet: segments that left the log, and whose files could not go. Only as file work
   * of the partition, while nothing is appended. Throws PARTITION_OFFLINE on damage.
   */
  async rebuild(
    context: LogContext,
    directory: string,
    { waiting, segments }: { waiting: readonly Segment[]; segments: readonly Segment[] },
    offset: number,
  ): Promise<void> {
    await dropSnapshotsAbove(context.env.disk, directory, offset);
    const known = this.latest.size > 0 || this.completed.size > 0;
    if (known) {
      await this.#writeRolls(context, directory, offset);
      try {
        const all = [...waiting, ...segments];
        await rebuildProducers(context, directory, all, this.latest, offset);
      } catch (thrown) {
        if (isPassing(thrown) || waiting.length === 0) throw thrown;
        context.env.logger.warn({ directory, err: thrown }, forgottenText);
        await rebuildProducers(context, directory, segments, this.latest, offset);
      }
    }
    await this.completed.copyFrom(this.latest, new Pace(context.env.clock, producersPerTurn));
    this.#stale = false;
  }

  /**
   * Writes a snapshot of `offset`, where segments are about to go and none behind them can be
   * relied on: one that was taken as the next segment began, or else what the segments say. False
   * when nothing had to be written.
   */
  async secure(
    context: LogContext,
    directory: string,
    dropped: readonly Segment[],
    offset: number,
  ): Promise<boolean> {
    const { clock, disk, logger } = context.env;
    const written = await this.#writeRolls(context, directory, offset);
    const nobody = this.latest.size === 0 && this.completed.size === 0;
    if (nobody || written === offset) return written !== undefined;
    const newest = await newestSnapshot(context.env, directory, offset);
    if (newest?.offset === offset) return written !== undefined;
    const table = new ProducerTable();
    try {
      await rebuildProducers(context, directory, dropped, table, offset);
    } catch (thrown) {
      if (isPassing(thrown)) throw thrown;
      // They go because they are old, readable or not: what is in memory of them stays.
      logger.warn({ directory, err: thrown }, forgottenText);
      table.replace(this.completed.entries().map(asOf(offset)));
    }
    await writeSnapshot(clock, disk, directory, { offset, entries: table.entries() });
    return true;
  }

  #keep(rolls: ProducersAt[]): void {
    this.#budget.pendingChanged(entriesOf(rolls) - entriesOf(this.#rolls));
    this.#rolls = rolls;
  }

  /** Writes the newest snapshot up to `offset` that is still in memory. Returns its offset. */
  async #writeRolls(
    { env }: SegmentContext,
    directory: string,
    offset: number,
  ): Promise<number | undefined> {
    const newest = this.#rolls.findLast((roll) => roll.offset <= offset);
    if (newest !== undefined) await writeSnapshot(env.clock, env.disk, directory, newest);
    return newest?.offset;
  }
}
