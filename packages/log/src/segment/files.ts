/** Changes of segment files: cutting, dropping, writing their indexes. */
import type { Disk } from "@millrace/env";
import { must } from "@millrace/errors";
import type { SegmentContext } from "../context.ts";
import { isMissing } from "../files/disk-errors.ts";
import {
  encodeOffsetEntries,
  encodeTimeEntries,
  INDEX_ENTRY_BYTES,
  type IndexRow,
} from "./index-format.ts";
import type { Segment } from "./segment.ts";

/** What these functions need of a partition. */
export interface SegmentOwner {
  readonly directory: string;
  readonly config: { readonly fileDeleteDelayMs: number };
  directoryDirty: boolean;
  indexesCut: Segment[];
}

export const deletedSuffix = ".deleted";

/** `unlink` that does not mind a missing file. */
export const unlinkIfThere = async (disk: Disk, path: string): Promise<void> => {
  try {
    await disk.unlink(path);
  } catch (thrown) {
    if (!isMissing(thrown)) throw thrown;
  }
};

const renameIfThere = async (disk: Disk, from: string, to: string): Promise<boolean> => {
  try {
    await disk.rename(from, to);
    return true;
  } catch (thrown) {
    if (isMissing(thrown)) return false;
    throw thrown;
  }
};

/** Takes segments out of the log: renamed now, removed after the delay (Kafka's `.deleted`). */
export const dropSegments = async (
  context: SegmentContext,
  owner: SegmentOwner,
  segments: readonly Segment[],
): Promise<void> => {
  const { disk } = context.env;
  const renamed: string[] = [];
  for (const segment of segments) {
    context.indexes.forget(segment);
    await context.writes.discard(segment);
    context.observer.onSegmentDeleted?.(segment.sizeBytes);
    for (const path of segment.paths) {
      context.files.forget(path);
      const aside = `${path}${deletedSuffix}`;
      if (await renameIfThere(disk, path, aside)) renamed.push(aside);
    }
  }
  owner.directoryDirty = true;
  const { fileDeleteDelayMs } = owner.config;
  context.delayed.add(fileDeleteDelayMs, "removing old segments", async () => {
    for (const path of renamed) await unlinkIfThere(disk, path);
  });
};

/** Cuts `segment` at a batch boundary and removes the segments after it. */
export const truncateFiles = async (
  context: SegmentContext,
  owner: SegmentOwner,
  segment: Segment,
  cut: { readonly offset: number; readonly position: number },
  dropped: readonly Segment[],
): Promise<void> => {
  const { disk } = context.env;
  for (const gone of dropped) {
    context.indexes.forget(gone);
    await context.writes.discard(gone);
    for (const path of gone.paths) {
      context.files.forget(path);
      await unlinkIfThere(disk, path);
    }
  }
  owner.directoryDirty = true;
  if (segment.created) {
    await context.files.with(segment.path, false, (file) => file.truncate(cut.position));
  }
  await cutIndex(context, owner, segment, cut);
};

/** Brings a segment's memory and index files back to where it ends at `cut`. */
export const cutIndex = async (
  context: SegmentContext,
  owner: SegmentOwner,
  segment: Segment,
  cut: { readonly offset: number; readonly position: number },
): Promise<void> => {
  segment.sizeBytes = cut.position;
  segment.writtenBytes = Math.min(segment.writtenBytes, cut.position);
  segment.endOffset = cut.offset;
  segment.dirty = true;
  segment.finished = false;
  segment.indexSynced = false;
  segment.indexVersion += 2;
  const persisted = segment.rows ?? [];
  const before = (row: IndexRow): boolean => row.position < cut.position;
  // Rows that are not in the files are built again, together with the largest timestamp.
  segment.fresh = [];
  // Where the time index has more entries than rows, its end is not where the rows end: begin anew.
  const simple = segment.timeEntriesOnDisk === segment.rowsOnDisk;
  segment.rows = simple ? persisted.filter(before) : [];
  segment.rowsOnDisk = segment.rows.length;
  segment.timeEntriesOnDisk = segment.rowsOnDisk;
  segment.lastRowPosition = segment.rows.at(-1)?.position ?? -1;
  // The largest timestamp may have been cut off.
  segment.runningMaxMs = -1;
  segment.maxComplete = cut.position === 0;
  await truncateIndexFiles(context, segment);
  owner.indexesCut.push(segment);
};

/** Cuts the index files to the entries that are believed. */
export const truncateIndexFiles = async (
  context: SegmentContext,
  segment: Segment,
): Promise<void> => {
  const { disk } = context.env;
  const sizes: readonly (readonly [string, number])[] = [
    [segment.indexPath, segment.rowsOnDisk * INDEX_ENTRY_BYTES],
    [segment.timeIndexPath, segment.timeEntriesOnDisk * INDEX_ENTRY_BYTES],
  ];
  for (const [path, bytes] of sizes) {
    const present = await disk.fileSize(path);
    if (present === undefined || present <= bytes) continue;
    const file = await disk.open(path, "write");
    try {
      await file.truncate(bytes);
    } finally {
      await file.close();
    }
  }
};

const writeAt = async (disk: Disk, path: string, bytes: Buffer, at: number): Promise<boolean> => {
  const created = (await disk.fileSize(path)) === undefined;
  const file = await disk.open(path, created ? "create" : "write");
  try {
    await file.write([bytes], at);
  } finally {
    await file.close();
  }
  return created;
};

/**
 * Appends the rows below `writtenBytes` to the index files; with `finish`, also the entry that says how late
 * the segment's timestamps are. Not fsynced: entries check themselves, and missing ones are built again.
 */
export const persistIndex = async (
  context: SegmentContext,
  owner: SegmentOwner,
  segment: Segment,
  finish: boolean,
): Promise<void> => {
  const { disk } = context.env;
  const count = segment.fresh.findIndex((row) => row.position >= segment.writtenBytes);
  // A copy: appends go on while it is written.
  const rows = segment.fresh.slice(0, count < 0 ? segment.fresh.length : count);
  const last = finish && !segment.finished && segment.maxTimestampMs !== undefined;
  if (rows.length === 0 && !last) return;
  const { baseOffset, endOffset, rowsOnDisk, timeEntriesOnDisk } = segment;
  const timeRows: IndexRow[] = [...rows];
  if (last) {
    timeRows.push({ offset: endOffset, position: 0, maxBeforeMs: segment.maxTimestampMs ?? -1 });
  }
  segment.indexSynced = false;
  segment.indexVersion += 1;
  try {
    let created = false;
    if (rows.length > 0) {
      const bytes = encodeOffsetEntries(baseOffset, rows);
      created = await writeAt(disk, segment.indexPath, bytes, rowsOnDisk * INDEX_ENTRY_BYTES);
    }
    const timeBytes = encodeTimeEntries(baseOffset, timeRows);
    const timeAt = timeEntriesOnDisk * INDEX_ENTRY_BYTES;
    if (await writeAt(disk, segment.timeIndexPath, timeBytes, timeAt)) created = true;
    if (created) owner.directoryDirty = true;
    segment.fresh = segment.fresh.slice(rows.length);
    segment.rows?.push(...rows);
    segment.rowsOnDisk += rows.length;
    segment.timeEntriesOnDisk += timeRows.length;
    if (last && segment.endOffset === endOffset) segment.finished = true;
  } finally {
    segment.indexVersion += 1;
  }
  context.indexes.touch(segment);
};

/** Fsyncs index files, where they exist. */
export const syncIndex = async (disk: Disk, segment: Segment): Promise<void> => {
  for (const path of segment.paths.slice(1)) {
    if ((await disk.fileSize(path)) === undefined) continue;
    const file = await disk.open(path, "write");
    try {
      await file.sync();
    } finally {
      await file.close();
    }
  }
};

/** Ends the index with the segment's largest timestamp, durably. Throws PARTITION_OFFLINE on damage. */
export const finishIndex = async (
  context: SegmentContext,
  owner: SegmentOwner & { readonly config: { readonly indexIntervalBytes: number } },
  segment: Segment,
): Promise<void> => {
  const { indexIntervalBytes } = owner.config;
  if (!segment.maxComplete) await context.indexes.rows(segment, indexIntervalBytes);
  await persistIndex(context, owner, segment, true);
  if (segment.indexSynced) return;
  await syncIndex(context.env.disk, segment);
  segment.indexSynced = true;
};

/** The segment that holds `offset`; the last one for the log end. */
export const segmentOf = (segments: readonly Segment[], offset: number): Segment => {
  let low = 0;
  let high = segments.length - 1;
  while (low < high) {
    const middle = (low + high + 1) >> 1;
    if ((segments[middle]?.baseOffset ?? 0) <= offset) low = middle;
    else high = middle - 1;
  }
  return must(segments[low], "segment");
};
