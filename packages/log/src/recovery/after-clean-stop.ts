/** Loading a partition after a clean stop: nothing is scanned. */
import { LeaderEpochsSchema, type RecoveryPoint } from "@millrace/proto/storage";
import type { SegmentContext } from "../context.ts";
import { magics, readChecksummed } from "../files/checksummed-file.ts";
import type { Partition } from "../partition/partition.ts";
import { readSnapshot } from "../partition/producer-snapshots.ts";
import { decodeIndex, INDEX_ENTRY_BYTES } from "../segment/index-format.ts";
import { listSegments } from "../segment/list.ts";
import type { Segment } from "../segment/segment.ts";

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

/** What appends to the last segment need to know of its index. */
const loadIndexEnd = async (context: SegmentContext, segment: Segment): Promise<void> => {
  const { baseOffset, endOffset, sizeBytes } = segment;
  const time = await lastEntry(context, segment.timeIndexPath, segment.timeEntriesOnDisk);
  const none = Buffer.alloc(0);
  const { maxTimestampMs } = decodeIndex(baseOffset, none, time, endOffset, sizeBytes);
  if (maxTimestampMs !== undefined) segment.completeMax(maxTimestampMs);
  else if (sizeBytes === 0) segment.completeMax(-1);
  const row = await lastEntry(context, segment.indexPath, segment.rowsOnDisk);
  if (row.length > 0) segment.lastRowPosition = row.readUInt32LE(4);
};

/** False when the directory is not what a clean stop leaves; then nothing was changed. */
export const loadClean = async (
  context: SegmentContext,
  partition: Partition,
  point: RecoveryPoint,
): Promise<boolean> => {
  const { disk } = context.env;
  const { directory } = partition;
  const segments = await listSegments(disk, directory);
  const base = Number(point.segmentBaseOffset);
  const endOffset = Number(point.offset);
  const last = segments.at(-1);
  if (Number(point.positionBytes) === 0 && (last === undefined || last.baseOffset < base)) {
    segments.push(partition.newSegment(base));
  }
  const active = segments.at(-1);
  if (active?.baseOffset !== base || active.sizeBytes !== Number(point.positionBytes)) return false;
  active.endOffset = endOffset;
  const epochs = await readChecksummed(
    disk,
    `${directory}/leader-epochs`,
    magics.leaderEpochs,
    LeaderEpochsSchema,
  );
  if (epochs.kind === "damaged" || (epochs.kind === "missing" && endOffset > 0)) return false;
  if (point.producerSnapshot) {
    const snapshot = await readSnapshot(disk, directory, endOffset);
    if (snapshot === undefined) return false;
    partition.producers.load(snapshot);
    partition.snapshotOffset = endOffset;
  }
  if (epochs.kind === "ok") {
    partition.epochs.load(
      epochs.message.entries.map(({ leaderEpoch, startOffset }) => ({
        leaderEpoch,
        startOffset: Number(startOffset),
      })),
    );
  }
  await loadIndexEnd(context, active);
  partition.restore({
    segments,
    logStartOffset: Number(point.logStartOffset),
    endOffset,
    highWatermark: Number(point.highWatermark),
  });
  return true;
};
