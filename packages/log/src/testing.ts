/** Helpers of this package's tests. */
import type { Clock, Logger } from "@millrace/env";
import {
  BatchBuilder,
  crcOf,
  decodeRecords,
  parseBody,
  readStored,
  type TopicId,
} from "@millrace/record";
import type { AppendBatch, Appended, PartitionLog, ReadLimit, ReadResult } from "./api.ts";

/** A logger that keeps the messages of warnings and errors. */
export const keepingLogger = (): { readonly logger: Logger; readonly told: string[] } => {
  const told: string[] = [];
  const keep = (_: unknown, message: string): void => {
    told.push(message);
  };
  const logger: Logger = {
    debug: () => {},
    info: () => {},
    warn: keep,
    error: keep,
    child: () => logger,
  };
  return { logger, told };
};

/**
 * Counts how often a computation lets others run: how long a turn takes is the machine's affair.
 */
export class PauseCounter {
  #pauses = 0;

  /** The clock for the computation. */
  clock(of: Clock): Clock {
    const defer = (fn: () => void): void => {
      this.#pauses += 1;
      of.defer(fn);
    };
    return { ...of, defer };
  }

  /** Pauses while `work` runs. */
  async of<T>(work: () => Promise<T>): Promise<{ readonly result: T; readonly pauses: number }> {
    const before = this.#pauses;
    const result = await work();
    return { result, pauses: this.#pauses - before };
  }
}

export const topicA = "000102030405060708090a0b0c0d0e0f" as TopicId;

export interface TestRecord {
  readonly value: string;
  readonly timestampMs?: number;
}

/** A batch as a broker would have validated it. */
export const batchOf = (
  records: readonly TestRecord[],
  producer?: { producerId: number; producerEpoch: number; baseSequence: number },
): AppendBatch => {
  const builder = new BatchBuilder(256);
  for (const { value, timestampMs = 1000 } of records) {
    builder.append({ value: Buffer.from(value), timestampMs });
  }
  const body = builder.finishPlain(producer);
  return { body, bodyCrc: crcOf(body), info: parseBody(body) };
};

/** Appends and waits until it is done. */
export const appendAll = async (
  log: PartitionLog,
  batches: readonly AppendBatch[],
  leaderEpoch = 1,
): Promise<Appended[]> => {
  const appended: Appended[] = [];
  const done: Promise<void>[] = [];
  for (const batch of batches) {
    done.push(
      new Promise((resolve, reject) => {
        appended.push(
          log.append(batch, leaderEpoch, (error) => {
            if (error === undefined) resolve();
            else reject(error);
          }),
        );
      }),
    );
  }
  await Promise.all(done);
  log.updateHighWatermark(log.ackedEndOffset);
  return appended;
};

export interface ReadRecord {
  readonly offset: number;
  readonly value: string;
}

/** Records of a read, at or after the offset asked for. */
export const recordsOf = (result: ReadResult, from: number): ReadRecord[] => {
  const bytes = Buffer.concat(result.chunks);
  const records: ReadRecord[] = [];
  for (let at = 0; at < bytes.length; ) {
    const batch = readStored(bytes, at);
    if ("fault" in batch) throw new Error(`read returned no batch: ${JSON.stringify(batch)}`);
    const info = parseBody(bytes.subarray(batch.bodyStart, batch.bodyEnd));
    for (const record of decodeRecords(info.records, info.baseTimestampMs)) {
      const offset = batch.baseOffset + record.offsetDelta;
      const value = Buffer.from(record.value ?? []).toString();
      if (offset >= from) records.push({ offset, value });
    }
    at = batch.bodyEnd;
  }
  return records;
};

/** Everything readable from an offset on. */
export const readAll = async (
  log: PartitionLog,
  from: number,
  maxBytes = 1000,
  limit: ReadLimit = "high_watermark",
) => {
  const records: ReadRecord[] = [];
  for (let offset = from; ; ) {
    const result = await log.read(offset, maxBytes, limit);
    if (result.bytes === 0) return records;
    records.push(...recordsOf(result, offset));
    offset = result.nextOffset;
  }
};
