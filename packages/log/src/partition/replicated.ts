/** Batches as a leader stores them, on their way into a follower's log. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  type BodyInfo,
  bodyCrcMatches,
  crcOf,
  encodeStoredPrefix,
  type HeaderFields,
  parseBody,
  readStored,
  type StoredBatch,
  varintBytes,
} from "@millrace/record";
import { emptyBody, prefixOf } from "../segment/empty-batch.ts";

/** A batch with the header that it is stored under. */
export interface HeadedBatch {
  readonly fields: HeaderFields;
  readonly prefix: Buffer;
  readonly body: Uint8Array;
  readonly info: BodyInfo;
  readonly lastOffset: number;
  /** As of `AppendBatch`. */
  readonly ownTime?: boolean | undefined;
}

/** The header's CRC, as the prefix has it. */
export const headerCrcOf = ({ body, prefix }: Pick<HeadedBatch, "body" | "prefix">): number =>
  // Behind it stand the body's field (5 bytes), the body's tag and its length.
  prefix.readUInt32LE(prefix.length - varintBytes(body.length) - 10);

/** What the log demands of them. */
export interface ReplicatedRules {
  readonly name: string;
  /** Offset of the first one. */
  readonly logEndOffset: number;
  /** Epoch of the log's last batch: theirs do not fall below it. */
  readonly latestEpoch: number;
  /** Epoch of the leader that sent them: theirs do not rise above it. */
  readonly leaderEpoch: number;
}

const corrupt = (name: string, offset: number, reason: string): MillraceError =>
  MillraceError.refusal(
    ErrorCode.CORRUPT_MESSAGE,
    `the batch of ${name} that should begin at offset ${offset} was not taken over: ${reason}: ` +
      "subscribe again",
  );

const headed = (fields: HeaderFields, prefix: Buffer, body: Uint8Array): HeadedBatch => {
  const info = parseBody(body);
  return { fields, prefix, body, info, lastOffset: fields.baseOffset + info.lastOffsetDelta };
};

/**
 * The leader has compacted its log: where this one ends in the middle of what became one empty
 * batch there, the part of it from `offset` on.
 */
const restOfEmpty = (
  buffer: Buffer,
  { bodyStart, bodyEnd, ...stored }: StoredBatch,
  offset: number,
): HeadedBatch | undefined => {
  const { lastOffsetDelta, producerId, recordCount } = parseBody(
    buffer.subarray(bodyStart, bodyEnd),
  );
  const lastOffset = stored.baseOffset + lastOffsetDelta;
  if (recordCount > 0 || producerId >= 0 || lastOffset < offset) return undefined;
  const { appendTimeMs, leaderEpoch } = stored;
  const place = { baseOffset: offset, lastOffset, leaderEpoch, appendTimeMs };
  const body = emptyBody(place);
  return headed({ ...place, bodyCrc: crcOf(body) }, prefixOf(place, body), body);
};

/**
 * Whole stored batches, each with both CRCs right, one behind the other from the log's end on, as
 * views of `bytes`.
 * Throws CORRUPT_MESSAGE before any of them is taken.
 */
export const parseReplicated = (
  bytes: Uint8Array,
  { name, logEndOffset, latestEpoch, leaderEpoch }: ReplicatedRules,
): HeadedBatch[] => {
  const buffer = Buffer.from(bytes.buffer, bytes.byteOffset, bytes.length);
  const batches: HeadedBatch[] = [];
  let offset = logEndOffset;
  let epoch = latestEpoch;
  for (let at = 0; at < buffer.length; ) {
    const stored = readStored(buffer, at);
    if ("fault" in stored) {
      const reason = stored.fault === "damaged" ? stored.reason : "its end is missing";
      throw corrupt(name, offset, reason);
    }
    if (!bodyCrcMatches(buffer, stored)) throw corrupt(name, offset, "its body CRC is wrong");
    const { baseOffset, leaderEpoch: ofBatch, appendTimeMs, bodyCrc } = stored;
    const rest = baseOffset < offset ? restOfEmpty(buffer, stored, offset) : undefined;
    const begins = `it begins at ${baseOffset}`;
    if (baseOffset !== offset && rest === undefined) throw corrupt(name, offset, begins);
    if (ofBatch < epoch || ofBatch > leaderEpoch) {
      const reason = `its leader epoch ${ofBatch} is not between ${epoch} and ${leaderEpoch}`;
      throw corrupt(name, offset, reason);
    }
    const fields = { baseOffset, leaderEpoch: ofBatch, appendTimeMs, bodyCrc };
    const prefix = buffer.subarray(stored.start, stored.bodyStart);
    const body = buffer.subarray(stored.bodyStart, stored.bodyEnd);
    // The journal and the index rely on the one way to write it.
    if (prefix.length !== encodeStoredPrefix(fields, body.length).length) {
      throw corrupt(name, offset, "its lengths are not written as a leader writes them");
    }
    const batch = rest ?? headed(fields, prefix, body);
    batches.push(batch);
    offset = batch.lastOffset + 1;
    epoch = ofBatch;
    at = stored.bodyEnd;
  }
  return batches;
};
