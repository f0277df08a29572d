/** Batches with keys, and what a compacted log says of them: for tests. */
import type { CompressionName } from "@millrace/env";
import {
  BatchBuilder,
  crcOf,
  decodeRecords,
  type ProducerStamp,
  parseBody,
  readStored,
} from "@millrace/record";
import { syncCompressor } from "@millrace/record/node";
import type { AppendBatch, PartitionLog } from "./api.ts";

/** A null value is a tombstone; no key at all is possible, too. */
export interface KeyedRecord {
  readonly key?: string | undefined;
  readonly value: string | null;
  readonly timestampMs?: number;
}

export const keyedBatch = async (
  records: readonly KeyedRecord[],
  producer?: ProducerStamp,
  compression: CompressionName | "none" = "none",
): Promise<AppendBatch> => {
  const builder = new BatchBuilder(256);
  for (const { key, value, timestampMs = 1000 } of records) {
    builder.append({
      key: key === undefined ? undefined : Buffer.from(key),
      value: value === null ? null : Buffer.from(value),
      timestampMs,
    });
  }
  const options = { compression, compressor: syncCompressor };
  const body = await builder.finish(producer === undefined ? options : { ...options, producer });
  return { body, bodyCrc: crcOf(body), info: parseBody(body) };
};

/** A record as it is read. */
export interface FoundRecord {
  readonly offset: number;
  readonly key: string | undefined;
  readonly value: string | null;
  readonly timestampMs: number;
}

/** A batch as it is read. */
export interface FoundBatch {
  readonly baseOffset: number;
  readonly lastOffset: number;
  readonly leaderEpoch: number;
  readonly appendTimeMs: number;
  readonly producerId: number;
  readonly baseSequence: number;
  readonly bytes: number;
  readonly records: readonly FoundRecord[];
}

const textOf = (bytes: Uint8Array): string => Buffer.from(bytes).toString();

/** The batches in stored bytes. Throws where one is damaged. */
export const batchesOf = async (bytes: Buffer): Promise<FoundBatch[]> => {
  const found: FoundBatch[] = [];
  for (let at = 0; at < bytes.length; ) {
    const stored = readStored(bytes, at);
    if ("fault" in stored) throw new Error(`no batch: ${JSON.stringify(stored)}`);
    const body = bytes.subarray(stored.bodyStart, stored.bodyEnd);
    if (crcOf(body) !== stored.bodyCrc) throw new Error(`a wrong CRC at ${stored.baseOffset}`);
    const info = parseBody(body);
    const { baseOffset, leaderEpoch, appendTimeMs } = stored;
    const set =
      info.compression === "none"
        ? info.records
        : await syncCompressor.decompress(info.compression, info.records, 1e8);
    found.push({
      ...{ baseOffset, leaderEpoch, appendTimeMs, bytes: stored.bodyEnd - at },
      ...{ producerId: info.producerId, baseSequence: info.baseSequence },
      lastOffset: baseOffset + info.lastOffsetDelta,
      records: decodeRecords(set, info.baseTimestampMs).map((record) => ({
        offset: baseOffset + record.offsetDelta,
        key: record.key && textOf(record.key),
        value: record.value === undefined ? null : textOf(record.value),
        timestampMs: record.timestampMs,
      })),
    });
    at = stored.bodyEnd;
  }
  return found;
};

/** Everything up to the log end. Throws where offsets are missing or come twice. */
export const allBatches = async (log: PartitionLog, maxBytes = 2000): Promise<FoundBatch[]> => {
  const all: FoundBatch[] = [];
  for (let offset = log.logStartOffset; offset < log.logEndOffset; ) {
    const { chunks, nextOffset } = await log.read(offset, maxBytes, "log_end");
    const batches = await batchesOf(Buffer.concat(chunks));
    let next = batches[0]?.baseOffset ?? -1;
    if (next < 0 || next > offset) throw new Error(`a read at ${offset} begins at ${next}`);
    for (const batch of batches) {
      if (batch.baseOffset !== next) throw new Error(`${batch.baseOffset} where ${next} should be`);
      next = batch.lastOffset + 1;
    }
    if (next !== nextOffset) throw new Error(`${nextOffset} follows ${next}`);
    all.push(...batches);
    offset = nextOffset;
  }
  return all;
};

/** All records, in order. */
export const allRecords = async (log: PartitionLog): Promise<FoundRecord[]> =>
  (await allBatches(log)).flatMap(({ records }) => records);

/** The latest record of every key. */
export const latestOf = (records: readonly FoundRecord[]): Map<string, FoundRecord> => {
  const latest = new Map<string, FoundRecord>();
  for (const record of records) if (record.key !== undefined) latest.set(record.key, record);
  return latest;
};
