/**
 * The work of one cleaning on its files: the map of keys, and what is left of each segment. It
 * knows nothing of the log that they belong to, so that a thread can do it.
 */
import type { DiskFile } from "@millrace/env";
import type { CleanedSegment } from "../segment/segment.ts";

/** A closed segment and its file, which stays open for as long as it is worked at. */
export interface SegmentFile {
  readonly path: string;
  readonly baseOffset: number;
  readonly sizeBytes: number;
  readonly file: Pick<DiskFile, "descriptor" | "read">;
}

/** Where what is left of a segment goes. */
export type Output = Pick<DiskFile, "descriptor" | "write">;

/** Where the map has come to. */
export interface Mapped {
  readonly endOffset: number;
  /** It has no room for the next key. */
  readonly isFull: boolean;
}

export interface SegmentRules {
  /** Tombstones have been there for long enough. */
  readonly tombstonesGo: boolean;
  /**
   * Base offsets of batches that keep their producer when their records are gone: the last one of
   * each producer that is still known. A replica that copies the log learns of it from there.
   */
  readonly producersAt: ReadonlySet<number>;
  readonly indexIntervalBytes: number;
}

export interface CleaningCounts {
  readonly readBytes: number;
  readonly writtenBytes: number;
  /** Memory of the map. */
  readonly mapBytes: number;
}

/** One call at a time. Throws Abandoned once it is void, and PARTITION_OFFLINE on damage. */
export interface CleaningPass {
  readonly counts: CleaningCounts;
  /** Notes the keys of the next segment, in the order of the log. */
  mapKeys(segment: SegmentFile): Promise<Mapped>;
  /**
   * After all keys are noted: writes what is left of a segment. Not fsynced. Undefined where
   * nothing goes; then the output is of no use.
   */
  clean(
    segment: SegmentFile,
    rules: SegmentRules,
    output: Output,
  ): Promise<CleanedSegment | undefined>;
  /** Gives back what it holds. No call is under way. */
  end(): Promise<void>;
}

export interface PassSettings {
  readonly mapBytesMax: number;
  /** Of the hashes of keys, 16 bytes. */
  readonly secret: Uint8Array;
  /** Records before it were cleaned before. */
  readonly fromOffset: number;
  /** 0 is no limit. */
  readonly bytesPerSecondMax: number;
}

/** Begins a pass somewhere. Asks now and then whether it `isVoid`. */
export type BeginPass = (settings: PassSettings, isVoid: () => boolean) => CleaningPass;
