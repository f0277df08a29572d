/** What must be true of a request that appends on a condition, before anything is looked up. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import { Acks } from "@millrace/proto/common";
import type { RecordKeys } from "@millrace/record";
import type { AppendConditions } from "./pending-append.ts";

const invalid = (what: string): MillraceError =>
  MillraceError.refusal(ErrorCode.INVALID_REQUEST, what);

/** Throws INVALID_REQUEST. */
export const checkConditions = (request: AppendConditions & { readonly acks: Acks }): void => {
  const { acks, expectedEndOffset: end, expectedLastOffsetForKey: last } = request;
  if (end === undefined && last === undefined) return;
  const name = end === undefined ? "expected_last_offset_for_key" : "expected_end_offset";
  if (acks !== Acks.ALL) {
    throw invalid(
      `${name} needs acks all, not ${Acks[acks]?.toLowerCase()}: what a leader alone ` +
        "acknowledges may be lost, and its offset given away again",
    );
  }
  if (last === undefined) return;
  if (end !== undefined) {
    throw invalid("expected_end_offset and expected_last_offset_for_key: send one of them");
  }
  if (last < -1) throw invalid(`${name} is ${last}: send an offset, or -1 for no record`);
};

/** Throws INVALID_REQUEST for a batch whose records have several keys. */
export const checkOneKey = (records: RecordKeys | undefined): void => {
  const [first, ...others] = records?.keys ?? [];
  if (others.every((key) => key === first)) return;
  throw invalid(
    "expected_last_offset_for_key with records of several keys: send a batch for each key",
  );
};
