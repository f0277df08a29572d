/** Batches and records in what was read from a log. */
import type { Compressor } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { ReadResult } from "@millrace/log";
import { type BodyInfo, parseBody, readStored } from "@millrace/record";
import { limits } from "../limits.ts";

/** A batch of a log. */
export interface ReadBatch {
  readonly baseOffset: number;
  readonly lastOffset: number;
  readonly leaderEpoch: number;
  /** Of the batch as it lies in the log. */
  readonly storedBytes: number;
  readonly info: BodyInfo;
}

/** The batches of a read, in order. */
export function* batchesIn({ chunks }: ReadResult): Generator<ReadBatch, void, undefined> {
  const [first, ...others] = chunks;
  if (first === undefined) return;
  // What is read from a file is one chunk, and large: it is not copied.
  const bytes =
    others.length > 0
      ? Buffer.concat(chunks)
      : Buffer.from(first.buffer, first.byteOffset, first.length);
  for (let at = 0; at < bytes.length; ) {
    const batch = readStored(bytes, at);
    if ("fault" in batch) {
      throw new MillraceError(ErrorCode.INTERNAL, "a read returned no whole batch");
    }
    const { baseOffset, bodyEnd, bodyStart, leaderEpoch } = batch;
    const info = parseBody(bytes.subarray(bodyStart, bodyEnd));
    const lastOffset = baseOffset + info.lastOffsetDelta;
    yield { baseOffset, lastOffset, leaderEpoch, storedBytes: bodyEnd - at, info };
    at = bodyEnd;
  }
}

/** The records of a batch, uncompressed. */
export const recordSetOf = async (
  { compression, records }: BodyInfo,
  compressor: Compressor,
): Promise<Uint8Array> =>
  compression === "none"
    ? records
    : compressor.decompress(compression, records, limits.inflatedBytesMax);
