/** Which segments retention lets go (semantics 2.2). Oldest first, and none after the first that stays. */
import type { LogConfig } from "../api.ts";
import type { Segment } from "../segment/segment.ts";

/** What the rules look at. */
export interface Retained {
  readonly config: LogConfig;
  readonly logStartOffset: number;
  readonly highWatermark: number;
  readonly sizeBytes: number;
  readonly segments: readonly Segment[];
}

/**
 * The log start that the rules ask for. A segment goes only when all of it is below the high watermark: by time when its
 * largest record timestamp is too old, by size while the rest is at least as large as allowed. `roll`: the active
 * segment goes too, by time, and a new one must be begun.
 */
export const retentionStart = async (
  log: Retained,
  maxTimestampOf: (segment: Segment) => Promise<number>,
  nowMs: number,
): Promise<{ readonly startOffset: number; readonly roll: boolean }> => {
  const { retentionEnabled, retentionMs, retentionBytes } = log.config;
  let startOffset = log.logStartOffset;
  if (!retentionEnabled) return { startOffset, roll: false };
  let restBytes = log.sizeBytes;
  const active = log.segments.at(-1);
  for (const segment of [...log.segments]) {
    if (segment.endOffset > log.highWatermark || segment.sizeBytes === 0) break;
    restBytes -= segment.sizeBytes;
    const old = retentionMs >= 0 && nowMs - (await maxTimestampOf(segment)) > retentionMs;
    const tooMuch = retentionBytes >= 0 && restBytes >= retentionBytes && segment !== active;
    if (!old && !tooMuch) break;
    startOffset = segment.endOffset;
    if (segment === active) return { startOffset, roll: true };
  }
  return { startOffset, roll: false };
};
