/** What recovery knows of a partition's producers, by snapshots and by the batches behind them. */
import type { RecoveryPoint } from "@millrace/proto/storage";
import type { SegmentContext } from "../context.ts";
import { Pace } from "../files/breathe.ts";
import type { Partition } from "../partition/partition.ts";
import {
  dropSnapshotsAbove,
  newestSnapshot,
  type ProducersAt,
  parseProducersName,
  rebuildProducers,
} from "../partition/producer-snapshots.ts";
import { producersPerTurn } from "../partition/producer-table.ts";
import type { Segment } from "../segment/segment.ts";

/** Where recovery begins to look at batches. */
interface Beginning {
  readonly point: RecoveryPoint | undefined;
  /** In the partition's directory. */
  readonly names: ReadonlySet<string>;
  /** Offset from which the journal has batches. */
  readonly from: number;
  /** Segments of the log up to `end`. */
  readonly segments: readonly Segment[];
  readonly end: number;
  readonly logStart: number;
}

export class RecoveredProducers {
  readonly #context: SegmentContext;
  readonly #partition: Partition;
  readonly #pace: Pace;
  #logStart = 0;
  /** Of the snapshot that the table began with. */
  #snapshotOffset: number | undefined;
  /** Knows batches of deleted segments, and recovery has not come to its offset yet. */
  #ahead: ProducersAt | undefined;
  /** Where the table has come to, while the journal fills a hole in the segments. */
  #holeFrom: number | undefined;

  constructor(context: SegmentContext, partition: Partition) {
    this.#context = context;
    this.#partition = partition;
    this.#pace = new Pace(context.env.clock, producersPerTurn);
  }

  get snapshotOffset(): number {
    return this.#snapshotOffset ?? 0;
  }

  /** Offset of the snapshot on the disk that holds exactly what is known at `end`. */
  snapshotAt(end: number): number | undefined {
    return this.#snapshotOffset === end ? end : undefined;
  }

  /**
   * Makes the table what is known as of `end`, or as of `from`, where segments behind it are gone:
   * `remember` fills the hole then.
   */
  async load({ point, names, from, segments, end, logStart }: Beginning): Promise<void> {
    const { disk } = this.#context.env;
    const { directory, producers } = this.#partition;
    this.#logStart = logStart;
    // Nothing below the log start can have another history.
    if ([...names].some((name) => parseProducersName(name) !== undefined))
      await dropSnapshotsAbove(disk, directory, Math.max(end, logStart));
    // The point says that there were none, as of its offset.
    const none = point?.producerSnapshot === false && end <= Number(point.offset);
    if (none) return;
    const { latest } = producers;
    const rebuild = (at: number) =>
      rebuildProducers(this.#context, directory, segments, latest, at);
    let rebuilt = await rebuild(end);
    if (!rebuilt.whole && from < end) {
      rebuilt = await rebuild(from);
      this.#holeFrom = from;
      if (!rebuilt.whole) await this.#lookAhead(from);
    } else if (!rebuilt.whole) await this.#lookAhead(end);
    this.#snapshotOffset = rebuilt.snapshotOffset;
  }

  /** The journal has a batch from `offset` to `end` that is in no segment. */
  async remember(offset: number, end: number): Promise<void> {
    if (this.#holeFrom === undefined) return;
    if (offset > this.#holeFrom) await this.#forgetBefore(offset);
    this.#holeFrom = end;
  }

  /** The log goes on at `end`. What is missing before it is in no segment nor in the journal. */
  async goOn(end: number): Promise<void> {
    const from = this.#holeFrom;
    if (from === undefined) return;
    this.#holeFrom = undefined;
    if (from < end) await this.#forgetBefore(end);
    // The journal moves on: a truncation needs a snapshot that has what it knew.
    this.#partition.producers.rolled(end);
  }

  async #forgetBefore(offset: number): Promise<void> {
    await this.forgetSequences();
    await this.#lookAhead(offset);
  }

  /** The segments that are gone had a snapshot written before, maybe of an offset behind `end`. */
  async #lookAhead(end: number): Promise<void> {
    if (this.#logStart <= end) return;
    const { directory } = this.#partition;
    const ahead = await newestSnapshot(this.#context.env, directory, this.#logStart);
    if (ahead !== undefined && ahead.offset > end) this.#ahead = ahead;
  }

  /** Recovery has come to `end`, batch by batch. */
  reached(end: number): void {
    if (this.#ahead?.offset === end) this.#begin(this.#ahead);
  }

  /**
   * Everything from `end` to `offset` is deleted. The segments that went had a snapshot written
   * before: it knows producers that recovery has not met.
   */
  async goOnAt(offset: number, end: number): Promise<void> {
    const { directory } = this.#partition;
    const snapshot = await newestSnapshot(this.#context.env, directory, offset);
    if (snapshot !== undefined && snapshot.offset > end) this.#begin(snapshot);
    if (snapshot?.offset === offset) return;
    await this.#forgetBefore(offset);
  }

  /** Batches are missing here: producers may have gone on in them. */
  forgetSequences(): Promise<void> {
    return this.#partition.producers.latest.forgetSequences(this.#pace);
  }

  #begin(snapshot: ProducersAt): void {
    this.#partition.producers.latest.replace(snapshot.entries);
    this.#snapshotOffset = snapshot.offset;
    this.#ahead = undefined;
  }
}
