/**
 * The largest timestamp that can be read of the segment which the log begins inside of. Its index
 * also knows the deleted records, so that takes a walk through the rest of the segment. Its outcome
 * is kept, and the next one goes on where it ended.
 */
import { WorkQueue } from "../files/work-queue.ts";
import type { ScannedBatch } from "../segment/batch-scanner.ts";
import type { Segment } from "../segment/segment.ts";

/** The batches that can be read as a whole, but for the records below the log start. */
export interface SegmentTimes {
  /** -1 where there is none. Milliseconds. */
  readonly largestMs: number;
  /** Position of the first batch that has it. */
  readonly largestAt: number;
  /** Position of the batch that holds the log start. */
  readonly first: number;
  /** Position behind the last one. */
  readonly end: number;
}

/** What the times are of: once that changes, they are void. */
interface TimesOwner {
  readonly logStartOffset: number;
  readonly highWatermark: number;
  /** Truncations and resets so far. */
  readonly cuts: number;
}

/** Reads of the segment. */
export interface SegmentWalk {
  /** A position at or before the batch that holds an offset. */
  positionOf(segment: Segment, offset: number): Promise<number>;
  /** Shows whole batches from a position on, until `visit` returns true. */
  visit(
    segment: Segment,
    position: number,
    visit: (batch: ScannedBatch) => true | undefined | Promise<true | undefined>,
  ): Promise<unknown>;
  /** Largest timestamp of a batch's records at or behind the log start. */
  largestIn(batch: ScannedBatch): Promise<number>;
}

interface KnownTimes extends SegmentTimes {
  readonly segment: Segment;
  readonly logStartOffset: number;
  readonly cuts: number;
}

export class FirstSegmentTimes {
  readonly #owner: TimesOwner;
  readonly #walk: SegmentWalk;
  /** Who asks while another walks gets what that one found. */
  readonly #walks = new WorkQueue();
  #known: KnownTimes | undefined;

  constructor(owner: TimesOwner, walk: SegmentWalk) {
    this.#owner = owner;
    this.#walk = walk;
  }

  /** Up to the high watermark as it is now. */
  of(segment: Segment): Promise<SegmentTimes> {
    return this.#walks.run(async () => {
      const { cuts, logStartOffset } = this.#owner;
      const known = this.#known;
      const holds =
        known?.segment === segment &&
        known.logStartOffset === logStartOffset &&
        known.cuts === cuts;
      const before = holds ? known : await this.#beginning(segment);
      const times = await this.#goOn(segment, before);
      // Of what changed under the walk nothing is known.
      const same = this.#owner.cuts === cuts && this.#owner.logStartOffset === logStartOffset;
      this.#known = same ? { ...times, segment, logStartOffset, cuts } : undefined;
      return times;
    });
  }

  async #beginning(segment: Segment): Promise<SegmentTimes> {
    const at = await this.#walk.positionOf(segment, this.#owner.logStartOffset);
    return { largestMs: -1, largestAt: at, first: at, end: at };
  }

  async #goOn(segment: Segment, before: SegmentTimes): Promise<SegmentTimes> {
    const { highWatermark, logStartOffset } = this.#owner;
    let { largestMs, largestAt, first, end } = before;
    await this.#walk.visit(segment, end, async (batch) => {
      const { header, info, lastOffset, position, bytes } = batch;
      if (lastOffset >= highWatermark) return true;
      if (lastOffset < logStartOffset) first = position + bytes;
      else {
        const whole = header.baseOffset >= logStartOffset;
        const ms = whole ? info.maxTimestampMs : await this.#walk.largestIn(batch);
        if (ms > largestMs) {
          largestMs = ms;
          largestAt = position;
        }
      }
      end = position + bytes;
      return undefined;
    });
    return { largestMs, largestAt, first, end };
  }
}
