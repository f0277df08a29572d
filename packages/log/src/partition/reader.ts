/** Reads of one partition from its segment files. */
import type { DiskFile } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import { bodyCrcMatches, iterateRecords, parseBody, readStored } from "@millrace/record";
import type { ReadLimit, ReadResult, TimestampOffset } from "../api.ts";
import type { LogContext } from "../context.ts";
import { storageError } from "../files/disk-errors.ts";
import { BatchScanner, type ScannedBatch } from "../segment/batch-scanner.ts";
import { segmentOf } from "../segment/files.ts";
import { damaged } from "../segment/index-cache.ts";
import { type IndexRow, rowForOffset, rowForTimestamp } from "../segment/index-format.ts";
import type { Segment } from "../segment/segment.ts";

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
  readEnd(offset: number, limit: ReadLimit): number;
  tryReadTail(offset: number, maxBytes: number, limit: ReadLimit): ReadResult | undefined;
  takeOffline(reason: string): void;
}

interface Found {
  readonly chunk: Buffer;
  readonly nextOffset: number;
}

const none: Found = { chunk: Buffer.alloc(0), nextOffset: -1 };

export class PartitionReader {
  readonly #context: LogContext;
  readonly #owner: ReadOwner;

  constructor(context: LogContext, owner: ReadOwner) {
    this.#context = context;
    this.#owner = owner;
  }

  async read(offset: number, maxBytes: number, limit: ReadLimit): Promise<ReadResult> {
    const owner = this.#owner;
    const cached = owner.tryReadTail(offset, maxBytes, limit);
    if (cached !== undefined) return cached;
    const endOffset = Math.min(owner.readEnd(offset, limit), owner.ackedEndOffset);
    let found = none;
    if (offset < endOffset) {
      const segment = segmentOf(owner.segments, offset);
      found = await this.#guard(offset, limit, () =>
        this.#readSegment(segment, offset, endOffset, maxBytes),
      );
    }
    const { highWatermark, logStartOffset } = owner;
    return {
      chunks: found.chunk.length === 0 ? [] : [found.chunk],
      bytes: found.chunk.length,
      nextOffset: found.chunk.length === 0 ? offset : found.nextOffset,
      highWatermark,
      logStartOffset,
    };
  }

  /** Base offset and position of the batch that holds `offset`, which must be in the log and on disk. */
  async batchAt(offset: number): Promise<{ readonly offset: number; readonly position: number }> {
    const segment = segmentOf(this.#owner.segments, offset);
    const row = await this.#rowFor(segment, (rows) => rowForOffset(rows, offset));
    return this.#walk(segment, row?.position ?? 0, (batch) =>
      batch.lastOffset >= offset
        ? { offset: batch.header.baseOffset, position: batch.position }
        : undefined,
    ).then((found) => {
      if (found === undefined)
        throw damaged(segment, segment.sizeBytes, `offset ${offset} is missing`);
      return found;
    });
  }

  async offsetForTimestamp(timestampMs: number): Promise<TimestampOffset | undefined> {
    const owner = this.#owner;
    const startOffset = owner.logStartOffset;
    owner.readEnd(startOffset, "high_watermark");
    for (const segment of [...owner.segments]) {
      if (segment.endOffset <= owner.logStartOffset || segment.sizeBytes === 0) continue;
      if (segment.baseOffset >= owner.highWatermark) return undefined;
      // The log may begin inside of the segment.
      const first = Math.max(segment.baseOffset, startOffset);
      const found = await this.#guard(first, "high_watermark", async () => {
        if ((await this.maxTimestampOf(segment)) < timestampMs) return undefined;
        const row = await this.#rowFor(segment, (rows) => rowForTimestamp(rows, timestampMs));
        return this.#walk(segment, row?.position ?? 0, (batch, body) =>
          batch.info.maxTimestampMs < timestampMs
            ? undefined
            : this.#find(batch, body, timestampMs),
        );
      });
      if (found !== undefined) return found;
    }
    return undefined;
  }

  async maxTimestamp(): Promise<TimestampOffset | undefined> {
    const owner = this.#owner;
    const startOffset = owner.logStartOffset;
    owner.readEnd(startOffset, "high_watermark");
    const endOffset = owner.highWatermark;
    let largestMs = -1;
    for (const segment of [...owner.segments]) {
      if (segment.endOffset <= owner.logStartOffset || segment.baseOffset >= endOffset) continue;
      const first = Math.max(segment.baseOffset, startOffset);
      const ms = await this.#guard(first, "high_watermark", () =>
        this.#maxTimestampBelow(segment, endOffset),
      );
      largestMs = Math.max(largestMs, ms);
    }
    return largestMs < 0 ? undefined : this.offsetForTimestamp(largestMs);
  }

  /** Largest timestamp of a segment, -1 when it is empty. Reads its index when it must. */
  async maxTimestampOf(segment: Segment): Promise<number> {
    if (segment.maxTimestampMs === undefined) {
      await this.#context.indexes.rows(segment, this.#owner.config.indexIntervalBytes);
    }
    return segment.maxTimestampMs ?? -1;
  }

  async #maxTimestampBelow(segment: Segment, endOffset: number): Promise<number> {
    if (segment.endOffset <= endOffset) return this.maxTimestampOf(segment);
    const row = await this.#rowFor(segment, (rows) => rowForOffset(rows, endOffset));
    let largestMs = row?.maxBeforeMs ?? -1;
    await this.#walk(segment, row?.position ?? 0, (batch) => {
      if (batch.lastOffset >= endOffset) return true;
      largestMs = Math.max(largestMs, batch.info.maxTimestampMs);
      return undefined;
    });
    return largestMs;
  }

  /** First readable record of a batch at or after a time. */
  async #find(
    batch: ScannedBatch,
    records: Uint8Array,
    timestampMs: number,
  ): Promise<TimestampOffset | undefined> {
    const { info, header } = batch;
    const set =
      info.compression === "none"
        ? records
        : await this.#context.env.compressor.decompress(
            info.compression,
            records,
            inflatedBytesMax,
          );
    for (const record of iterateRecords(set, info.baseTimestampMs)) {
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

  /** Bytes of a segment that count. They may still have to be written. */
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
    await this.#context.writes.reach(segment, endPosition);
    return this.#context.files.with(segment.path, false, async (file) => {
      const walker = new BatchScanner(file, position, endPosition);
      for (;;) {
        const batch = await walker.peek();
        if ("end" in batch) {
          if (batch.end) return undefined;
          throw damaged(segment, walker.position, batch.reason);
        }
        const found = await visit(batch, batch.info.records);
        if (found !== undefined) return found;
        walker.skip(batch);
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
    return this.#context.files.with(segment.path, false, (file) =>
      this.#readFrom(file, segment, row?.position ?? 0, endPosition, offset, endOffset, maxBytes),
    );
  }

  /** One read, or a second one where the first batch wanted is larger than what was read. */
  async #readFrom(
    file: DiskFile,
    segment: Segment,
    from: number,
    endPosition: number,
    offset: number,
    endOffset: number,
    maxBytes: number,
  ): Promise<Found> {
    let want = maxBytes + this.#owner.config.indexIntervalBytes + 4096;
    for (;;) {
      const size = Math.min(want, endPosition - from);
      await this.#context.writes.reach(segment, from + size);
      const buffer = Buffer.allocUnsafe(size);
      const bytes = await file.read(buffer, 0, size, from);
      const found = select(buffer.subarray(0, bytes), offset, endOffset, maxBytes);
      if ("nextOffset" in found) return found;
      if ("reason" in found) throw damaged(segment, from + found.at, found.reason);
      if (bytes < size || size === endPosition - from) {
        throw damaged(segment, from + found.at, "the file ends inside a batch");
      }
      want = found.at + found.needBytes + maxBytes;
    }
  }

  /** Damage takes the partition offline; a segment that was deleted meanwhile is out of range. */
  async #guard<T>(offset: number, limit: ReadLimit, run: () => Promise<T>): Promise<T> {
    try {
      return await run();
    } catch (thrown) {
      this.#owner.readEnd(Math.max(offset, 0), limit);
      if (thrown instanceof MillraceError) {
        if (thrown.code === ErrorCode.PARTITION_OFFLINE) this.#owner.takeOffline(thrown.message);
        throw thrown;
      }
      throw storageError(`${this.#owner.name} can not be read`, thrown);
    }
  }
}

type Selected =
  | Found
  | { readonly at: number; readonly reason: string }
  | { readonly at: number; readonly needBytes: number };

/** The batches of a buffer from the one that holds `offset`, all below `endOffset`, within `maxBytes` but for the
 * first; or where and why there are none. Checks every CRC of what it returns. */
const select = (buffer: Buffer, offset: number, endOffset: number, maxBytes: number): Selected => {
  let at = 0;
  let start = -1;
  let nextOffset = -1;
  while (at < buffer.length) {
    const batch = readStored(buffer, at);
    if ("fault" in batch) {
      if (start >= 0) break;
      if (batch.fault === "damaged") return { at, reason: batch.reason };
      return { at, needBytes: batch.needBytes };
    }
    const lastOffset = lastOffsetOf(buffer, batch);
    if (lastOffset === undefined) {
      if (start >= 0) break;
      return { at, reason: "the body can not be parsed" };
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
      // Where a batch ends its body says: nothing is concluded from a damaged one, not even that there is nothing to read.
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
};

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
