/** What a partition and its surroundings agree on. */
import type { LogConfig } from "../api.ts";
import type { LogContext } from "../context.ts";
import type { Segment } from "../segment/segment.ts";

/** What else a manager does for its partitions. */
export interface PartitionOwner {
  readonly context: LogContext;
  /** Fsyncs everything that has completed, and moves the recovery points. */
  checkpoint(): Promise<void>;
}

/** Which life of a partition a directory holds; see PartitionMeta in side_files.proto. */
export interface Life {
  readonly incarnation: bigint;
  readonly firstRound: number;
}

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

/** A configuration without values that are valid and ruinous. */
export const usable = (config: LogConfig): LogConfig => ({
  ...config,
  indexIntervalBytes: Math.min(config.indexIntervalBytes, indexIntervalBytesMax),
});
