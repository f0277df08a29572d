/** Loading a partition after a clean stop: nothing is scanned. */
import type { RecoveryPoint } from "@millrace/proto/storage";
import type { SegmentContext } from "../context.ts";
import { isPassing } from "../files/disk-errors.ts";
import { readEpochs } from "../partition/epochs-file.ts";
import type { Partition } from "../partition/partition.ts";
import { newestSnapshot } from "../partition/producer-snapshots.ts";
import { decodeIndex, INDEX_ENTRY_BYTES } from "../segment/index-format.ts";
import { listSegments } from "../segment/list.ts";
import { Segment } from "../segment/segment.ts";

/** The last entry of an index file, or nothing. */
const lastEntry = async (
  context: SegmentContext,
  path: string,
  entries: number,
): Promise<Buffer> => {
  if (entries === 0) return Buffer.alloc(0);
  const file = await context.env.disk.open(path, "read");
  try {
    const entry = Buffer.alloc(INDEX_ENTRY_BYTES);
    await file.read(entry, 0, INDEX_ENTRY_BYTES, (entries - 1) * INDEX_ENTRY_BYTES);
    return entry;
  } finally {
    await file.close();
  }
};

/**
 * What appends to the last segment need to know of its index. An index that cannot be read is built
 * again when somebody needs it.
 */
const loadIndexEnd = async (context: SegmentContext, segment: Segment): Promise<void> => {
  const { baseOffset, endOffset, sizeBytes, index } = segment;
  try {
    const time = await lastEntry(context, index.timePath, index.timesOnDisk);
    const none = Buffer.alloc(0);
    const { maxTimestampMs } = decodeIndex(baseOffset, none, time, endOffset, sizeBytes);
    if (maxTimestampMs !== undefined) index.completeMax(maxTimestampMs);
    else if (sizeBytes === 0) index.completeMax(-1);
    const row = await lastEntry(context, index.path, index.rowsOnDisk);
    if (row.length > 0) index.lastRowAt(row.readUInt32LE(4));
  } catch (thrown) {
    if (isPassing(thrown)) throw thrown;
    context.env.logger.warn({ path: segment.path, err: thrown }, "an index cannot be read");
  }
};

/**
 * False when the directory, with these `names` in it, is not what a clean stop leaves; then nothing
 * was changed.
 */
export const loadClean = async (
  context: SegmentContext,
  partition: Partition,
  point: RecoveryPoint,
  names: ReadonlySet<string>,
): Promise<boolean> => {
  const { disk } = context.env;
  const { directory } = partition;
  const segments = await listSegments(disk, directory, names);
  const base = Number(point.segmentBaseOffset);
  const endOffset = Number(point.offset);
  const last = segments.at(-1);
  if (Number(point.positionBytes) === 0 && (last === undefined || last.baseOffset < base)) {
    // The listing took the one before for the last one, and did not know where it ends.
    last?.endsAt(base);
    segments.push(new Segment(directory, base));
  }
  const active = segments.at(-1);
  if (active?.baseOffset !== base || active.sizeBytes !== Number(point.positionBytes)) return false;
  active.endsAt(endOffset);
  const epochs = await readEpochs(context, directory);
  // Only a log that nobody led and nothing was appended to has no such file.
  if (epochs === undefined && (endOffset > 0 || (point.leaderEpoch ?? 0) > 0)) return false;
  if (point.producerSnapshot) {
    const snapshot = await newestSnapshot(context.env, directory, endOffset);
    if (snapshot?.offset !== endOffset) return false;
    partition.producers.latest.replace(snapshot.entries);
  }
  partition.epochs.load(epochs ?? []);
  await loadIndexEnd(context, active);
  partition.restore({
    segments,
    logStartOffset: Number(point.logStartOffset),
    endOffset,
    highWatermark: Number(point.highWatermark),
    snapshotOffset: point.producerSnapshot ? endOffset : undefined,
  });
  return true;
};
