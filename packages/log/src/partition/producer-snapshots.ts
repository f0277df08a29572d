/**
 * Snapshots of the producers' table: files, and the table of a log from the newest one that fits.
 */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import type { Disk, Env } from "@millrace/env";
import {
  type ProducerEntry,
  ProducerEntrySchema,
  ProducerSnapshotSchema,
} from "@millrace/proto/storage";
import type { SegmentContext } from "../context.ts";
import { breathe, Pace, type Pauses } from "../files/breathe.ts";
import { magics, readFramed, writeFramed } from "../files/checksummed-file.ts";
import { isPassing } from "../files/disk-errors.ts";
import { offsetName } from "../files/paths.ts";
import { BatchScanner } from "../segment/batch-scanner.ts";
import { unlinkIfThere } from "../segment/files.ts";
import { damaged } from "../segment/index-cache.ts";
import type { Segment } from "../segment/segment.ts";
import {
  type Producer,
  type ProducerTable,
  packBatches,
  producersPerTurn,
  unpackBatches,
} from "./producer-table.ts";

/** The table as of an offset: every batch below it is reflected. */
export interface ProducersAt {
  readonly offset: number;
  readonly entries: readonly Producer[];
}

/** Where a log begins, and what it lies in. */
export interface Bounds {
  readonly segments: readonly Segment[];
  readonly logStartOffset: number;
}

/** Producers and batches of them encoded or decoded in one turn of the event loop. */
const producersPerStep = 1024;

export const producersPath = (directory: string, offset: number): string =>
  `${directory}/producers.${offsetName(offset)}`;

/** Offset of a `producers.<20 digits>` file, or undefined for another name. */
export const parseProducersName = (name: string): number | undefined => {
  const match = /^producers\.([0-9]{20})$/.exec(name);
  return match === null ? undefined : Number(match[1]);
};

const entryOf = (producer: Producer) => ({
  producerId: BigInt(producer.id),
  producerEpoch: producer.epoch,
  lastAppendTimeMs: BigInt(producer.lastAppendTimeMs),
  batches: unpackBatches(producer.batches).map((batch) => ({
    baseSequence: batch.baseSequence,
    lastSequence: batch.lastSequence,
    baseOffset: BigInt(batch.baseOffset),
    appendTimeMs: BigInt(batch.appendTimeMs),
  })),
});

const producerOf = (entry: ProducerEntry): Producer => ({
  id: Number(entry.producerId),
  epoch: entry.producerEpoch,
  lastAppendTimeMs: Number(entry.lastAppendTimeMs),
  batches: packBatches(
    entry.batches.map((batch) => ({
      baseSequence: batch.baseSequence,
      lastSequence: batch.lastSequence,
      baseOffset: Number(batch.baseOffset),
      appendTimeMs: Number(batch.appendTimeMs),
    })),
  ),
});

/**
 * Bytes of a ProducerSnapshot, in parts. Encoded messages may be put one behind the other: the
 * fields add up.
 */
export const encodeSnapshot = async (
  clock: Pauses,
  snapshot: ProducersAt,
): Promise<Uint8Array[]> => {
  const { offset, entries } = snapshot;
  const parts = [
    toBinary(ProducerSnapshotSchema, create(ProducerSnapshotSchema, { offset: BigInt(offset) })),
  ];
  const pace = new Pace(clock, producersPerStep);
  let producers: ReturnType<typeof entryOf>[] = [];
  const encode = (): void => {
    parts.push(toBinary(ProducerSnapshotSchema, create(ProducerSnapshotSchema, { producers })));
    producers = [];
  };
  for (const producer of entries) {
    const entry = entryOf(producer);
    producers.push(entry);
    if (!pace.took(1 + entry.batches.length)) continue;
    encode();
    await pace.pause();
  }
  encode();
  return parts;
};

/** The reverse; undefined when the bytes are no ProducerSnapshot. */
export const decodeSnapshot = async (
  clock: Pauses,
  bytes: Uint8Array,
): Promise<ProducersAt | undefined> => {
  const reader = new BinaryReader(bytes);
  const entries: Producer[] = [];
  const pace = new Pace(clock, producersPerStep);
  let offset = 0;
  try {
    while (reader.pos < reader.len) {
      const [field, wireType] = reader.tag();
      if (field === 1 && wireType === WireType.Varint) offset = Number(reader.uint64());
      else if (field === 2 && wireType === WireType.LengthDelimited) {
        const entry = fromBinary(ProducerEntrySchema, reader.bytes());
        entries.push(producerOf(entry));
        if (pace.took(1 + entry.batches.length)) await pace.pause();
      } else reader.skip(wireType, field);
    }
  } catch {
    return undefined;
  }
  return { offset, entries };
};

/** Writes a snapshot's file. Its name is durable once the caller has fsynced the directory. */
export const writeSnapshot = async (
  clock: Pauses,
  disk: Disk,
  directory: string,
  snapshot: ProducersAt,
): Promise<void> => {
  const path = producersPath(directory, snapshot.offset);
  await writeFramed(disk, path, magics.producers, await encodeSnapshot(clock, snapshot), false);
};

/**
 * The snapshot as of exactly `offset`, or undefined when it is missing, damaged or cannot be read.
 */
const readSnapshot = async (
  clock: Pauses,
  disk: Disk,
  directory: string,
  offset: number,
): Promise<ProducersAt | undefined> => {
  try {
    const found = await readFramed(disk, producersPath(directory, offset), magics.producers);
    if (found.kind !== "ok") return undefined;
    // Files of many partitions are read at once, and come in one turn: each is decoded in its own.
    await breathe(clock);
    const snapshot = await decodeSnapshot(clock, found.body);
    return snapshot?.offset === offset ? snapshot : undefined;
  } catch (thrown) {
    if (isPassing(thrown)) throw thrown;
    return undefined;
  }
};

/** Offsets of the snapshots in a directory, falling. */
export const snapshotOffsets = async (disk: Disk, directory: string): Promise<number[]> =>
  (await disk.list(directory))
    .flatMap((name) => parseProducersName(name) ?? [])
    .sort((a, b) => b - a);

const unreadableText =
  "a snapshot of producers cannot be read: a retry of a batch below the log start may be appended again";

/** The newest snapshot at or below `offset` that can be believed. */
export const newestSnapshot = async (
  { clock, disk, logger }: Env,
  directory: string,
  offset: number,
): Promise<ProducersAt | undefined> => {
  for (const covered of await snapshotOffsets(disk, directory)) {
    if (covered > offset) continue;
    const snapshot = await readSnapshot(clock, disk, directory, covered);
    if (snapshot !== undefined) return snapshot;
    logger.warn({ path: producersPath(directory, covered) }, unreadableText);
  }
  return undefined;
};

/** Removes the snapshots behind `offset`: another history may come to the same offsets. */
export const dropSnapshotsAbove = async (
  disk: Disk,
  directory: string,
  offset: number,
): Promise<void> => {
  for (const covered of await snapshotOffsets(disk, directory)) {
    if (covered > offset) await unlinkIfThere(disk, producersPath(directory, covered));
  }
};

/**
 * Removes the snapshots that nobody needs: a truncation begins at the newest one before the cut,
 * which is the one at the start of a segment, or else the newest up to the log start, behind which
 * none goes. That need not be where the first segment begins: recovery may have begun it anew below
 * the log start, knowing nothing of what came before. `kept` stays.
 */
export const dropOldSnapshots = async (
  disk: Disk,
  directory: string,
  { segments, logStartOffset }: Bounds,
  kept: number | undefined,
): Promise<void> => {
  const bases = new Set(segments.map(({ baseOffset }) => baseOffset));
  const all = await snapshotOffsets(disk, directory);
  const needed = [kept, all.find((covered) => covered <= logStartOffset)];
  for (const covered of all) {
    if (needed.includes(covered) || bases.has(covered)) continue;
    await unlinkIfThere(disk, producersPath(directory, covered));
  }
};

/**
 * Replays batches from `fromOffset` up to `endOffset` into a table. Where some were deleted, only
 * who was fenced is known of before, and it resolves to false. Throws PARTITION_OFFLINE on damage.
 */
const replay = async (
  context: SegmentContext,
  segments: readonly Segment[],
  table: ProducerTable,
  fromOffset: number,
  endOffset: number,
): Promise<boolean> => {
  let reached = fromOffset;
  let whole = true;
  const pace = new Pace(context.env.clock, producersPerTurn);
  const goOnAt = async (offset: number): Promise<void> => {
    if (offset <= reached) return;
    whole = false;
    await table.forgetSequences(pace);
  };
  for (const segment of segments) {
    if (segment.endOffset <= fromOffset || segment.baseOffset >= endOffset) continue;
    if (segment.sizeBytes === 0) continue;
    await context.writes.reach(segment, segment.sizeBytes);
    await context.files.with(segment, async (file) => {
      const scanner = new BatchScanner(context.env.clock, file, 0, segment.sizeBytes);
      for (;;) {
        const batch = await scanner.peek();
        if ("end" in batch) {
          if (batch.end) return;
          throw damaged(segment, scanner.position, batch.reason);
        }
        const { baseOffset, appendTimeMs } = batch.header;
        if (baseOffset >= endOffset) return;
        if (baseOffset >= fromOffset) {
          await goOnAt(baseOffset);
          table.record(batch.info, baseOffset, appendTimeMs);
          reached = batch.lastOffset + 1;
        }
        scanner.skip(batch);
      }
    });
  }
  await goOnAt(endOffset);
  return whole;
};

/** What a table was made from. */
export interface Rebuilt {
  /** Of the snapshot that it began with. */
  readonly snapshotOffset: number | undefined;
  /** False where batches behind the snapshot are in no segment. */
  readonly whole: boolean;
}

/** Makes the table what the log up to `endOffset` says. Throws PARTITION_OFFLINE on damage. */
export const rebuildProducers = async (
  context: SegmentContext,
  directory: string,
  segments: readonly Segment[],
  table: ProducerTable,
  endOffset: number,
): Promise<Rebuilt> => {
  const snapshot = await newestSnapshot(context.env, directory, endOffset);
  const offset = snapshot?.offset ?? 0;
  table.replace(snapshot?.entries ?? []);
  const whole = await replay(context, segments, table, offset, endOffset);
  return { snapshotOffset: snapshot?.offset, whole };
};
