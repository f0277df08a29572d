/** Limits of offsets, sizes and counts, judged before an append has any effect. */
import type { AppendBatch } from "../api.ts";
import type { LogContext } from "../context.ts";
import { relativeOffsetMax, segmentBytesMax } from "../segment/segment.ts";
import { errors } from "./errors.ts";

/** Most bytes that the log puts before a body. */
const batchOverheadBytes = 64;

/** As `checkAppendLimits`, for batches that are taken over together. */
export const checkReplicatedLimits = (
  context: LogContext,
  name: string,
  logEndOffset: number,
  batches: readonly Pick<AppendBatch, "body" | "info">[],
): void => {
  let bytes = 0;
  for (const batch of batches) {
    checkAppendLimits(context, name, logEndOffset, batch, bytes);
    bytes += batch.body.length + batchOverheadBytes;
  }
};

/** Throws INVALID_REQUEST for what no log can begin at. */
export const checkStart = (name: string, offset: number): void => {
  if (!Number.isSafeInteger(offset) || offset < 0) throw errors.noStart(name, offset);
};

/** Throws INVALID_RECORD, DISK_FULL, MESSAGE_TOO_LARGE or ADMISSION_REJECTED. */
export const checkAppendLimits = (
  context: LogContext,
  name: string,
  logEndOffset: number,
  batch: Pick<AppendBatch, "body" | "info">,
  /** Of batches before it that are not appended yet. */
  aheadBytes = 0,
): void => {
  const bytes = batch.body.length + batchOverheadBytes;
  const offsets = batch.info.lastOffsetDelta + 1;
  if (!(offsets >= 1 && offsets <= relativeOffsetMax)) {
    throw errors.tooManyOffsets(offsets, relativeOffsetMax);
  }
  if (logEndOffset + offsets > Number.MAX_SAFE_INTEGER) {
    throw errors.noOffsetsLeft(name, logEndOffset);
  }
  if (context.diskFull) throw errors.diskFull(context.config.diskReserveBytes);
  const bytesMax = Math.min(context.committer.payloadBytesMax, segmentBytesMax);
  if (bytes > bytesMax) throw errors.tooLarge(bytes);
  const pendingBytes = context.committer.pendingBytes + aheadBytes;
  if (pendingBytes > 0 && pendingBytes + bytes > context.config.pendingBytesMax) {
    throw errors.tooMuchPending(pendingBytes);
  }
};
