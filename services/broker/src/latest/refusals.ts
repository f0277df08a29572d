/** Why a partition does not answer what the latest record of a key is. */
import { digitsText, ErrorCode, MillraceError, sizeText } from "@millrace/errors";

export const indexRefusals = {
  notCompacted: (name: string) =>
    MillraceError.refusal(
      ErrorCode.POLICY_VIOLATION,
      `${name} has no index of its keys, because its topic is not compacted: set its ` +
        "cleanup.policy to compact",
    ),

  loading: (name: string, offset: number, endOffset: number) =>
    MillraceError.refusal(
      ErrorCode.KEY_INDEX_LOAD_IN_PROGRESS,
      `the leader of ${name} reads the log for the index of its keys, and is at offset ` +
        `${digitsText(offset)} of ${digitsText(endOffset)}: retry`,
    ),

  closed: (name: string) =>
    MillraceError.refusal(
      ErrorCode.KEY_INDEX_LOAD_IN_PROGRESS,
      `the index of the keys of ${name} is made anew: retry`,
    ),

  full: (name: string, bytesMax: number) =>
    MillraceError.refusal(
      ErrorCode.KEY_INDEX_FULL,
      `the keys of ${name} do not fit into the ${sizeText(bytesMax)} that its broker has for ` +
        "indexes: raise --key-index-bytes-max, and start the broker again",
    ),

  behind: (name: string, minOffset: number, end: number) =>
    MillraceError.refusal(
      ErrorCode.OFFSET_OUT_OF_RANGE,
      `${name} is committed up to offset ${end}, before the min_offset ${minOffset}, and was ` +
        "waited for: check the offset, or wait longer",
    ),

  lastOffsetMismatch: (name: string, expected: number, actual: number) =>
    MillraceError.refusal(
      ErrorCode.LAST_OFFSET_MISMATCH,
      `the key's last record in ${name} ${actual < 0 ? "does not exist" : `is at offset ${actual}`}, ` +
        `the append expects ${expected < 0 ? "none" : expected}, and was not made: ` +
        "read it, and decide again",
      { actualLastOffsetForKey: BigInt(actual) },
    ),
};
