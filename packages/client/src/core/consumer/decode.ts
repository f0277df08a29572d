/** Decodes stored batches. */
import type { CompressionName, Compressor } from "@millrace/env";
import { ErrorCode, MillraceError, sizeText } from "@millrace/errors";
import { bodyCrcMatches, decodeRecords, parseBody, readStored } from "@millrace/record";
import type { ConsumedRecord } from "../types.ts";
import type { Chunk, Cursor, DecodedBatch } from "./cursor.ts";
import { BytesRecord } from "./record.ts";

const placeOf = ({ topic, partition, position }: Cursor): string =>
  `${topic}-${partition} at or after offset ${position}`;

const corrupt = (cursor: Cursor, reason: string): MillraceError =>
  new MillraceError(
    ErrorCode.CORRUPT_MESSAGE,
    `${placeOf(cursor)} has a damaged batch (${reason}): seek past it, or restore the partition ` +
      "from a replica",
  );

const inflate = async (
  cursor: Cursor,
  compressor: Compressor,
  kind: CompressionName,
  bytes: Uint8Array,
  maxBytes: number,
): Promise<Uint8Array> => {
  try {
    return await compressor.decompress(kind, bytes, maxBytes);
  } catch (thrown) {
    if (thrown instanceof RangeError) {
      throw new MillraceError(
        ErrorCode.MESSAGE_TOO_LARGE,
        `${placeOf(cursor)} has a batch that inflates to more than ${sizeText(maxBytes)}: raise ` +
          "inflatedBytesMax, or seek past it",
        { cause: thrown },
      );
    }
    const reason = thrown instanceof Error ? thrown.message : String(thrown);
    // Not every batch that cannot be inflated is damaged: the compressor may name another reason.
    if (!(thrown instanceof MillraceError)) throw corrupt(cursor, reason);
    throw new MillraceError(thrown.code, `${placeOf(cursor)}: ${reason}`, { cause: thrown });
  }
};

/**
 * Records of the batch at `chunk.at` from `cursor.position` on and below `endOffset`, and where the
 * batch after it begins. Empty for control batches. Throws CORRUPT_MESSAGE, MESSAGE_TOO_LARGE, and
 * the errors of the compressor.
 */
export const decodeNext = async (
  cursor: Cursor,
  chunk: Chunk,
  compressor: Compressor,
  inflatedBytesMax: number,
): Promise<DecodedBatch> => {
  const stored = readStored(chunk.buffer, chunk.at);
  if ("fault" in stored) {
    throw corrupt(cursor, stored.fault === "damaged" ? stored.reason : "it is cut off");
  }
  if (!bodyCrcMatches(chunk.buffer, stored)) throw corrupt(cursor, "its CRC is wrong");
  const info = parseBody(chunk.buffer.subarray(stored.bodyStart, stored.bodyEnd));
  const { bodyEnd: nextAt, leaderEpoch } = stored;
  if (info.control !== 0) return { records: [], nextAt, leaderEpoch };
  const set =
    info.compression === "none"
      ? info.records
      : await inflate(cursor, compressor, info.compression, info.records, inflatedBytesMax);
  const { topic, partition } = cursor;
  const place = { topic, partition, leaderEpoch };
  const records: ConsumedRecord[] = [];
  for (const record of decodeRecords(set, info.baseTimestampMs)) {
    const offset = stored.baseOffset + record.offsetDelta;
    if (offset < cursor.position || offset >= cursor.endOffset) continue;
    records.push(new BytesRecord(place, BigInt(offset), record));
  }
  return { records, nextAt, leaderEpoch };
};
