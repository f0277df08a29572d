/** Producer state from the log, beginning at the newest snapshot that can be believed. */
import type { Disk } from "@millrace/env";
import { type ProducerSnapshot, ProducerSnapshotSchema } from "@millrace/proto/storage";
import type { SegmentContext } from "../context.ts";
import { magics, readChecksummed } from "../files/checksummed-file.ts";
import { offsetName } from "../files/paths.ts";
import { BatchScanner } from "../segment/batch-scanner.ts";
import { unlinkIfThere } from "../segment/files.ts";
import { damaged } from "../segment/index-cache.ts";
import type { Segment } from "../segment/segment.ts";
import type { ProducerTable } from "./producer-table.ts";

/** What the rebuild needs of a partition. */
export interface ProducerOwner {
  readonly directory: string;
  readonly segments: readonly Segment[];
  readonly producers: ProducerTable;
  readonly completedProducers: ProducerTable;
  readonly logStartOffset: number;
}

export const producersPath = (directory: string, offset: number): string =>
  `${directory}/producers.${offsetName(offset)}`;

/** Offset of a `producers.<20 digits>` file, or undefined for another name. */
export const parseProducersName = (name: string): number | undefined => {
  const match = /^producers\.([0-9]{20})$/.exec(name);
  return match === null ? undefined : Number(match[1]);
};

/** The snapshot as of exactly `offset`, or undefined when it is missing or damaged. */
export const readSnapshot = async (
  disk: Disk,
  directory: string,
  offset: number,
): Promise<ProducerSnapshot | undefined> => {
  const path = producersPath(directory, offset);
  const found = await readChecksummed(disk, path, magics.producers, ProducerSnapshotSchema);
  return found.kind === "ok" && Number(found.message.offset) === offset ? found.message : undefined;
};

const newestSnapshot = async (
  disk: Disk,
  directory: string,
  endOffset: number,
): Promise<ProducerSnapshot | undefined> => {
  const offsets = (await disk.list(directory))
    .flatMap((name) => parseProducersName(name) ?? [])
    .filter((offset) => offset <= endOffset)
    .sort((a, b) => b - a);
  for (const offset of offsets) {
    const snapshot = await readSnapshot(disk, directory, offset);
    if (snapshot !== undefined) return snapshot;
  }
  return undefined;
};

/** Removes snapshots of what lies behind `offset`: another history may come to the same offsets. */
export const dropSnapshotsAbove = async (
  disk: Disk,
  directory: string,
  offset: number,
): Promise<void> => {
  for (const name of await disk.list(directory)) {
    const covered = parseProducersName(name);
    if (covered !== undefined && covered > offset)
      await unlinkIfThere(disk, `${directory}/${name}`);
  }
};

/** Replays batches from `fromOffset` up to `endOffset` into the table. Throws PARTITION_OFFLINE on damage. */
export const replayProducers = async (
  context: SegmentContext,
  owner: ProducerOwner,
  fromOffset: number,
  endOffset: number,
): Promise<void> => {
  for (const segment of owner.segments) {
    if (segment.endOffset <= fromOffset || segment.baseOffset >= endOffset) continue;
    if (segment.sizeBytes === 0) continue;
    await context.files.with(segment.path, false, async (file) => {
      const walker = new BatchScanner(file, 0, segment.sizeBytes);
      for (;;) {
        const batch = await walker.peek();
        if ("end" in batch) {
          if (batch.end) return;
          throw damaged(segment, walker.position, batch.reason);
        }
        const { baseOffset, appendTimeMs } = batch.header;
        if (baseOffset >= endOffset) return;
        if (baseOffset >= fromOffset) owner.producers.record(batch.info, baseOffset, appendTimeMs);
        walker.skip(batch);
      }
    });
  }
};

/** Makes the table what the log up to `endOffset` says. Does nothing for a log that knows no producer. */
export const rebuildProducers = async (
  context: SegmentContext,
  owner: ProducerOwner,
  endOffset: number,
): Promise<void> => {
  if (owner.producers.size === 0 && owner.completedProducers.size === 0) return;
  const snapshot = await newestSnapshot(context.env.disk, owner.directory, endOffset);
  if (snapshot === undefined) owner.producers.clear();
  else owner.producers.load(snapshot);
  const from = snapshot === undefined ? owner.logStartOffset : Number(snapshot.offset);
  await replayProducers(context, owner, from, endOffset);
  owner.producers.dirty = true;
};
