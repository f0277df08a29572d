/** Sends that expect where the log ends, and what becomes of those behind one that failed. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import { shown } from "../checks.ts";
import type { ProducerRecord } from "../types.ts";
import type { Batch } from "./batch.ts";
import type { PartitionQueue } from "./partition-queue.ts";

const invalid = (text: string): MillraceError => new MillraceError(ErrorCode.INVALID_REQUEST, text);

/** Whether a record is sent on a condition. */
export const hasCondition = (record: ProducerRecord): boolean =>
  record.expectedEndOffset !== undefined || record.expectedLastOffsetForKey !== undefined;

const checkOffset = (name: string, value: unknown, min: number): void => {
  const isWhole =
    typeof value === "bigint" || (typeof value === "number" && Number.isInteger(value));
  if (isWhole && value >= min && value <= Number.MAX_SAFE_INTEGER) return;
  throw invalid(
    `${name} of a record is ${shown(value)}: give an offset, a bigint or a whole number` +
      (min < 0 ? ", or -1 for a key without a record" : ""),
  );
};

/** Checks the condition of a record that has one. Throws INVALID_REQUEST. */
export const checkCondition = (record: ProducerRecord, acks: string, isSend: boolean): void => {
  const { expectedEndOffset: end, expectedLastOffsetForKey: last, key, partition } = record;
  const name = end === undefined ? "expectedLastOffsetForKey" : "expectedEndOffset";
  if (end !== undefined) checkOffset(name, end, 0);
  else checkOffset(name, last, -1);
  if (!isSend) throw invalid(`${name} is for send, which says whether it held: use that`);
  if (end !== undefined && last !== undefined) {
    throw invalid("a record has expectedEndOffset and expectedLastOffsetForKey: give one of them");
  }
  if (end !== undefined && partition === undefined) {
    throw invalid("expectedEndOffset needs the partition whose end it is: name one");
  }
  if (end === undefined && (key === undefined || key === null)) {
    throw invalid("expectedLastOffsetForKey needs the key whose record it is: give one");
  }
  if (acks !== "all") {
    throw invalid(
      `${name} needs acks "all", not "${acks}": what a leader alone acknowledges may be ` +
        "lost, and its offset given away again",
    );
  }
};

/** Gives a batch the condition of its one record. */
export const setCondition = (batch: Batch, record: ProducerRecord): void => {
  const { expectedEndOffset: end, expectedLastOffsetForKey: last } = record;
  if (end !== undefined) batch.expectedEndOffset = Number(end);
  if (last !== undefined) batch.expectedLastOffsetForKey = Number(last);
};

/** Whether an error says that the condition of a send did not hold. */
export const isConditionCode = (code: ErrorCode): boolean =>
  code === ErrorCode.END_OFFSET_MISMATCH || code === ErrorCode.LAST_OFFSET_MISMATCH;

/**
 * Takes the sends that expect where the log ends and come behind `failed` out of the queue, and
 * returns them; those in flight learn of it. They were made when `failed` was believed to come
 * before them. Sent again, they could be appended behind what another writer put there.
 */
export const takeBehind = (queue: PartitionQueue, failed: Batch, error: MillraceError): Batch[] => {
  const isBehind = (one: Batch): boolean =>
    one.expectedEndOffset !== undefined && one.id > failed.id;
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
 * lost. The broker looks for an idempotent batch before it looks at the condition. Once the offset
 * is another record's, no late attempt gets it; and once the key has a later record, a log in which
 * an attempt came before that is none that can win.
 */
export const provesUnwritten = (batch: Batch, error: MillraceError): boolean => {
  const { actualEndOffset, actualLastOffsetForKey: actualLast } = error;
  const { expectedEndOffset, expectedLastOffsetForKey: expectedLast, stamp } = batch;
  if (stamp === undefined) return false;
  if (expectedLast !== undefined) return actualLast !== undefined && actualLast > expectedLast;
  if (expectedEndOffset === undefined) return false;
  return actualEndOffset !== undefined && actualEndOffset > expectedEndOffset;
};
