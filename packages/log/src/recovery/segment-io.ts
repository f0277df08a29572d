/** What recovery does with segment files as a whole. */
import type { DiskFile } from "@millrace/env";
import { bugs } from "../bugs.ts";
import type { SegmentContext } from "../context.ts";
import { inSteps } from "../files/breathe.ts";
import { readWhole } from "../files/checksummed-file.ts";
import { isPassing } from "../files/disk-errors.ts";
import { BatchScanner, type ScannedBatch } from "../segment/batch-scanner.ts";
import { cutIndexFiles, unlinkIfThere } from "../segment/files.ts";
import { decodeIndexSteps, INDEX_ENTRY_BYTES } from "../segment/index-format.ts";
import type { Place } from "../segment/place.ts";
import type { Segment } from "../segment/segment.ts";
import { PartitionDamage } from "./types.ts";

/** Visits the whole batches of a segment until `take` returns false. Throws PartitionDamage. */
export const visitBatches = (
  { env, files }: SegmentContext,
  segment: Segment,
  take: (batch: ScannedBatch) => boolean,
): Promise<void> =>
  files.with(segment, async (file) => {
    const scanner = new BatchScanner(env.clock, file, 0, segment.sizeBytes);
    for (;;) {
      const batch = await scanner.peek();
      if ("end" in batch) {
        if (batch.end) return;
        throw new PartitionDamage(`${segment.path} at byte ${scanner.position}: ${batch.reason}`);
      }
      if (!take(batch)) return;
      scanner.skip(batch);
    }
  });

/** Batches of the journal are gathered to writes of about this size. */
export const writeBytes = 1024 * 1024;

/** Reads and writes again what is there. */
const rewrite = async (file: DiskFile, from: number, end: number): Promise<void> => {
  for (let at = from; at < end; at += writeBytes) {
    const chunk = Buffer.alloc(Math.min(writeBytes, end - at));
    const bytes = await file.read(chunk, 0, chunk.length, at);
    await file.write([chunk.subarray(0, bytes)], at);
  }
};

/**
 * Writes what was kept of the segments once more, each from where `kept` says. Where the last
 * process died of a failed fsync, the kernel has dropped its dirty marks: the bytes can be read and
 * are on no disk, and another fsync would do nothing for them. Writing makes them dirty again. The
 * same holds for the cut of a truncation.
 */
export const dirtyAgain = async (
  { files }: SegmentContext,
  segments: readonly Segment[],
  kept: ReadonlyMap<Segment, number>,
  truncated: boolean,
): Promise<void> => {
  for (const segment of segments) {
    const from = kept.get(segment);
    const end = segment.sizeBytes;
    if (from !== undefined) {
      await files.with(segment, (file) => rewrite(file, from, end));
      segment.wrote(end);
    }
    const cut = truncated && segment.created && segment.durability.pending;
    if (cut) await files.with(segment, (file) => file.truncate(end));
  }
};

/**
 * Fsyncs what recovery wrote. A file that cannot be opened any more is met here, while the journal
 * still has its batches, and not by the checkpoint behind which they are gone.
 */
export const syncSegments = async (
  { files }: SegmentContext,
  segments: readonly Segment[],
): Promise<void> => {
  for (const segment of segments) {
    if (!segment.created) continue;
    await segment.durability.settle(() => files.with(segment, (file) => file.sync()));
  }
};

/** An index that cannot be read is built again. */
const readOrEmpty = async (context: SegmentContext, path: string): Promise<Buffer> => {
  try {
    const bytes = await readWhole(context.env.disk, path);
    return bytes.subarray(0, bytes.length - (bytes.length % INDEX_ENTRY_BYTES));
  } catch (thrown) {
    if (isPassing(thrown)) throw thrown;
    return Buffer.alloc(0);
  }
};

/**
 * A segment that ends at `end` for now: what its index says of the part before is believed, and its
 * files are cut to that.
 */
export const endSegmentAt = async (
  context: SegmentContext,
  segment: Segment,
  end: Place,
): Promise<void> => {
  const { index, baseOffset } = segment;
  segment.beginAt(end);
  if (bugs.indexNotRebuilt) return;
  if (!index.filesThere) {
    index.restart([], 0, undefined, end.position === 0);
    return;
  }
  const decoded = await inSteps(
    context.env.clock,
    decodeIndexSteps(
      baseOffset,
      await readOrEmpty(context, index.path),
      await readOrEmpty(context, index.timePath),
      end.offset,
      end.position,
    ),
  );
  const empty = end.position === 0;
  index.restart(decoded.rows, decoded.timeEntries, decoded.maxTimestampMs, empty);
  try {
    await cutIndexFiles(context, segment);
  } catch (thrown) {
    if (isPassing(thrown)) throw thrown;
    // Nothing relies on it: it is built again from the log.
    for (const path of index.paths) await unlinkIfThere(context.env.disk, path);
    index.restart([], 0, undefined, empty);
  }
};
