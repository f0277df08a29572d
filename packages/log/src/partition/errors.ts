/** Why a partition refuses a call: the errors, with what to do. */
import { digitsText, ErrorCode, MillraceError, sizeText } from "@millrace/errors";
import type { PartitionState } from "../api.ts";

const refuse = (code: ErrorCode, message: string, retryAfterMs?: number): MillraceError =>
  MillraceError.refusal(code, message, retryAfterMs === undefined ? {} : { retryAfterMs });

export const errors = {
  diskFull: (reserveBytes: number): MillraceError =>
    refuse(
      ErrorCode.DISK_FULL,
      `the disk has less than ${sizeText(reserveBytes)} left: free some, or lower retention`,
    ),
  tooLarge: (bytes: number): MillraceError =>
    refuse(
      ErrorCode.MESSAGE_TOO_LARGE,
      `a batch of ${sizeText(bytes)} does not fit a journal file: send smaller batches`,
    ),
  tooManyOffsets: (offsets: number, most: number): MillraceError =>
    refuse(
      ErrorCode.INVALID_RECORD,
      `a batch takes ${digitsText(offsets)} offsets, 1 to ${digitsText(most)} are possible: send smaller batches`,
    ),
  noOffsetsLeft: (name: string, end: number): MillraceError =>
    refuse(
      ErrorCode.INVALID_RECORD,
      `${name} ends at offset ${end} and has none left for the batch: use another topic`,
    ),
  tooMuchPending: (bytes: number): MillraceError =>
    refuse(
      ErrorCode.ADMISSION_REJECTED,
      `${sizeText(bytes)} wait for the disk already: send more slowly`,
      50,
    ),
  closing: (): MillraceError =>
    refuse(ErrorCode.SHUTTING_DOWN, "the log is being closed: retry elsewhere"),
  changing: (name: string, how: string): MillraceError =>
    refuse(ErrorCode.LEADER_NOT_AVAILABLE, `${name} is being ${how}: refresh the metadata`),
  noWrites: (name: string, state: Exclude<PartitionState, { kind: "online" }>): MillraceError =>
    refuse(
      state.kind === "offline" ? ErrorCode.PARTITION_OFFLINE : ErrorCode.STORAGE_ERROR,
      `${name} takes no writes: ${state.reason}: see the server's log`,
    ),
  fenced: (name: string, epoch: number, latest: number): MillraceError =>
    refuse(
      ErrorCode.FENCED_LEADER_EPOCH,
      `leader epoch ${epoch} of ${name} is old, the log has ${latest}: refresh the metadata`,
    ),
  offline: (name: string, reason: string): MillraceError =>
    refuse(
      ErrorCode.PARTITION_OFFLINE,
      `${name} is offline: ${reason}: run millrace log verify on its directory`,
    ),
  outOfRange: (name: string, offset: number, start: number, end: number): MillraceError =>
    refuse(
      ErrorCode.OFFSET_OUT_OF_RANGE,
      `offset ${offset} of ${name} is not between ${start} and ${end}: reset the position`,
    ),
  busy: (name: string, thrown: unknown): MillraceError =>
    refuse(
      ErrorCode.ADMISSION_REJECTED,
      `${name} cannot be read now: ${thrown instanceof Error ? thrown.message : thrown}: retry`,
      200,
    ),
  noStart: (name: string, offset: number): MillraceError =>
    refuse(
      ErrorCode.INVALID_REQUEST,
      `${name} cannot begin anew at offset ${offset}: use a whole number from 0 to ${Number.MAX_SAFE_INTEGER}`,
    ),
  pastHighWatermark: (name: string, offset: number, highWatermark: number): MillraceError =>
    refuse(
      ErrorCode.OFFSET_OUT_OF_RANGE,
      `offset ${offset} is past the high watermark ${highWatermark} of ${name}: delete only what can be read`,
    ),
} as const;
