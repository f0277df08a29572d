/**
 * Whether a follower's log is a beginning of its leader's, and what to cut where it is not: KIP-101
 * with the repair of KIP-279. Pure. It rests on one rule: one leader epoch has one history.
 */
import type { PartitionLog } from "@millrace/log";

/** What both sides know of their log. */
export type EpochLog = Pick<
  PartitionLog,
  "endOffsetForEpoch" | "epochOfOffset" | "leaderEpoch" | "logEndOffset" | "logStartOffset"
>;

/** Where a follower's log ends. */
export interface FollowerEnd {
  readonly logEndOffset: number;
  /** Leader epoch of its last batch, which may be deleted; undefined when it never had one. */
  readonly lastEpoch: number | undefined;
}

/**
 * Whether a log knows an epoch that began at its end. It led in it, and has nothing of it: another
 * leader's older batches may stand there. Such an epoch is cut off before it follows.
 */
export const hasEmptyEpoch = (log: EpochLog): boolean =>
  log.leaderEpoch > (endOf(log).lastEpoch ?? 0);

/** Where a log ends, for a subscription. */
export const endOf = (log: EpochLog): FollowerEnd => {
  const { logEndOffset } = log;
  // Epochs begin at 1.
  const epoch = logEndOffset === 0 ? 0 : log.epochOfOffset(logEndOffset - 1);
  return { logEndOffset, lastEpoch: epoch === 0 ? undefined : epoch };
};

/** Where the two logs differ, as the leader sees it. */
export interface Divergence {
  /** Largest epoch of the leader that is not above the follower's last one. */
  readonly leaderEpoch: number;
  /** Where that ends in the leader's log. */
  readonly endOffset: number;
  /** First offset of the leader's log. */
  readonly logStartOffset: number;
}

/** Undefined where the leader may send from the follower's end on. */
export const divergenceOf = (
  leader: EpochLog,
  { lastEpoch, logEndOffset }: FollowerEnd,
): Divergence | undefined => {
  const { logStartOffset } = leader;
  if (logEndOffset < logStartOffset) {
    return { leaderEpoch: 0, endOffset: logStartOffset, logStartOffset };
  }
  if (lastEpoch === undefined) {
    // Nothing of it can differ, but it may have begun behind what the leader has.
    if (logEndOffset <= leader.logEndOffset) return undefined;
    return { leaderEpoch: 0, endOffset: leader.logEndOffset, logStartOffset };
  }
  const found = leader.endOffsetForEpoch(lastEpoch);
  const { leaderEpoch, endOffset } = found ?? { ...leader, endOffset: leader.logEndOffset };
  if (!vouchesFor(leader, leaderEpoch, endOffset)) {
    return { leaderEpoch: 0, endOffset: 0, logStartOffset };
  }
  if (leaderEpoch === lastEpoch && logEndOffset <= endOffset) return undefined;
  return { leaderEpoch, endOffset, logStartOffset };
};

/**
 * Whether an epoch is known to end where the leader says. What it has deleted may have been of
 * later epochs, or another history's, if it began anew behind it: then the follower may have
 * records there that never came to be, and take a batch of theirs that comes again for a
 * repetition.
 */
const vouchesFor = (leader: EpochLog, leaderEpoch: number, endOffset: number): boolean => {
  const { logStartOffset } = leader;
  if (logStartOffset === 0 || endOffset > logStartOffset) return true;
  const before = leader.epochOfOffset(logStartOffset - 1);
  return before > 0 && before <= leaderEpoch;
};

/** What a follower does about it. */
export type Repair =
  | { readonly kind: "truncate"; readonly offset: number }
  /** Nothing that it has can be followed by what the leader has: it begins anew, empty. */
  | { readonly kind: "rebuild"; readonly offset: number }
  /** All it has below is committed, and deleted at the leader, whose log goes on from there. */
  | { readonly kind: "keep"; readonly offset: number };

/**
 * A truncation always takes something away, so that subscribing again comes to an end.
 * `committedEnd`: below it the follower has what is committed; undefined where that may be another
 * history's.
 */
export const repairOf = (
  follower: EpochLog,
  divergence: Divergence,
  committedEnd: number | undefined,
): Repair => {
  const { endOffset, leaderEpoch, logStartOffset } = divergence;
  const { logEndOffset } = follower;
  // Nobody has anything else there. A leader that began anew cannot vouch for it, and the follower
  // may be one that must not begin anew: it counts as complete.
  const isCommitted = committedEnd === logStartOffset && logStartOffset > 0;
  const rebuild: Repair = { kind: isCommitted ? "keep" : "rebuild", offset: logStartOffset };
  if (logEndOffset < logStartOffset) return rebuild;
  const own = follower.endOffsetForEpoch(leaderEpoch)?.endOffset ?? logEndOffset;
  const offset = Math.min(own, endOffset, logEndOffset);
  // What it would have to cut lies below its log start, or it would cut nothing.
  if (offset < follower.logStartOffset || offset < logStartOffset || offset >= logEndOffset) {
    return rebuild;
  }
  return { kind: "truncate", offset };
};
