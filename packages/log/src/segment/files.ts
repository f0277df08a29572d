/** Changes of segment files: cutting, dropping, writing their indexes. */
import type { Disk } from "@millrace/env";
import { must } from "@millrace/errors";
import type { SegmentContext } from "../context.ts";
import { inSteps } from "../files/breathe.ts";
import { replaceFile } from "../files/checksummed-file.ts";
import { isMissing } from "../files/disk-errors.ts";
import type { Durability } from "../files/durability.ts";
import { encodeOffsetSteps, encodeTimeSteps, INDEX_ENTRY_BYTES } from "./index-format.ts";
import type { Segment } from "./segment.ts";

/** What these functions need of a partition. */
export interface SegmentOwner {
  readonly directory: string;
  readonly config: { readonly fileDeleteDelayMs: number };
  /** Of the names in the partition's directory. */
  readonly names: Durability;
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

const renameIfThere = async (disk: Disk, from: string, to: string): Promise<void> => {
  try {
    await disk.rename(from, to);
  } catch (thrown) {
    if (!isMissing(thrown)) throw thrown;
  }
};

/** Nothing is written to a segment's files any more, and nobody gets a handle of them. */
export const letGo = async (context: SegmentContext, segment: Segment): Promise<void> => {
  segment.drop();
  context.indexes.forget(segment);
  context.files.forget(segment);
  await context.writes.discard(segment);
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
    await letGo(context, segment);
    owner.names.changed();
    for (const path of segment.paths) {
      const aside = `${path}${deletedSuffix}`;
      await renameIfThere(disk, path, aside);
      // An earlier call may have renamed it, and then failed.
      renamed.push(aside);
    }
  }
  // Only now: after a failure all of them are handed in again.
  for (const { sizeBytes } of segments) context.observer.onSegmentDeleted?.(sizeBytes);
  const { fileDeleteDelayMs } = owner.config;
  context.delayed.add(fileDeleteDelayMs, "removing old segments", async () => {
    for (const path of renamed) await unlinkIfThere(disk, path);
  });
};

/**
 * Makes the files end where `segment` does, and removes those of the segments after it. The segment
 * was cut in memory before.
 */
export const cutFiles = async (
  context: SegmentContext,
  owner: SegmentOwner,
  segment: Segment,
  dropped: readonly Segment[],
): Promise<void> => {
  const { disk } = context.env;
  for (const gone of dropped) {
    await letGo(context, gone);
    owner.names.changed();
    for (const path of gone.paths) await unlinkIfThere(disk, path);
  }
  await context.writes.cut(segment, segment.sizeBytes);
  if (segment.created) {
    await context.files.with(segment, (file) => file.truncate(segment.sizeBytes));
  }
  segment.fileCut();
  await cutIndexFiles(context, segment);
};

/** Cuts the index files to the entries that are believed. */
export const cutIndexFiles = async (context: SegmentContext, segment: Segment): Promise<void> => {
  const { disk } = context.env;
  const { index } = segment;
  if (!index.filesThere) return;
  const sizes: readonly (readonly [string, number])[] = [
    [index.path, index.rowsOnDisk * INDEX_ENTRY_BYTES],
    [index.timePath, index.timesOnDisk * INDEX_ENTRY_BYTES],
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
  index.filesCut();
};

/** True when it made the file. */
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
 * Appends the rows below `writtenBytes` to the index files; with `finish`, also the entry that says
 * how late the segment's timestamps are. Not fsynced: entries check themselves, and missing ones
 * are built again. Only as file work of the partition.
 */
export const persistIndex = async (
  context: SegmentContext,
  owner: SegmentOwner,
  segment: Segment,
  finish: boolean,
): Promise<void> => {
  const { clock, disk } = context.env;
  const { index, baseOffset } = segment;
  const write = index.nextWrite(segment.writtenBytes, finish, segment.endOffset);
  if (write === undefined) return;
  index.writing();
  let written: typeof write | undefined;
  try {
    const rows = await inSteps(clock, encodeOffsetSteps(baseOffset, write.rows));
    const times = await inSteps(clock, encodeTimeSteps(baseOffset, write.times));
    if (write.replaces) {
      // A row without its time would look damaged: the times come first.
      await replaceFile(disk, index.timePath, times);
      owner.names.changed();
      await replaceFile(disk, index.path, rows, false);
    } else {
      const added = rows.length > 0;
      if (added && (await writeAt(disk, index.path, rows, write.rowsAt * INDEX_ENTRY_BYTES)))
        owner.names.changed();
      if (await writeAt(disk, index.timePath, times, write.timesAt * INDEX_ENTRY_BYTES))
        owner.names.changed();
    }
    written = write;
  } finally {
    index.wrote(written, segment.endOffset);
  }
  context.indexes.touch(segment);
};

/** Fsyncs the index files if they changed since their last fsync. */
export const syncIndex = (disk: Disk, segment: Segment): Promise<void> =>
  segment.index.durability.settle(async () => {
    for (const path of segment.index.filesThere ? segment.index.paths : []) {
      if ((await disk.fileSize(path)) === undefined) continue;
      const file = await disk.open(path, "write");
      try {
        await file.sync();
      } finally {
        await file.close();
      }
    }
  });

/**
 * Ends the index with the segment's largest timestamp, durably. Throws PARTITION_OFFLINE on damage.
 */
export const finishIndex = async (
  context: SegmentContext,
  owner: SegmentOwner & { readonly config: { readonly indexIntervalBytes: number } },
  segment: Segment,
): Promise<void> => {
  const { indexIntervalBytes } = owner.config;
  if (!segment.index.complete) await context.indexes.rows(segment, indexIntervalBytes);
  await persistIndex(context, owner, segment, true);
  await syncIndex(context.env.disk, segment);
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
