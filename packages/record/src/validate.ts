/** The checks of a leader before it appends a batch. */
import type { Compressor } from "@millrace/env";
import { digitsText, ErrorCode, MillraceError, sizeText } from "@millrace/errors";
import { crcOf } from "./batch.ts";
import { type BodyInfo, parseBody } from "./body.ts";
import { checkRecords, type RecordKeys } from "./records.ts";
import { keysOf } from "./walk.ts";

/** Current limits of the topic and the server. */
export interface BatchLimits {
  readonly bodyBytesMax: number;
  readonly recordCountMax: number;
  /** Records after inflation. */
  readonly inflatedBytesMax: number;
  readonly timestampAfterMaxMs: number;
  readonly timestampBeforeMaxMs: number;
  readonly nowMs: number;
  /** The topic is compacted: a record without a key is refused, and the keys are handed out. */
  readonly needsKeys?: boolean;
}

/** A batch that may be appended. `bodyCrc` is correct even if the producer sent none. */
export interface ValidatedBatch {
  readonly body: Uint8Array;
  readonly bodyCrc: number;
  readonly info: BodyInfo;
  /** With `needsKeys`. */
  readonly keys?: RecordKeys;
}

const checkHead = (info: BodyInfo, limits: BatchLimits): void => {
  const refuse = (what: string): never => {
    throw new MillraceError(ErrorCode.INVALID_RECORD, what);
  };
  if (info.recordCount < 1) refuse("the batch has no records: send at least one");
  if (info.recordCount > limits.recordCountMax) {
    refuse(
      `the batch has ${digitsText(info.recordCount)} records: send at most ${digitsText(limits.recordCountMax)}`,
    );
  }
  if (info.control !== 0) refuse("control batches are the system's own: leave control absent");
  if (info.transactional) refuse("transactions are not supported yet: leave transactional absent");
  if (info.lastOffsetDelta !== info.recordCount - 1) {
    refuse(`last_offset_delta is ${info.lastOffsetDelta}: leave it absent`);
  }
  const aheadMs = info.maxTimestampMs - limits.nowMs;
  if (aheadMs > limits.timestampAfterMaxMs) {
    throw new MillraceError(
      ErrorCode.INVALID_TIMESTAMP,
      `a timestamp is ${digitsText(aheadMs)} ms ahead of the broker's clock, more than ` +
        "message.timestamp.after.max.ms: check the producer's clock",
    );
  }
};

/** Checks the records, uncompressed; the body's own fields were checked before. */
const checkSet = (
  records: Uint8Array,
  batch: ValidatedBatch,
  limits: BatchLimits,
): ValidatedBatch => {
  const smallestMs = checkRecords(records, batch.info);
  if (limits.nowMs - smallestMs > limits.timestampBeforeMaxMs) {
    throw new MillraceError(
      ErrorCode.INVALID_TIMESTAMP,
      "a timestamp is older than message.timestamp.before.max.ms: raise it, or send newer records",
    );
  }
  return limits.needsKeys === true ? { ...batch, keys: keysOf(records) } : batch;
};

const inflateAndCheck = async (
  batch: ValidatedBatch,
  limits: BatchLimits,
  compressor: Compressor,
): Promise<ValidatedBatch> => {
  const { info } = batch;
  if (info.compression === "none") return batch;
  let records: Uint8Array;
  try {
    records = await compressor.decompress(info.compression, info.records, limits.inflatedBytesMax);
  } catch (thrown) {
    if (thrown instanceof RangeError) {
      throw new MillraceError(
        ErrorCode.MESSAGE_TOO_LARGE,
        `the records inflate to more than ${sizeText(limits.inflatedBytesMax)}: send smaller batches`,
      );
    }
    if (thrown instanceof MillraceError) throw thrown;
    throw new MillraceError(
      ErrorCode.CORRUPT_MESSAGE,
      `the records are not one whole ${info.compression} frame: compress a RecordSet as one frame`,
      { cause: thrown },
    );
  }
  return checkSet(records, batch, limits);
};

/**
 * Validates a batch in full: CRC, structure, count, offsets, timestamps, sizes. Synchronous when it
 * is not compressed, off the event loop when it is. Throws (or rejects with) CORRUPT_MESSAGE,
 * MESSAGE_TOO_LARGE, INVALID_RECORD, INVALID_TIMESTAMP, UNSUPPORTED_COMPRESSION; nothing else.
 */
export const validateBatch = (
  body: Uint8Array,
  bodyCrc: number | undefined,
  limits: BatchLimits,
  compressor: Compressor,
): ValidatedBatch | Promise<ValidatedBatch> => {
  if (body.length > limits.bodyBytesMax) {
    throw new MillraceError(
      ErrorCode.MESSAGE_TOO_LARGE,
      `the batch has ${sizeText(body.length)}, max.message.bytes allows ` +
        `${sizeText(limits.bodyBytesMax)}: send smaller batches, or raise it`,
    );
  }
  const crc = crcOf(body);
  if (bodyCrc !== undefined && bodyCrc !== crc) {
    throw new MillraceError(
      ErrorCode.CORRUPT_MESSAGE,
      "body_crc32c does not match the body: it was damaged on the way, send it again",
    );
  }
  const info = parseBody(body);
  checkHead(info, limits);
  const batch: ValidatedBatch = { body, bodyCrc: crc, info };
  if (info.compression !== "none") return inflateAndCheck(batch, limits, compressor);
  if (info.records.length > limits.inflatedBytesMax) {
    throw new MillraceError(
      ErrorCode.MESSAGE_TOO_LARGE,
      `the records have ${sizeText(info.records.length)}, at most ` +
        `${sizeText(limits.inflatedBytesMax)} are allowed: send smaller batches`,
    );
  }
  return checkSet(info.records, batch, limits);
};
