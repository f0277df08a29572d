/** Cleans one log, from its start to where the map of its keys has come to. */
import { ErrorCode, hasCode } from "@millrace/errors";
import type { LogContext } from "../context.ts";
import { createAnew } from "../files/checksummed-file.ts";
import type { Partition } from "../partition/partition.ts";
import { lastBatchesOf } from "../partition/producer-table.ts";
import { unlinkIfThere } from "../segment/files.ts";
import { Segment } from "../segment/segment.ts";
import { cleanSegment, type SegmentRules } from "./clean-segment.ts";
import { CleanedFile } from "./cleaned-file.ts";
import { KeyHash } from "./key-hash.ts";
import { mapKeys } from "./map-keys.ts";
import { OffsetMap } from "./offset-map.ts";
import type { CleaningPlan } from "./plan.ts";
import { Abandoned, type Cleaning, type CleaningCounts } from "./read-batches.ts";
import type { KnownKeys } from "./rules.ts";
import { Superseded } from "./superseded.ts";
import { swapFiles } from "./swap.ts";
import { Throttle } from "./throttle.ts";

/** Which records go is noted in a part of the memory of the map, besides it. */
const supersededPart = 8;

/** What came of a cleaning. */
export interface Cleaned extends CleaningCounts {
  /** Segments that were written anew. */
  readonly segments: number;
  readonly mapUsed: number;
}

export class LogCleaning {
  readonly #context: LogContext;
  readonly #partition: Partition;
  readonly #cleaning: Cleaning;
  readonly #cuts: number;
  readonly #logStart: number;

  constructor(context: LogContext, partition: Partition) {
    this.#context = context;
    this.#partition = partition;
    this.#cuts = partition.cuts;
    this.#logStart = partition.logStartOffset;
    const { clock } = context.env;
    this.#cleaning = {
      context,
      throttle: new Throttle(clock, context.config.cleanerBytesPerSecondMax, () => this.#isVoid),
      check: () => this.#check(),
      counts: { readBytes: 0, writtenBytes: 0 },
    };
  }

  /**
   * What the map says of a record is true for as long as the log is not cut: another one may come
   * to the same offset.
   */
  get #isVoid(): boolean {
    const { config, cuts, deleting, state } = this.#partition;
    const wanted = config.compactionEnabled && !this.#context.closing && !deleting;
    return !wanted || cuts !== this.#cuts || state.kind !== "online";
  }

  #check(): void {
    if (this.#isVoid) throw new Abandoned();
  }

  /** Throws Abandoned, and what the disk failed with. Damage takes the partition offline. */
  async run(plan: CleaningPlan): Promise<Cleaned> {
    try {
      return await this.#run(plan);
    } catch (thrown) {
      // A cut explains what looks like damage, and so does a segment that was deleted meanwhile.
      const isOther = this.#isVoid || this.#partition.logStartOffset !== this.#logStart;
      if (isOther) throw new Abandoned();
      if (hasCode(thrown, ErrorCode.PARTITION_OFFLINE)) this.#partition.takeOffline(thrown.message);
      throw thrown;
    }
  }

  async #run({ dirty, firstDirty }: CleaningPlan): Promise<Cleaned> {
    const { config, env } = this.#context;
    const map = new OffsetMap(config.cleanerMapBytesMax);
    const superseded = new Superseded(config.cleanerMapBytesMax / supersededPart);
    const hash = new KeyHash(env.random.bytes(16));
    const notes = { map, hash, superseded, fromOffset: firstDirty };
    const endOffset = await mapKeys(this.#cleaning, dirty, notes);
    const keys = { ...notes, endOffset };
    const mapUsed = map.bytes / config.cleanerMapBytesMax;
    const segments = this.#partition.segments.filter(({ baseOffset }) => baseOffset < endOffset);
    await this.#keepProducers(segments.at(-1)?.endOffset ?? endOffset);
    const producersAt = lastBatchesOf(this.#partition.producers.completed.entries());
    let count = 0;
    for (const segment of segments) {
      const swapped = await this.#clean(segment, keys, producersAt);
      if (swapped) count += 1;
    }
    await this.#complete(endOffset);
    return { ...this.#cleaning.counts, segments: count, mapUsed };
  }

  /**
   * A truncation, and a start, make the table of producers from a snapshot and the batches behind
   * it. There must be one behind everything that is cleaned.
   */
  async #keepProducers(offset: number): Promise<void> {
    const { directory, files, names, producers, segments } = this.#partition;
    await files.run(async () => {
      this.#check();
      if (await producers.secure(this.#context, directory, segments, offset)) names.changed();
      await files.syncNames();
    });
  }

  /** Returns whether anything of it went. */
  async #clean(
    segment: Segment,
    keys: KnownKeys,
    producersAt: ReadonlySet<number>,
  ): Promise<boolean> {
    this.#check();
    if (segment.dropped) return false;
    const { directory, config, files } = this.#partition;
    const { disk } = this.#context.env;
    const cleaned = new Segment(directory, segment.baseOffset);
    const path = `${segment.path}.tmp`;
    // As file work: the directory may be another life's meanwhile.
    const file = await files.run(() => {
      this.#check();
      return createAnew(disk, path);
    });
    let swapped = false;
    try {
      const output = new CleanedFile(file, cleaned, config.indexIntervalBytes);
      const rules: SegmentRules = {
        keys,
        producersAt,
        tombstonesGo: this.#tombstonesGoFrom(segment),
      };
      const changed = await cleanSegment(this.#cleaning, segment, rules, output).finally(() =>
        file.close(),
      );
      if (changed) swapped = await this.#swap(segment, cleaned, path);
      return swapped;
    } finally {
      if (!swapped) await this.#removeTemporary(path);
    }
  }

  #tombstonesGoFrom(segment: Segment): boolean {
    const { cleaned, config } = this.#partition;
    const cleanedMs = cleaned.cleanedMsOf(segment);
    const nowMs = this.#context.retentionClock.read();
    return cleanedMs > 0 && nowMs !== undefined && nowMs - cleanedMs > config.deleteRetentionMs;
  }

  /** In the order of the partition's changes: retention may have taken the segment. */
  #swap(old: Segment, cleaned: Segment, path: string): Promise<boolean> {
    const partition = this.#partition;
    return partition.change(async (segments) => {
      if (this.#isVoid || !segments.all.includes(old)) return false;
      await partition.files.run(() =>
        swapFiles(this.#context, partition, old, cleaned, path, () => segments.swap(old, cleaned)),
      );
      return true;
    });
  }

  async #removeTemporary(path: string): Promise<void> {
    const { deleting, files } = this.#partition;
    if (deleting || this.#context.closing) return;
    await files.run(() => unlinkIfThere(this.#context.env.disk, path));
  }

  /** Everything before `endOffset` is clean. */
  async #complete(endOffset: number): Promise<void> {
    const partition = this.#partition;
    const { env, retentionClock } = this.#context;
    const { disk, clock } = env;
    // Tombstones are rather kept for longer, where the clock is wrong.
    const nowMs = Math.max(clock.wallMs(), retentionClock.knownMs());
    await partition.change(() =>
      partition.files.run(async () => {
        this.#check();
        partition.cleaned.completed(endOffset, partition.segments, nowMs);
        await partition.cleaned.write(disk, partition.directory, partition.life.incarnation);
      }),
    );
  }
}
