/** Reads of one partition from its segment files. */
import type { DiskFile } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { bodyCrcMatches, iterateRecords, parseBody, readStored } from "@millrace/record";
import type { ReadLimit, ReadResult, TimestampOffset } from "../api.ts";
import type { LogContext } from "../context.ts";
import { inSteps, Pace } from "../files/breathe.ts";
import { isTransient, storageError } from "../files/disk-errors.ts";
import { BatchScanner, type ScannedBatch } from "../segment/batch-scanner.ts";
import { segmentOf } from "../segment/files.ts";
import { damaged, SegmentDamage } from "../segment/index-cache.ts";
import { type IndexRow, rowForOffset, rowForTimestamp } from "../segment/index-format.ts";
import type { Place } from "../segment/place.ts";
import type { Segment } from "../segment/segment.ts";
import { errors } from "./errors.ts";
import { FirstSegmentTimes } from "./first-segment-times.ts";
import type { PartitionTail } from "./tail-cache.ts";

/** Most bytes that the records of a stored batch may inflate to when they are looked at. */
export const inflatedBytesMax = 256 * 1024 * 1024;

/** What the reader needs of its partition. */
export interface ReadOwner {
  readonly name: string;
  readonly segments: readonly Segment[];
  readonly config: { readonly indexIntervalBytes: number };
  readonly logStartOffset: number;
  readonly logEndOffset: number;
  readonly highWatermark: number;
  readonly ackedEndOffset: number;
  readonly ackedSegment: Segment;
  readonly ackedPosition: number;
  /** Truncations and resets so far. */
  readonly cuts: number;
  /** Segments that were cleaned so far. */
  readonly swaps: number;
  readEnd(offset: number, limit: ReadLimit): number;
  takeOffline(reason: string): void;
}

interface Found {
  readonly chunk: Buffer;
  readonly nextOffset: number;
}

const none: Found = { chunk: Buffer.alloc(0), nextOffset: -1 };

/** Times that a read is begun anew because the log was truncated under it. */
const attemptsMax = 4;
/** The same because a segment was cleaned under it, which cannot go on for long. */
const swapsMax = 64;
/**
 * Age counts from the append time where a record's own time is absent or this far in the future.
 */
const futureMsMax = 3_600_000;
/** Records looked at in one turn of the event loop; about a millisecond. */
const recordsPerTurn = 4096;
/** Batches of a read that are checked in one turn. */
const batchesPerTurn = 512;
/** Bytes looked through at a time for the batch that holds an offset. */
const lookBytes = 256 * 1024;
/** Of the read that looks for a segment's first batch. */
const firstReadBytes = 4096;

export class PartitionReader {
  readonly #context: LogContext;
  readonly #owner: ReadOwner;
  readonly #tail: PartitionTail;
  readonly #firstTimes: FirstSegmentTimes;

  constructor(context: LogContext, owner: ReadOwner, tail: PartitionTail) {
    this.#context = context;
    this.#owner = owner;
    this.#tail = tail;
    this.#firstTimes = new FirstSegmentTimes(owner, {
      positionOf: async (segment, offset) =>
        (await this.#rowFor(segment, (rows) => rowForOffset(rows, offset)))?.position ?? 0,
      visit: (segment, position, visit) => this.#walk(segment, position, visit),
      largestIn: (batch) => this.#largestIn(batch, batch.info.records),
    });
  }

  tryReadTail(offset: number, maxBytes: number, limit: ReadLimit): ReadResult | undefined {
    const owner = this.#owner;
    const endOffset = owner.readEnd(offset, limit);
    const found =
      offset >= endOffset
        ? { chunks: [], bytes: 0, nextOffset: offset }
        : this.#tail.read(offset, endOffset, maxBytes);
    if (offset < endOffset) this.#context.observer.onTailCache?.(found !== undefined);
    if (found === undefined) return undefined;
    const { highWatermark, logStartOffset } = owner;
    return { ...found, highWatermark, logStartOffset };
  }

  async read(offset: number, maxBytes: number, limit: ReadLimit): Promise<ReadResult> {
    const owner = this.#owner;
    const cached = this.tryReadTail(offset, maxBytes, limit);
    if (cached !== undefined) return cached;
    const found = await this.#guard(offset, limit, async () => {
      const { ackedEndOffset } = owner;
      const endOffset = Math.min(owner.readEnd(offset, limit), ackedEndOffset);
      if (offset >= endOffset) return none;
      const segment = segmentOf(owner.segments, offset);
      const read = await this.#readSegment(segment, offset, endOffset, maxBytes);
      // The high watermark may lie inside of a batch; the end of what counts does not.
      if (read.chunk.length > 0 || endOffset < ackedEndOffset) return read;
      throw damaged(segment, segment.sizeBytes, `the batch of offset ${offset} is another log's`);
    });
    const { highWatermark, logStartOffset } = owner;
    return {
      chunks: found.chunk.length === 0 ? [] : [found.chunk],
      bytes: found.chunk.length,
      nextOffset: found.chunk.length === 0 ? offset : found.nextOffset,
      highWatermark,
      logStartOffset,
    };
  }

  /** The place of the batch that holds `offset`, which must be in the log. */
  placeOf(offset: number): Promise<Place> {
    return this.#guard(offset, "log_end", async () => {
      const segment = segmentOf(this.#owner.segments, offset);
      const row = await this.#rowFor(segment, (rows) => rowForOffset(rows, offset));
      const found = await this.#walk(segment, row?.position ?? 0, (batch) =>
        batch.lastOffset >= offset
          ? { offset: batch.header.baseOffset, position: batch.position }
          : undefined,
      );
      if (found !== undefined) return found;
      throw damaged(segment, segment.sizeBytes, `offset ${offset} is missing`);
    });
  }

  async offsetForTimestamp(timestampMs: number): Promise<TimestampOffset | undefined> {
    this.#owner.readEnd(this.#owner.logStartOffset, "high_watermark");
    return this.#guard(undefined, "high_watermark", () => this.#firstAt(timestampMs));
  }

  async #firstAt(timestampMs: number): Promise<TimestampOffset | undefined> {
    const owner = this.#owner;
    for (const segment of [...owner.segments]) {
      if (segment.endOffset <= owner.logStartOffset || segment.sizeBytes === 0) continue;
      if (segment.baseOffset >= owner.highWatermark) return undefined;
      const found = await this.#findIn(segment, timestampMs);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  async #findIn(segment: Segment, timestampMs: number): Promise<TimestampOffset | undefined> {
    if ((await this.#maxTimestampOf(segment)) < timestampMs) return undefined;
    const from = await this.#searchFrom(segment, timestampMs);
    const found = await this.#walk<TimestampOffset | "no more">(segment, from, (batch, body) => {
      if (batch.header.baseOffset >= this.#owner.highWatermark) return "no more";
      if (batch.info.maxTimestampMs < timestampMs) return undefined;
      return this.#find(batch, body, timestampMs);
    });
    return found === "no more" ? undefined : found;
  }

  /** A position before which no batch has a readable record at or after a time. */
  async #searchFrom(segment: Segment, timestampMs: number): Promise<number> {
    const row = await this.#rowFor(segment, (rows) => rowForTimestamp(rows, timestampMs));
    const position = row?.position ?? 0;
    if (segment.baseOffset >= this.#owner.logStartOffset) return position;
    // The row may be that of a deleted record.
    const { largestMs, largestAt, first, end } = await this.#firstTimes.of(segment);
    if (timestampMs > largestMs) return end;
    return timestampMs === largestMs ? largestAt : Math.max(position, first);
  }

  async maxTimestamp(): Promise<TimestampOffset | undefined> {
    const owner = this.#owner;
    owner.readEnd(owner.logStartOffset, "high_watermark");
    return this.#guard(undefined, "high_watermark", async () => {
      const { highWatermark: endOffset, logStartOffset, swaps } = owner;
      let largest = -1;
      for (const segment of [...owner.segments]) {
        if (segment.endOffset <= owner.logStartOffset || segment.baseOffset >= endOffset) continue;
        largest = Math.max(largest, await this.#maxTimestampBelow(segment, endOffset));
      }
      const found = largest < 0 ? undefined : await this.#firstAt(largest);
      // The record may have gone meanwhile, and is not the largest any more.
      const isOther = owner.logStartOffset !== logStartOffset || owner.swaps !== swaps;
      if (found === undefined && isOther) {
        throw changing(owner.name);
      }
      return found;
    });
  }

  /**
   * The time that a segment's age counts from: its largest record timestamp, where that is a time.
   * Records may have none (plain protobuf leaves them at 0), and one in the future would keep the
   * segment for ever; then the append time of the newest batch counts.
   */
  ageTimeOf(segment: Segment, nowMs: number): Promise<number> {
    return this.#guard(undefined, "log_end", () => this.#ageTimeOf(segment, nowMs));
  }

  async #ageTimeOf(segment: Segment, nowMs: number): Promise<number> {
    const largestMs = await this.#maxTimestampOf(segment);
    if (largestMs > 0 && largestMs <= nowMs + futureMsMax) return largestMs;
    const { lastAppendMonoMs } = segment;
    // Whatever the clock said then, it was so long ago.
    if (lastAppendMonoMs !== undefined) {
      return nowMs - (this.#context.env.clock.monoMs() - lastAppendMonoMs);
    }
    const appendMs = segment.lastAppendMs ?? (await this.#lastAppendOf(segment));
    return appendMs > 0 && appendMs <= nowMs + futureMsMax ? appendMs : nowMs;
  }

  /** Makes the append time of a segment's first batch known. Throws PARTITION_OFFLINE on damage. */
  async findFirstAppend(segment: Segment): Promise<void> {
    if (segment.sizeBytes === 0 || segment.firstAppendMs !== undefined) return;
    const { env, files } = this.#context;
    await this.#guard(undefined, "log_end", () =>
      files.with(segment, async (file) => {
        const scanner = new BatchScanner(env.clock, file, 0, segment.sizeBytes, firstReadBytes);
        const first = await scanner.peek();
        if (!("end" in first)) segment.foundFirstAppend(first.header.appendTimeMs);
        else if (!first.end) throw damaged(segment, 0, first.reason);
      }),
    );
  }

  /** Append time of a segment's last batch, read from the file. */
  async #lastAppendOf(segment: Segment): Promise<number> {
    const row = await this.#rowFor(segment, (rows) => rows.at(-1));
    let appendMs = -1;
    await this.#walk(segment, row?.position ?? 0, (batch) => {
      appendMs = batch.header.appendTimeMs;
      return undefined;
    });
    segment.foundLastAppend(appendMs);
    return appendMs;
  }

  /** Largest timestamp of a segment, -1 when it is empty. Reads its index when it must. */
  async #maxTimestampOf(segment: Segment): Promise<number> {
    if (!segment.index.complete) {
      await this.#context.indexes.rows(segment, this.#owner.config.indexIntervalBytes);
    }
    return segment.index.maxTimestampMs ?? -1;
  }

  /**
   * Largest timestamp of a segment's batches that can be read: the log may begin or end inside of
   * it.
   */
  async #maxTimestampBelow(segment: Segment, endOffset: number): Promise<number> {
    if (segment.baseOffset < this.#owner.logStartOffset) {
      return (await this.#firstTimes.of(segment)).largestMs;
    }
    if (segment.endOffset <= endOffset) return this.#maxTimestampOf(segment);
    const row = await this.#rowFor(segment, (rows) => rowForOffset(rows, endOffset));
    let largestMs = row?.maxBeforeMs ?? -1;
    await this.#walk(segment, row?.position ?? 0, (batch) => {
      if (batch.lastOffset >= endOffset) return true;
      largestMs = Math.max(largestMs, batch.info.maxTimestampMs);
      return undefined;
    });
    return largestMs;
  }

  /** Largest timestamp of the records of a batch at or behind the log start. */
  async #largestIn(batch: ScannedBatch, records: Uint8Array): Promise<number> {
    const pace = new Pace(this.#context.env.clock, recordsPerTurn);
    const set = await this.#plain(batch, records);
    let largestMs = -1;
    for (const record of iterateRecords(set, batch.info.baseTimestampMs)) {
      if (pace.took()) await pace.pause();
      const offset = batch.header.baseOffset + record.offsetDelta;
      if (offset >= this.#owner.logStartOffset) largestMs = Math.max(largestMs, record.timestampMs);
    }
    return largestMs;
  }

  async #plain({ info }: ScannedBatch, records: Uint8Array): Promise<Uint8Array> {
    const { compressor } = this.#context.env;
    if (info.compression === "none") return records;
    return compressor.decompress(info.compression, records, inflatedBytesMax);
  }

  /** First readable record of a batch at or after a time. */
  async #find(
    batch: ScannedBatch,
    records: Uint8Array,
    timestampMs: number,
  ): Promise<TimestampOffset | undefined> {
    const { info, header } = batch;
    const pace = new Pace(this.#context.env.clock, recordsPerTurn);
    const set = await this.#plain(batch, records);
    for (const record of iterateRecords(set, info.baseTimestampMs)) {
      if (pace.took()) await pace.pause();
      const offset = header.baseOffset + record.offsetDelta;
      if (record.timestampMs < timestampMs || offset < this.#owner.logStartOffset) continue;
      if (offset >= this.#owner.highWatermark) return undefined;
      return { offset, timestampMs: record.timestampMs, leaderEpoch: header.leaderEpoch };
    }
    return undefined;
  }

  async #rowFor(
    segment: Segment,
    pick: (rows: readonly IndexRow[]) => IndexRow | undefined,
  ): Promise<IndexRow | undefined> {
    const [rows, fresh] = await this.#context.indexes.rows(
      segment,
      this.#owner.config.indexIntervalBytes,
    );
    return pick(fresh) ?? pick(rows);
  }

  /** Bytes of a segment that count. Some may still have to be written. */
  #endPosition(segment: Segment): number {
    const { ackedPosition, ackedSegment } = this.#owner;
    if (segment === ackedSegment) return ackedPosition;
    return segment.baseOffset < ackedSegment.baseOffset ? segment.sizeBytes : segment.writtenBytes;
  }

  /** Visits whole batches from a position on until `visit` returns something. */
  async #walk<T>(
    segment: Segment,
    position: number,
    visit: (batch: ScannedBatch, records: Uint8Array) => T | undefined | Promise<T | undefined>,
  ): Promise<T | undefined> {
    const endPosition = this.#endPosition(segment);
    const { env, files, writes } = this.#context;
    await writes.reach(segment, endPosition);
    return files.with(segment, async (file) => {
      const scanner = new BatchScanner(env.clock, file, position, endPosition);
      for (;;) {
        const batch = await scanner.peek();
        if ("end" in batch) {
          if (batch.end) return undefined;
          throw damaged(segment, scanner.position, batch.reason);
        }
        const found = await visit(batch, batch.info.records);
        if (found !== undefined) return found;
        scanner.skip(batch);
      }
    });
  }

  async #readSegment(
    segment: Segment,
    offset: number,
    endOffset: number,
    maxBytes: number,
  ): Promise<Found> {
    const endPosition = this.#endPosition(segment);
    const row = await this.#rowFor(segment, (rows) => rowForOffset(rows, offset));
    // At least something of it must be there, or there is no file.
    await this.#context.writes.reach(segment, Math.min(endPosition, 1));
    return this.#context.files.with(segment, (file) =>
      this.#readFrom(file, segment, row?.position ?? 0, endPosition, offset, endOffset, maxBytes),
    );
  }

  /**
   * One read mostly. More where the batch that holds the offset lies far behind the index row, or
   * is larger than what was read.
   */
  async #readFrom(
    file: DiskFile,
    segment: Segment,
    from: number,
    endPosition: number,
    offset: number,
    endOffset: number,
    maxBytes: number,
  ): Promise<Found> {
    const ahead = Math.min(this.#owner.config.indexIntervalBytes, lookBytes) + 4096;
    let want = maxBytes + ahead;
    for (let position = from; ; ) {
      const size = Math.min(want, endPosition - position);
      await this.#context.writes.reach(segment, position + size);
      const buffer = Buffer.allocUnsafe(size);
      const bytes = await file.read(buffer, 0, size, position);
      const read = buffer.subarray(0, bytes);
      const { clock } = this.#context.env;
      const found = await inSteps(clock, select(read, offset, endOffset, maxBytes));
      if ("nextOffset" in found) return found;
      if ("reason" in found) throw damaged(segment, position + found.at, found.reason);
      if (bytes < size || size === endPosition - position) {
        throw damaged(segment, position + found.at, "the file ends inside a batch");
      }
      // The batches before `at` are not wanted: they need not be read again.
      position += found.at;
      want = Math.max(found.needBytes, ahead) + maxBytes;
    }
  }

  /**
   * Runs a read until no truncation straddled it: files may have been cut and written again under
   * it, so both what it returned and what it took for damage are void. Damage takes the partition
   * offline, once it is the log's: an index can lead astray. An offset that was deleted meanwhile
   * is out of range. What asks for no offset fails with a segment that was deleted meanwhile, and
   * is begun anew; so is what fails with one that was cleaned.
   */
  async #guard<T>(offset: number | undefined, limit: ReadLimit, run: () => Promise<T>): Promise<T> {
    const owner = this.#owner;
    const rebuilt = new Set<Segment>();
    let cleaned = 0;
    for (let attempt = 1; ; attempt += 1) {
      const { cuts, logStartOffset, swaps } = owner;
      let failure: unknown;
      try {
        const found = await run();
        if (owner.cuts === cuts) return found;
        failure = changing(owner.name);
      } catch (thrown) {
        failure = owner.cuts === cuts ? await this.#withoutIndex(thrown, rebuilt) : thrown;
        if (failure === undefined) continue;
        if (owner.cuts === cuts && owner.swaps !== swaps && cleaned < swapsMax) {
          cleaned += 1;
          attempt -= 1;
          continue;
        }
      }
      owner.readEnd(Math.max(offset ?? owner.logStartOffset, 0), limit);
      const startMoved = offset === undefined && owner.logStartOffset !== logStartOffset;
      const changed = owner.cuts !== cuts || startMoved;
      if (changed && attempt < attemptsMax) continue;
      throw changed ? changing(owner.name) : this.#failed(failure);
    }
  }

  /**
   * Builds the index of a damaged segment anew: undefined when the log is whole, and a read is to
   * be tried again. Once for each segment; otherwise what counts as the failure.
   */
  async #withoutIndex(thrown: unknown, rebuilt: Set<Segment>): Promise<unknown> {
    if (!(thrown instanceof SegmentDamage)) return thrown;
    const { segment } = thrown;
    if (segment.dropped || rebuilt.has(segment)) return thrown;
    rebuilt.add(segment);
    const { name: partition, config } = this.#owner;
    const { env, indexes } = this.#context;
    try {
      if (await indexes.buildAnew(segment, config.indexIntervalBytes)) {
        env.logger.warn(
          { partition, segment: segment.path },
          "an index was wrong and is built anew",
        );
      }
    } catch (damage) {
      return damage;
    }
    return undefined;
  }

  #failed(thrown: unknown): MillraceError {
    const { name } = this.#owner;
    if (thrown instanceof MillraceError) {
      if (thrown.code === ErrorCode.PARTITION_OFFLINE) this.#owner.takeOffline(thrown.message);
      return thrown;
    }
    if (isTransient(thrown)) return errors.busy(name, thrown);
    return storageError(`${name} cannot be read`, thrown);
  }
}

const changing = (name: string): MillraceError => errors.changing(name, "truncated");

type Selected =
  | Found
  | { readonly at: number; readonly reason: string }
  | { readonly at: number; readonly needBytes: number };

/**
 * The batches of a buffer from the one that holds `offset`, all below `endOffset`, within
 * `maxBytes` but for the first; or where and why there are none. Checks every CRC of what it
 * returns.
 */
function* select(
  buffer: Buffer,
  offset: number,
  endOffset: number,
  maxBytes: number,
): Generator<undefined, Selected, undefined> {
  let at = 0;
  let start = -1;
  let nextOffset = -1;
  for (let batches = 1; at < buffer.length; batches += 1) {
    if (batches % batchesPerTurn === 0) yield undefined;
    const batch = readStored(buffer, at);
    if ("fault" in batch) {
      if (start >= 0) break;
      if (batch.fault === "damaged") return { at, reason: batch.reason };
      return { at, needBytes: batch.needBytes };
    }
    const lastOffset = lastOffsetOf(buffer, batch);
    if (lastOffset === undefined) {
      if (start >= 0) break;
      return { at, reason: "the body cannot be parsed" };
    }
    if (nextOffset >= 0 && batch.baseOffset !== nextOffset) {
      if (start >= 0) break;
      return { at, reason: `offset ${nextOffset} is missing` };
    }
    nextOffset = lastOffset + 1;
    if (lastOffset >= offset) {
      if (start < 0 && batch.baseOffset > offset)
        return { at, reason: `offset ${offset} is missing` };
      const tooMuch = start >= 0 && batch.bodyEnd - start > maxBytes;
      const past = lastOffset >= endOffset || tooMuch;
      // The last offset comes from the body: nothing is concluded from a damaged one, not even that
      // there is nothing to read.
      if ((start < 0 || !past) && !bodyCrcMatches(buffer, batch)) {
        if (start < 0) return { at, reason: "body CRC is wrong" };
        nextOffset = batch.baseOffset;
        break;
      }
      if (past) {
        nextOffset = batch.baseOffset;
        break;
      }
      if (start < 0) start = at;
    }
    at = batch.bodyEnd;
  }
  if (start < 0) {
    return at >= buffer.length
      ? { at, needBytes: 1 }
      : { chunk: buffer.subarray(0, 0), nextOffset };
  }
  return { chunk: buffer.subarray(start, at), nextOffset };
}

const lastOffsetOf = (
  buffer: Buffer,
  batch: { baseOffset: number; bodyStart: number; bodyEnd: number },
): number | undefined => {
  try {
    const info = parseBody(buffer.subarray(batch.bodyStart, batch.bodyEnd));
    return batch.baseOffset + info.lastOffsetDelta;
  } catch {
    return undefined;
  }
};
