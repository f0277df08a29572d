/**
 * How long appended records have waited to be committed, over the partitions that a broker leads:
 * looked at from time to time, so that no append pays for it. It is what copies for a rebalance
 * must not raise.
 */

/** A log that this broker leads. */
export interface LedLog {
  readonly logEndOffset: number;
  readonly highWatermark: number;
}

/** Where a log ended when it was first seen to be behind, and when that was, ms. */
interface Behind {
  readonly end: number;
  readonly sinceMs: number;
}

export class CommitLag {
  #behind = new Map<LedLog, Behind>();

  /** The longest wait so far, ms. What was committed between two looks has not waited. */
  look(logs: Iterable<LedLog>, nowMs: number): number {
    const behind = new Map<LedLog, Behind>();
    let longestMs = 0;
    for (const log of logs) {
      const { highWatermark, logEndOffset: end } = log;
      if (highWatermark >= end) continue;
      const before = this.#behind.get(log);
      const isSame = before !== undefined && highWatermark < before.end;
      const now = isSame ? before : { end, sinceMs: nowMs };
      behind.set(log, now);
      longestMs = Math.max(longestMs, nowMs - now.sinceMs);
    }
    this.#behind = behind;
    return longestMs;
  }
}
