/**
 * Reads records of one log by their offsets. The batch that was read last is kept, and no other:
 * records are copied out of theirs.
 */
import { create } from "@bufbuild/protobuf";
import type { Clock, Compressor } from "@millrace/env";
import type { PartitionLog } from "@millrace/log";
import { type FetchedRecord, FetchedRecordSchema } from "@millrace/proto/broker";
import { type DecodedRecord, RecordWalk } from "@millrace/record";
import { batchesIn, type ReadBatch, recordSetOf } from "./log-records.ts";

/** Records that are passed over in one turn of the event loop. */
const recordsPerTurn = 20_000;

interface PlainBatch extends ReadBatch {
  readonly set: Uint8Array;
}

/** A record, as calls answer it. */
export const fetchedRecord = (
  record: DecodedRecord,
  offset: number,
  leaderEpoch: number,
): FetchedRecord =>
  create(FetchedRecordSchema, {
    offset: BigInt(offset),
    timestampMs: BigInt(record.timestampMs),
    ...(record.key === undefined ? {} : { key: record.key }),
    ...(record.value === undefined ? {} : { value: record.value }),
    headers: record.headers.map(({ name, value }) => ({
      name,
      ...(value === undefined ? {} : { value }),
    })),
    leaderEpoch,
  });

/** Larger batches say nothing of the next one: too much would be read for nothing. */
const likelyBytesMax = 2 * 1024 * 1024;

/**
 * How large the next batch of a log is likely to be: as large as the one before it. A log that is
 * asked for as much finds a batch in one read of its file, and otherwise in two.
 */
export class LikelyBatchBytes {
  #bytes = 1;

  get bytes(): number {
    return this.#bytes;
  }

  /** A batch had so many. */
  was(bytes: number): void {
    this.#bytes = bytes <= likelyBytesMax ? bytes : 1;
  }
}

export class RecordReader {
  readonly #clock: Pick<Clock, "defer">;
  readonly #compressor: Compressor;
  readonly #log: PartitionLog;
  readonly #likely: LikelyBatchBytes;
  #last: PlainBatch | undefined;

  /** `likely` outlives the reader: it knows the log. */
  constructor(
    clock: Pick<Clock, "defer">,
    compressor: Compressor,
    log: PartitionLog,
    likely: LikelyBatchBytes,
  ) {
    this.#clock = clock;
    this.#compressor = compressor;
    this.#log = log;
    this.#likely = likely;
  }

  /**
   * The committed record at an offset; undefined where compaction has removed it. Throws as
   * `PartitionLog.read` does.
   */
  async at(offset: number): Promise<FetchedRecord | undefined> {
    const batch = await this.#batchOf(offset);
    if (batch === undefined) return undefined;
    const cursor = new RecordWalk(batch.set, batch.info.baseTimestampMs);
    for (let passed = 1; cursor.next(); passed += 1) {
      const at = batch.baseOffset + cursor.offsetDelta;
      if (at > offset) return undefined;
      if (at === offset) {
        return fetchedRecord(cursor.decodeCopy(), offset, batch.leaderEpoch);
      }
      if (passed % recordsPerTurn === 0) {
        await new Promise<void>((resolve) => this.#clock.defer(resolve));
      }
    }
    return undefined;
  }

  async #batchOf(offset: number): Promise<PlainBatch | undefined> {
    const last = this.#last;
    if (last !== undefined && last.baseOffset <= offset && offset <= last.lastOffset) return last;
    // The batch that has the offset comes whole, however few bytes are asked for.
    const read =
      this.#log.tryReadTail(offset, 1, "high_watermark") ??
      (await this.#log.read(offset, this.#likely.bytes, "high_watermark"));
    for (const batch of batchesIn(read)) {
      if (batch.lastOffset < offset) continue;
      this.#likely.was(batch.storedBytes);
      this.#last = { ...batch, set: await recordSetOf(batch.info, this.#compressor) };
      return this.#last;
    }
    return undefined;
  }
}
