/** Sends that expect where the log ends, and what becomes of those behind one that failed. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import { shown } from "../checks.ts";
import type { ProducerRecord } from "../types.ts";
import type { Batch } from "./batch.ts";
import type { PartitionQueue } from "./partition-queue.ts";

const invalid = (text: string): MillraceError => new MillraceError(ErrorCode.INVALID_REQUEST, text);

/** Checks the `expectedEndOffset` of a record that has one. Throws INVALID_REQUEST. */
export const checkCondition = (record: ProducerRecord, acks: string, isSend: boolean): void => {
  const { expectedEndOffset: end, partition } = record;
  const isOffset = typeof end === "bigint" || (typeof end === "number" && Number.isInteger(end));
  if (!isOffset || end < 0 || end > Number.MAX_SAFE_INTEGER) {
    throw invalid(
      `expectedEndOffset of a record is ${shown(end)}: give an offset, a bigint or a whole number`,
    );
  }
  if (!isSend) throw invalid("expectedEndOffset is for send, which says whether it held: use that");
  if (partition === undefined) {
    throw invalid("expectedEndOffset needs the partition whose end it is: name one");
  }
  if (acks !== "all") {
    throw invalid(
      `expectedEndOffset needs acks "all", not "${acks}": what a leader alone acknowledges may be ` +
        "lost, and its offset given away again",
    );
  }
};

/**
 * Takes the sends with a condition that come behind `failed` out of the queue, and returns them;
 * those in flight learn of it. They were made when `failed` was believed to come before them. Sent
 * again, they could be appended behind what another writer put there.
 */
export const takeBehind = (queue: PartitionQueue, failed: Batch, error: MillraceError): Batch[] => {
  const isBehind = (one: Batch): boolean => one.isConditional && one.id > failed.id;
  const behind = [...queue.retries, ...queue.batches].filter(isBehind);
  for (const one of [...behind, ...queue.inFlight.filter(isBehind)]) {
    one.preceding ??= behindFailed(queue, error);
  }
  queue.retries = queue.retries.filter((one) => !isBehind(one));
  const kept = queue.batches.filter((one) => !isBehind(one));
  queue.batches.splice(0, queue.batches.length, ...kept);
  return behind;
};

const behindFailed = ({ topic, partition }: PartitionQueue, error: MillraceError): MillraceError =>
  new MillraceError(
    ErrorCode.PRECEDING_REQUEST_FAILED,
    `a send to ${topic}-${partition} before this one expected where the log ends, and failed ` +
      `(${error.codeName}: ${error.message}): read on, and decide again`,
    { cause: error },
  );

/**
 * Whether a failure says that no attempt of a batch was or will be appended, although an answer was
 * lost. The broker looks for an idempotent batch before it looks at the end; and once the offset is
 * another record's, no late attempt gets it.
 */
export const provesUnwritten = (batch: Batch, error: MillraceError): boolean => {
  const { actualEndOffset } = error;
  const { expectedEndOffset, stamp } = batch;
  if (stamp === undefined || expectedEndOffset === undefined) return false;
  return actualEndOffset !== undefined && actualEndOffset > expectedEndOffset;
};
