/** Batches that the workload appends, and batches as they are found in a log. */
import type { AppendBatch, FlushPolicy } from "@millrace/log";
import {
  BatchBuilder,
  crcOf,
  decodeRecords,
  type ProducerStamp,
  parseBody,
  readStored,
} from "@millrace/record";
import { Violation } from "./violation.ts";

/** A batch that the log accepted. */
export interface ModelBatch {
  readonly baseOffset: number;
  readonly lastOffset: number;
  readonly leaderEpoch: number;
  readonly appendTimeMs: number;
  readonly batch: AppendBatch;
  readonly timestampsMs: readonly number[];
  /** As it was when the batch was appended. */
  readonly policy: FlushPolicy;
  acked: boolean;
}

/** A batch as a read returned it. */
export interface FoundBatch {
  readonly baseOffset: number;
  readonly lastOffset: number;
  readonly leaderEpoch: number;
  readonly appendTimeMs: number;
  readonly body: Buffer;
}

export interface RecordToMake {
  readonly key?: string | undefined;
  readonly value: string | null;
  readonly timestampMs: number;
}

export const makeBatch = (
  records: readonly RecordToMake[],
  producer?: ProducerStamp,
): AppendBatch => {
  const builder = new BatchBuilder(256);
  for (const { key, value, timestampMs } of records) {
    builder.append({
      key: key === undefined ? undefined : Buffer.from(key),
      value: value === null ? null : Buffer.from(value),
      timestampMs,
    });
  }
  const body = Buffer.from(builder.finishPlain(producer));
  return { body, bodyCrc: crcOf(body), info: parseBody(body) };
};

/** The producer of a batch, or undefined. */
export const stampOf = ({ info }: AppendBatch): ProducerStamp | undefined => {
  const { producerId, producerEpoch, baseSequence } = info;
  return producerId < 0 ? undefined : { producerId, producerEpoch, baseSequence };
};

/** The batches of a read. Throws a Violation for bytes that are none. */
export const batchesIn = (bytes: Buffer): FoundBatch[] => {
  const found: FoundBatch[] = [];
  for (let at = 0; at < bytes.length; ) {
    const stored = readStored(bytes, at);
    if ("fault" in stored)
      throw new Violation(`a read returned no batch: ${JSON.stringify(stored)}`);
    const body = bytes.subarray(stored.bodyStart, stored.bodyEnd);
    if (crcOf(body) !== stored.bodyCrc) {
      throw new Violation(`a read returned a damaged batch at offset ${stored.baseOffset}`);
    }
    const { baseOffset, leaderEpoch, appendTimeMs } = stored;
    const lastOffset = baseOffset + parseBody(body).lastOffsetDelta;
    found.push({ baseOffset, lastOffset, leaderEpoch, appendTimeMs, body });
    at = stored.bodyEnd;
  }
  return found;
};

/** Records of stored batches at or after an offset. */
export const recordsIn = (bytes: Buffer, from: number): { offset: number; value: string }[] => {
  const records: { offset: number; value: string }[] = [];
  for (const { baseOffset, body } of batchesIn(bytes)) {
    const info = parseBody(body);
    for (const record of decodeRecords(info.records, info.baseTimestampMs)) {
      const offset = baseOffset + record.offsetDelta;
      if (offset >= from)
        records.push({ offset, value: Buffer.from(record.value ?? []).toString() });
    }
  }
  return records;
};

export const isSame = (found: FoundBatch, model: ModelBatch): boolean =>
  found.baseOffset === model.baseOffset &&
  found.leaderEpoch === model.leaderEpoch &&
  found.appendTimeMs === model.appendTimeMs &&
  Buffer.compare(found.body, model.batch.body) === 0;

/** A batch for messages. */
export const describe = (batch: FoundBatch | ModelBatch | undefined): string =>
  batch === undefined
    ? "nothing"
    : `[${batch.baseOffset}..${batch.lastOffset} epoch ${batch.leaderEpoch}]`;
