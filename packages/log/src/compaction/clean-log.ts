/** Cleans one log, from its start to where the map of its keys has come to. */
import type { DiskFile } from "@millrace/env";
import { ErrorCode, hasCode } from "@millrace/errors";
import type { LogContext } from "../context.ts";
import { createAnew } from "../files/checksummed-file.ts";
import type { Partition } from "../partition/partition.ts";
import { lastBatchesOf } from "../partition/producer-table.ts";
import { unlinkIfThere } from "../segment/files.ts";
import { Segment } from "../segment/segment.ts";
import { LocalPass } from "./local-pass.ts";
import type { CleaningCounts, CleaningPass, SegmentRules } from "./pass.ts";
import type { CleaningPlan } from "./plan.ts";
import { Abandoned } from "./read-batches.ts";
import { swapFiles } from "./swap.ts";

/** Bytes looked at in one turn of the event loop, less than a millisecond. */
const bytesPerTurn = 256 * 1024;
/** Logs from this size on are cleaned in a thread, where there are threads, bytes. */
const apartBytesMin = 32 * 1024 * 1024;

/** What came of a cleaning. */
export interface Cleaned extends CleaningCounts {
  /** Segments that were written anew. */
  readonly segments: number;
}

export class LogCleaning {
  readonly #context: LogContext;
  readonly #partition: Partition;
  readonly #cuts: number;
  readonly #logStart: number;

  constructor(context: LogContext, partition: Partition) {
    this.#context = context;
    this.#partition = partition;
    this.#cuts = partition.cuts;
    this.#logStart = partition.logStartOffset;
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

  async #run(plan: CleaningPlan): Promise<Cleaned> {
    const pass = this.#begin(plan);
    try {
      const endOffset = await this.#mapKeys(pass, plan);
      const segments = this.#partition.segments.filter(({ baseOffset }) => baseOffset < endOffset);
      await this.#keepProducers(segments.at(-1)?.endOffset ?? endOffset);
      const producersAt = lastBatchesOf(this.#partition.producers.completed.entries());
      let count = 0;
      for (const segment of segments) {
        const swapped = await this.#clean(pass, segment, producersAt);
        if (swapped) count += 1;
      }
      await this.#complete(endOffset);
      return { ...pass.counts, segments: count };
    } finally {
      await pass.end();
    }
  }

  #begin({ dirty, firstDirty }: CleaningPlan): CleaningPass {
    const { beginCleaning, config, env } = this.#context;
    const settings = {
      mapBytesMax: config.cleanerMapBytesMax,
      secret: env.random.bytes(16),
      fromOffset: firstDirty,
      bytesPerSecondMax: config.cleanerBytesPerSecondMax,
    };
    const isVoid = (): boolean => this.#isVoid;
    const bytes = dirty.reduce((sum, { sizeBytes }) => sum + sizeBytes, 0);
    return beginCleaning !== undefined && bytes >= apartBytesMin
      ? beginCleaning(settings, isVoid)
      : new LocalPass(env, settings, isVoid, bytesPerTurn);
  }

  /** Returns the offset that the map has come to: it may be full before the end. */
  async #mapKeys(pass: CleaningPass, { dirty, firstDirty }: CleaningPlan): Promise<number> {
    let endOffset = firstDirty;
    for (const segment of dirty) {
      const { baseOffset, path, sizeBytes } = segment;
      const mapped = await this.#context.files.with(segment, (file) =>
        pass.mapKeys({ path, baseOffset, sizeBytes, file }),
      );
      endOffset = mapped.endOffset;
      if (mapped.isFull) break;
    }
    return endOffset;
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
    pass: CleaningPass,
    segment: Segment,
    producersAt: ReadonlySet<number>,
  ): Promise<boolean> {
    this.#check();
    if (segment.dropped) return false;
    const { config, files } = this.#partition;
    const { disk } = this.#context.env;
    const path = `${segment.path}.tmp`;
    // As file work: the directory may be another life's meanwhile.
    const output = await files.run(() => {
      this.#check();
      return createAnew(disk, path);
    });
    let swapped = false;
    try {
      const rules: SegmentRules = {
        producersAt,
        tombstonesGo: this.#tombstonesGoFrom(segment),
        indexIntervalBytes: config.indexIntervalBytes,
      };
      const cleaned = await this.#write(pass, segment, rules, output).finally(() => output.close());
      if (cleaned !== undefined) swapped = await this.#swap(segment, cleaned, path);
      return swapped;
    } finally {
      if (!swapped) await this.#removeTemporary(path);
    }
  }

  /** What is left of a segment, in its file and fsynced; undefined where nothing goes. */
  async #write(
    pass: CleaningPass,
    segment: Segment,
    rules: SegmentRules,
    output: DiskFile,
  ): Promise<Segment | undefined> {
    const { baseOffset, path, sizeBytes } = segment;
    const left = await this.#context.files.with(segment, (file) =>
      pass.clean({ path, baseOffset, sizeBytes, file }, rules, output),
    );
    if (left === undefined) return undefined;
    await output.sync();
    return Segment.cleaned(this.#partition.directory, baseOffset, left);
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
