/** Reads records of one log by their offsets. The batch that was read last is kept. */
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

export class RecordReader {
  readonly #clock: Pick<Clock, "defer">;
  readonly #compressor: Compressor;
  readonly #log: PartitionLog;
  #last: PlainBatch | undefined;

  constructor(clock: Pick<Clock, "defer">, compressor: Compressor, log: PartitionLog) {
    this.#clock = clock;
    this.#compressor = compressor;
    this.#log = log;
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
        return fetchedRecord(cursor.decode(), offset, batch.leaderEpoch);
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
    // One byte: the batch that has the offset comes whole, and no other.
    const read =
      this.#log.tryReadTail(offset, 1, "high_watermark") ??
      (await this.#log.read(offset, 1, "high_watermark"));
    for (const batch of batchesIn(read)) {
      if (batch.lastOffset < offset) continue;
      this.#last = { ...batch, set: await recordSetOf(batch.info, this.#compressor) };
      return this.#last;
    }
    return undefined;
  }
}
