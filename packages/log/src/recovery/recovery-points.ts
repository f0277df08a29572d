/** The recovery points of a data directory: what is safe without the commit journal. */
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { BinaryReader, WireType } from "@bufbuild/protobuf/wire";
import type { Disk } from "@millrace/env";
import {
  type RecoveryPoint,
  RecoveryPointSchema,
  type RecoveryPoints,
  RecoveryPointsSchema,
} from "@millrace/proto/storage";
import { topicIdBytes as bytesOf, type TopicId, topicIdOf } from "@millrace/record";
import { breathe, type Pauses } from "../files/breathe.ts";
import { magics, readFramed, writeFramed } from "../files/checksummed-file.ts";
import { isPassing } from "../files/disk-errors.ts";
import { paths } from "../files/paths.ts";
import { roundMax } from "../journal/format.ts";
import { planKey } from "../journal/scan.ts";
import type { Life } from "../partition/types.ts";

const topicIdBytes = 16;
/** Points encoded or decoded in one turn of the event loop. */
const pointsPerStep = 512;
const pointsField = 1;

/** What the files say. */
export interface FoundPoints {
  readonly points: ReadonlyMap<string, RecoveryPoint>;
  /** Every journal round up to this one is reflected in all partitions. */
  readonly coveredRound: number;
  /** Wall clock when they were written, milliseconds; undefined where it is not known. */
  readonly wallTimeMs: number | undefined;
  /** The encoded points where they are the copy's: see `replaceByCopy`. */
  readonly copied: Uint8Array | undefined;
}

/**
 * The point of a partition that was deleted and whose directory is still there. Every life of it
 * that began by `round` of the journal has ended, also where the meta file did not tell which.
 */
export const deletionOf = (
  topicId: TopicId,
  partition: number,
  life: Life,
  round = 0,
): RecoveryPoint =>
  create(RecoveryPointSchema, {
    topicId: bytesOf(topicId),
    partition,
    incarnation: life.incarnation,
    journalRound: BigInt(round),
    deleted: true,
  });

/**
 * The point of a partition whose directory is missing and that only the journal vouches for: it is
 * about whichever life began by `round` of the journal. The reason to be offline comes with it.
 */
export const lossOf = (topicId: TopicId, partition: number, round: number): RecoveryPoint =>
  create(RecoveryPointSchema, {
    topicId: bytesOf(topicId),
    partition,
    journalRound: BigInt(round),
  });

/**
 * Recovery points in the making. Encoded messages may be put one behind the other: the fields add
 * up.
 */
export class RecoveryPointsWriter {
  readonly #parts: Uint8Array[];

  constructor(coveredRound: number, wallTimeMs: number) {
    const head = create(RecoveryPointsSchema, {
      coveredRound: BigInt(coveredRound),
      wallTimeMs: BigInt(Math.max(0, wallTimeMs)),
    });
    this.#parts = [toBinary(RecoveryPointsSchema, head)];
  }

  add(points: RecoveryPoint[]): void {
    this.#parts.push(toBinary(RecoveryPointsSchema, create(RecoveryPointsSchema, { points })));
  }

  /** Writes the points twice: without them nobody could tell what is missing from a log. */
  async write(disk: Disk): Promise<void> {
    for (const path of [paths.recoveryPoints, paths.recoveryPointsCopy]) {
      await writeFramed(disk, path, magics.recoveryPoints, this.#parts);
    }
  }
}

/** Writes every point, some in a turn of the event loop. */
export const writeRecoveryPoints = async (
  { clock, disk }: { readonly clock: Pauses; readonly disk: Disk },
  points: readonly RecoveryPoint[],
  coveredRound: number,
  knownMs: number,
): Promise<void> => {
  const writer = new RecoveryPointsWriter(coveredRound, knownMs);
  for (let at = 0; at < points.length; at += pointsPerStep) {
    if (at > 0) await breathe(clock);
    writer.add(points.slice(at, at + pointsPerStep));
  }
  await writer.write(disk);
};

/** False for a point that no log ever had. */
const isPossible = (point: RecoveryPoint): boolean =>
  point.topicId.length === topicIdBytes &&
  point.segmentBaseOffset <= point.offset &&
  point.journalRound <= roundMax &&
  // Offsets and positions are plain numbers from here on.
  [point.offset, point.positionBytes, point.logStartOffset, point.highWatermark].every(
    (value) => value <= Number.MAX_SAFE_INTEGER,
  );

const decode = async (clock: Pauses, body: Uint8Array): Promise<RecoveryPoints | undefined> => {
  const reader = new BinaryReader(body);
  const found = create(RecoveryPointsSchema);
  try {
    while (reader.pos < reader.len) {
      const [field, wireType] = reader.tag();
      if (field === pointsField && wireType === WireType.LengthDelimited) {
        const point = fromBinary(RecoveryPointSchema, reader.bytes());
        if (!isPossible(point)) return undefined;
        found.points.push(point);
        if (found.points.length % pointsPerStep === 0) await breathe(clock);
      } else if (field === 2 && wireType === WireType.Varint) {
        found.coveredRound = BigInt(reader.uint64());
        if (found.coveredRound > roundMax) return undefined;
      } else if (field === 3 && wireType === WireType.Varint) {
        found.wallTimeMs = BigInt(reader.uint64());
      } else reader.skip(wireType, field);
    }
  } catch {
    return undefined;
  }
  return found;
};

/**
 * The points, from the copy where the file is damaged (then they may be one checkpoint old, and the
 * journal still has what they lack); undefined when neither can be believed. Throws the disk's
 * error where one that cannot be read may be all there is: what is opened without it writes it
 * anew, without deletions, log starts and reasons to be offline.
 */
export const readRecoveryPoints = async (
  clock: Pauses,
  disk: Disk,
): Promise<FoundPoints | undefined> => {
  let unreadable: unknown;
  for (const path of [paths.recoveryPoints, paths.recoveryPointsCopy]) {
    let framed: Awaited<ReturnType<typeof readFramed>>;
    try {
      framed = await readFramed(disk, path, magics.recoveryPoints);
    } catch (thrown) {
      if (isPassing(thrown)) throw thrown;
      unreadable = thrown;
      continue;
    }
    if (framed.kind !== "ok") continue;
    const found = await decode(clock, framed.body);
    if (found === undefined) continue;
    const points = new Map<string, RecoveryPoint>();
    let largestRound = 0;
    for (const point of found.points) {
      points.set(planKey(topicIdOf(point.topicId), point.partition), point);
      largestRound = Math.max(largestRound, Number(point.journalRound));
    }
    // Without partitions an older version forgot the round: such points say nothing.
    if (found.coveredRound === undefined && points.size === 0) return undefined;
    const wallTimeMs = Number(found.wallTimeMs);
    return {
      points,
      coveredRound: Number(found.coveredRound ?? largestRound),
      wallTimeMs: wallTimeMs === 0 ? undefined : wallTimeMs,
      copied: path === paths.recoveryPointsCopy ? framed.body : undefined,
    };
  }
  if (unreadable !== undefined) throw unreadable;
  return undefined;
};

/**
 * Makes it durable that the copy was believed. A recovery by older points takes away what they do
 * not know; if it crashed, a start that can read the file again would count on what is gone.
 */
export const replaceByCopy = async (
  disk: Disk,
  { copied }: Pick<FoundPoints, "copied">,
): Promise<void> => {
  if (copied === undefined) return;
  await writeFramed(disk, paths.recoveryPoints, magics.recoveryPoints, [copied]);
};
