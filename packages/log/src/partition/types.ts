/** What a partition and its surroundings agree on. */
import { clone } from "@bufbuild/protobuf";
import { type RecoveryPoint, RecoveryPointSchema } from "@millrace/proto/storage";
import type { LogConfig, LogManagerConfig, PartitionLog } from "../api.ts";
import type { LogContext } from "../context.ts";
import type { Place } from "../segment/place.ts";
import type { Segment } from "../segment/segment.ts";

/** What else a manager does for its partitions. */
export interface PartitionOwner {
  readonly context: LogContext;
  /** Cleans the log of the partition now; resolves to whether anything of it went. */
  compact(log: PartitionLog): Promise<boolean>;
  /** Fsyncs everything that has completed, and moves the recovery points. */
  checkpoint(): Promise<void>;
}

/** Which life of a partition a directory holds; see PartitionMeta in side_files.proto. */
export interface Life {
  readonly incarnation: bigint;
  readonly firstRound: number;
}

/** A recovery point of a log that ends at `cut` of a segment now. */
export const pointCutTo = (
  point: RecoveryPoint | undefined,
  segmentBase: number,
  cut: Place,
): RecoveryPoint | undefined => {
  if (point === undefined || Number(point.offset) <= cut.offset) return point;
  const shorter = clone(RecoveryPointSchema, point);
  shorter.offset = BigInt(cut.offset);
  shorter.segmentBaseOffset = BigInt(segmentBase);
  shorter.positionBytes = BigInt(cut.position);
  const { leaderEpochs } = shorter;
  if (leaderEpochs !== undefined) {
    leaderEpochs.entries = leaderEpochs.entries.filter(
      ({ startOffset }) => startOffset < shorter.offset,
    );
  }
  return shorter;
};

/** What recovery found. */
export interface Restored {
  readonly segments: readonly Segment[];
  readonly logStartOffset: number;
  readonly endOffset: number;
  readonly highWatermark: number;
  /** Offset of a producer snapshot that holds exactly what was found. */
  readonly snapshotOffset: number | undefined;
}

/** A sparser index makes every fetch read more than this from the disk before its first record. */
export const indexIntervalBytesMax = 1024 * 1024;

/** Records are to be cleaned by the end of the lag, and those of an open segment are not. */
const lifeOfSegment = (config: LogConfig): number =>
  config.compactionEnabled
    ? Math.min(config.segmentMs, config.maxCompactionLagMs)
    : config.segmentMs;

/**
 * A configuration without values that are valid and ruinous: every segment is a file that a
 * checkpoint fsyncs, and a full journal waits for it.
 */
export const usable = (
  config: LogConfig,
  { segmentBytesMin, segmentMsMin }: LogManagerConfig,
): LogConfig => ({
  ...config,
  segmentBytes: Math.max(config.segmentBytes, segmentBytesMin),
  segmentMs: Math.max(lifeOfSegment(config), segmentMsMin),
  indexIntervalBytes: Math.min(config.indexIntervalBytes, indexIntervalBytesMax),
});
