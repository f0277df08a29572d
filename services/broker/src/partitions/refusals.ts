/** What a replica answers when it does not serve a request. */
import { ErrorCode, type LeaderHint, MillraceError } from "@millrace/errors";

type Hint = LeaderHint | undefined;

const detailsOf = (hint: Hint) => (hint === undefined ? {} : { leaderHint: hint });

export const refusals = {
  offline: (name: string, reason: string) =>
    MillraceError.refusal(
      ErrorCode.PARTITION_OFFLINE,
      `${name} is offline: ${reason}: run millrace log verify on its directory`,
    ),

  notReady: (name: string) =>
    MillraceError.refusal(ErrorCode.LEADER_NOT_AVAILABLE, `${name} is being set up: retry`),

  resigns: (name: string) =>
    MillraceError.refusal(
      ErrorCode.LEADER_NOT_AVAILABLE,
      `${name} has a leader whose disk has failed, and another one is to lead: retry`,
    ),

  noLeader: (name: string) =>
    MillraceError.refusal(
      ErrorCode.LEADER_NOT_AVAILABLE,
      `${name} has no leader at the moment: retry`,
    ),

  notLeader: (name: string, brokerId: number, leader: number, hint: Hint) =>
    MillraceError.refusal(
      ErrorCode.NOT_LEADER,
      `broker ${brokerId} does not lead ${name}, broker ${leader} does`,
      detailsOf(hint),
    ),

  oldEpoch: (name: string, asked: number, epoch: number, hint: Hint) =>
    MillraceError.refusal(
      ErrorCode.FENCED_LEADER_EPOCH,
      `leader epoch ${asked} of ${name} is old, it is ${epoch}: refresh the metadata`,
      detailsOf(hint),
    ),

  newerEpoch: (name: string, asked: number, epoch: number) =>
    MillraceError.refusal(
      ErrorCode.UNKNOWN_LEADER_EPOCH,
      `leader epoch ${asked} of ${name} is newer than ${epoch}, which this broker knows: retry`,
    ),

  tooFewInSync: (name: string, inSync: number, min: number) =>
    MillraceError.refusal(
      ErrorCode.NOT_ENOUGH_REPLICAS,
      `${name} has ${inSync} in-sync replicas, min.insync.replicas is ${min}: ` +
        "retry when brokers are back",
    ),

  endOffsetMismatch: (name: string, expected: number, actual: number) =>
    MillraceError.refusal(
      ErrorCode.END_OFFSET_MISMATCH,
      `${name} ends at offset ${actual}, the append expects ${expected}, and was not made: ` +
        "read on, and decide again",
      { actualEndOffset: BigInt(actual) },
    ),

  endUnknown: (name: string, epoch: number) =>
    MillraceError.refusal(
      ErrorCode.LEADER_NOT_AVAILABLE,
      `the leader of ${name} in leader epoch ${epoch} failed before it was known where the log ` +
        "ends: the append was not made, retry",
    ),

  countsAsComplete: (name: string, startOffset: number) =>
    MillraceError.refusal(
      ErrorCode.POLICY_VIOLATION,
      `${name} would have to begin anew at offset ${startOffset} to follow its leader, and is in ` +
        "sync, or eligible to lead: its log is kept, and the controller asked again",
    ),

  latestUnknown: (name: string, epoch: number) =>
    MillraceError.refusal(
      ErrorCode.LEADER_NOT_AVAILABLE,
      `the leader of ${name} has just taken over in epoch ${epoch}, ` +
        "and does not know yet how far it is readable: retry",
    ),

  /**
   * For an append that waits. NOT_LEADER would say that nothing was appended; this code says that
   * it may have been, and to ask the metadata for the leader and try again.
   */
  leadershipLost: (name: string, epoch: number, why: string, hint: Hint) =>
    MillraceError.refusal(
      ErrorCode.UNAVAILABLE,
      `${name} ${why} in leader epoch ${epoch} before this append was acknowledged: ` +
        "it may have been written, retry",
      detailsOf(hint),
    ),
};
