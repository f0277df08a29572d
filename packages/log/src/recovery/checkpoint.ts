/**
 * Checkpoints: what has completed is fsynced where it lies, the recovery points say so, and the journal space
 * behind them is free again. In that order.
 */
import { create } from "@bufbuild/protobuf";
import type { Disk } from "@millrace/env";
import { ErrorCode, hasCode } from "@millrace/errors";
import {
  LeaderEpochsSchema,
  type ProducerSnapshot,
  ProducerSnapshotSchema,
  type RecoveryPoint,
  RecoveryPointSchema,
  RecoveryPointsSchema,
} from "@millrace/proto/storage";
import { topicIdBytes } from "@millrace/record";
import { bugs } from "../bugs.ts";
import type { SegmentContext } from "../context.ts";
import { magics, writeChecksummed } from "../files/checksummed-file.ts";
import { isFull, storageError } from "../files/disk-errors.ts";
import { paths } from "../files/paths.ts";
import type { EpochEntry } from "../partition/leader-epochs.ts";
import type { Partition } from "../partition/partition.ts";
import { producersPath } from "../partition/producer-snapshots.ts";
import { persistIndex, syncIndex, unlinkIfThere } from "../segment/files.ts";
import type { Segment } from "../segment/segment.ts";
import type { SegmentWriter } from "../segment/writer.ts";

/** State of one partition at one moment. */
interface Captured {
  readonly partition: Partition;
  readonly point: RecoveryPoint;
  readonly segments: readonly Segment[];
  readonly indexesCut: readonly Segment[];
  readonly snapshot: ProducerSnapshot | undefined;
  readonly epochs: readonly EpochEntry[] | undefined;
}

export interface CheckpointOptions {
  readonly context: SegmentContext;
  readonly partitions: () => Iterable<Partition>;
  /** Last round that has completed. */
  readonly completedRound: () => number;
  /** Set once the disk has failed: then nothing may be claimed to be durable any more. */
  readonly failure: () => Error | undefined;
  /** The recovery points cover everything up to the round. */
  readonly onCovered: (round: number) => void;
}

/** Partitions worked on at once, beside whatever else uses the disk. */
const parallelInBackground = 4;
/** While nothing else does: after a recovery, and at a clean stop. */
export const parallelAlone = 32;

export class Checkpointer {
  readonly #options: CheckpointOptions;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  #failure: Error | undefined;

  constructor(options: CheckpointOptions) {
    this.#options = options;
  }

  /** Covers everything that has completed by the time of the call. Rejects when the disk fails. */
  run(parallel = parallelInBackground): Promise<void> {
    if (this.#running === undefined) return this.#start(parallel);
    this.#next ??= this.#running
      .catch(() => {})
      .then(() => {
        this.#next = undefined;
        return this.#start(parallel);
      });
    return this.#next;
  }

  /** Resolves once no checkpoint is under way. Never rejects. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running.catch(() => {});
  }

  #start(parallel: number): Promise<void> {
    const running = this.#checkpoint(parallel).finally(() => {
      if (this.#running === running) this.#running = undefined;
    });
    this.#running = running;
    return running;
  }

  async #checkpoint(parallel: number): Promise<void> {
    const { context } = this.#options;
    const failure = this.#failure ?? this.#options.failure();
    if (failure !== undefined) throw failure;
    try {
      await this.#attempt(context, parallel);
    } catch (thrown) {
      // A failed fsync leaves nothing to trust, and a later one that succeeds proves nothing.
      if (!isFull(thrown)) this.#failure = storageError("a checkpoint failed", thrown);
      throw thrown;
    }
  }

  async #attempt(context: SegmentContext, parallel: number): Promise<void> {
    const round = this.#options.completedRound();
    const captured: Captured[] = [];
    for (const partition of this.#options.partitions())
      captured.push(capture(partition, context.writes, round));
    if (bugs.journalReleasedBeforeSegmentSync) await this.#cover(captured, round);
    const queue = captured.filter(hasWork);
    const worker = async (): Promise<void> => {
      for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
        await secure(context, next).catch((thrown: unknown) => {
          giveBack(next);
          throw thrown;
        });
      }
    };
    await Promise.all(Array.from({ length: parallel }, worker));
    // The disk may have failed somewhere else meanwhile.
    const failure = this.#options.failure();
    if (failure !== undefined) throw failure;
    if (!bugs.journalReleasedBeforeSegmentSync) await this.#cover(captured, round);
    for (const { partition, snapshot, point } of captured) {
      const old = partition.snapshotOffset;
      partition.snapshotOffset = point.producerSnapshot ? Number(point.offset) : undefined;
      if (old === undefined || old === partition.snapshotOffset || snapshot === undefined) continue;
      await unlinkIfThere(context.env.disk, producersPath(partition.directory, old));
    }
  }

  async #cover(captured: readonly Captured[], round: number): Promise<void> {
    const points = captured.filter(({ partition }) => !partition.deleted).map(({ point }) => point);
    await writeRecoveryPoints(this.#options.context.env.disk, points);
    this.#options.onCovered(round);
  }
}

/** Writes the points twice: without them it could not be told what is missing from a log. */
export const writeRecoveryPoints = async (disk: Disk, points: RecoveryPoint[]): Promise<void> => {
  const message = create(RecoveryPointsSchema, { points });
  for (const path of [paths.recoveryPoints, paths.recoveryPointsCopy]) {
    await writeChecksummed(disk, path, magics.recoveryPoints, RecoveryPointsSchema, message);
  }
};

/** One synchronous picture: everything in it completed in rounds up to `round`. */
const capture = (partition: Partition, writes: SegmentWriter, round: number): Captured => {
  const unsafe = (segment: Segment): boolean => segment.dirty || writes.has(segment);
  const idle = partition.state.kind === "offline" && partition.lastPoint !== undefined;
  if (idle && partition.lastPoint !== undefined) {
    const { lastPoint: point } = partition;
    // The journal behind what was acknowledged before it went offline is about to be freed.
    const segments = partition.segments.filter(unsafe);
    return { partition, point, segments, indexesCut: [], snapshot: undefined, epochs: undefined };
  }
  const offset = partition.ackedEndOffset;
  const producers = partition.completedProducers;
  // The same offset may have come again after a truncation, with other batches before it.
  const changed = partition.snapshotOffset !== offset || producers.dirty;
  const snapshot = producers.size > 0 && changed ? producers.snapshot(offset) : undefined;
  producers.dirty = false;
  const epochs = partition.epochs.dirty
    ? partition.epochs.entries.filter(({ startOffset }) => startOffset <= offset)
    : undefined;
  partition.epochs.dirty = epochs !== undefined && epochs.length < partition.epochs.entries.length;
  const point = create(RecoveryPointSchema, {
    topicId: topicIdBytes(partition.topicId),
    partition: partition.partition,
    offset: BigInt(offset),
    segmentBaseOffset: BigInt(partition.ackedSegment.baseOffset),
    positionBytes: BigInt(partition.ackedPosition),
    journalRound: BigInt(round),
    logStartOffset: BigInt(partition.logStartOffset),
    highWatermark: BigInt(partition.highWatermark),
    producerSnapshot: producers.size > 0,
  });
  partition.lastPoint = point;
  const segments = partition.segments.filter(
    (segment) =>
      unsafe(segment) ||
      segment.fresh.length > 0 ||
      (segment !== partition.active && !segment.finished && segment.maxComplete),
  );
  const indexesCut = partition.indexesCut;
  partition.indexesCut = [];
  return { partition, point, segments, indexesCut, snapshot, epochs };
};

const hasWork = (captured: Captured): boolean =>
  captured.segments.length > 0 ||
  captured.indexesCut.length > 0 ||
  captured.snapshot !== undefined ||
  captured.epochs !== undefined ||
  captured.partition.directoryDirty ||
  captured.partition.flushing;

/** A checkpoint failed: what it had taken over is still to be done. */
const giveBack = ({ partition, indexesCut, epochs }: Captured): void => {
  partition.completedProducers.dirty = true;
  partition.indexesCut.push(...indexesCut);
  if (epochs !== undefined) partition.epochs.dirty = true;
  partition.directoryDirty = true;
};

/** Everything of a partition that its recovery point will claim. */
const secure = async (context: SegmentContext, captured: Captured): Promise<void> => {
  const { partition, snapshot, epochs } = captured;
  const { disk } = context.env;
  if (partition.deleted) return;
  // A segment may be dropped meanwhile: its files go in their turn, and what is gone needs no fsync.
  for (const segment of captured.segments) {
    await partition.exclusively(async () => {
      if (partition.segments.includes(segment)) await secureSegment(context, partition, segment);
    });
  }
  for (const segment of captured.indexesCut) {
    await partition.exclusively(async () => {
      if (partition.segments.includes(segment)) await syncIndex(disk, segment);
    });
  }
  if (snapshot !== undefined) {
    const path = producersPath(partition.directory, Number(snapshot.offset));
    await writeChecksummed(disk, path, magics.producers, ProducerSnapshotSchema, snapshot, false);
    partition.directoryDirty = true;
  }
  if (epochs !== undefined) {
    const message = create(LeaderEpochsSchema, {
      entries: epochs.map(({ leaderEpoch, startOffset }) => ({
        leaderEpoch,
        startOffset: BigInt(startOffset),
      })),
    });
    const path = `${partition.directory}/leader-epochs`;
    await writeChecksummed(disk, path, magics.leaderEpochs, LeaderEpochsSchema, message, false);
    partition.directoryDirty = true;
  }
  await partition.exclusively(() => partition.syncDirectory());
};

const secureSegment = async (
  context: SegmentContext,
  partition: Partition,
  segment: Segment,
): Promise<void> => {
  if (!bugs.checkpointBeforeSegmentWrites) await context.writes.written(segment);
  if (segment.created && segment.dirty) {
    segment.dirty = false;
    context.writes.syncing(segment);
    await context.files.with(segment.path, false, (file) => file.sync());
  }
  const sealed = segment !== partition.active && segment.writtenBytes === segment.sizeBytes;
  if (!segment.maxComplete && (segment.fresh.length > 0 || sealed)) {
    try {
      await context.indexes.rows(segment, partition.config.indexIntervalBytes);
    } catch (thrown) {
      if (!hasCode(thrown, ErrorCode.PARTITION_OFFLINE)) throw thrown;
      partition.takeOffline(thrown.message);
      return;
    }
  }
  await persistIndex(context, partition, segment, sealed);
  // The index of the active segment is checked after a crash; an older one is believed.
  if (sealed && !segment.indexSynced && segment.finished) {
    await syncIndex(context.env.disk, segment);
    segment.indexSynced = true;
  }
};
