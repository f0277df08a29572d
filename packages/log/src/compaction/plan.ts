/** Whether a log is to be cleaned, and which part of it may be. */
import type { RecoveryPoint } from "@millrace/proto/storage";
import type { LogConfig } from "../api.ts";
import type { CleanedLog } from "../partition/cleaned-log.ts";
import type { Segment } from "../segment/segment.ts";

/** What the rules look at. */
export interface CleanableLog {
  readonly config: LogConfig;
  readonly segments: readonly Segment[];
  readonly active: Segment;
  readonly highWatermark: number;
  readonly lastPoint: RecoveryPoint | undefined;
  readonly cleaned: CleanedLog;
}

/** Tells how old segments are. */
export interface SegmentTimes {
  ageTimeOf(segment: Segment, nowMs: number): Promise<number>;
  findFirstAppend(segment: Segment): Promise<void>;
}

export interface CleaningPlan {
  /** Before it no key has two records. */
  readonly firstDirty: number;
  /** Segments with what was not cleaned yet and may be, in order. Not empty. */
  readonly dirty: readonly Segment[];
  /** Part of the bytes that was not cleaned yet. */
  readonly dirtyRatio: number;
  /** The ratio, or the age of what is dirty, asks for it. */
  readonly isDue: boolean;
}

/**
 * Undefined where nothing may be cleaned. Without `nowMs` the clock is in doubt: nothing is known
 * to be old enough.
 */
export const planCleaning = async (
  log: CleanableLog,
  times: SegmentTimes,
  nowMs: number | undefined,
): Promise<CleaningPlan | undefined> => {
  const { cleaned, config, segments } = log;
  const firstDirty = Math.max(cleaned.upTo, segments[0]?.baseOffset ?? 0);
  const dirty: Segment[] = [];
  let cleanBytes = 0;
  let dirtyBytes = 0;
  for (const segment of [...segments]) {
    if (!isSettled(log, segment)) break;
    if (segment.endOffset <= firstDirty) {
      cleanBytes += segment.sizeBytes;
      continue;
    }
    if (await isYoung(config, segment, times, nowMs)) break;
    dirty.push(segment);
    dirtyBytes += segment.sizeBytes;
  }
  const [first] = dirty;
  if (first === undefined) return undefined;
  const dirtyRatio = dirtyBytes / (cleanBytes + dirtyBytes);
  const isDue =
    dirtyRatio > config.minCleanableDirtyRatio || (await isOverdue(config, first, times, nowMs));
  return { firstDirty, dirty, dirtyRatio, isDue };
};

/**
 * Nothing of the segment can be taken back, and a recovery begins behind it: it would look for the
 * bytes that the recovery point names.
 */
const isSettled = (
  { active, highWatermark, lastPoint }: CleanableLog,
  { baseOffset, endOffset, sizeBytes }: Segment,
): boolean => {
  if (lastPoint === undefined || baseOffset === active.baseOffset || sizeBytes === 0) return false;
  const isCovered =
    baseOffset < Number(lastPoint.segmentBaseOffset) && endOffset <= Number(lastPoint.offset);
  // The next start knows that high watermark: nobody cuts below it.
  return isCovered && endOffset <= Math.min(highWatermark, Number(lastPoint.highWatermark));
};

const isYoung = async (
  { minCompactionLagMs }: LogConfig,
  segment: Segment,
  times: SegmentTimes,
  nowMs: number | undefined,
): Promise<boolean> => {
  if (minCompactionLagMs === 0) return false;
  if (nowMs === undefined) return true;
  return (await times.ageTimeOf(segment, nowMs)) > nowMs - minCompactionLagMs;
};

const isOverdue = async (
  { maxCompactionLagMs }: LogConfig,
  segment: Segment,
  times: SegmentTimes,
  nowMs: number | undefined,
): Promise<boolean> => {
  if (nowMs === undefined || maxCompactionLagMs === Number.MAX_SAFE_INTEGER) return false;
  await times.findFirstAppend(segment);
  const { firstAppendMs = nowMs } = segment;
  return nowMs - firstAppendMs > maxCompactionLagMs;
};
