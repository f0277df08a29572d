/**
 * Checkpoints: what counts is fsynced where it lies, the recovery points say so, and the journal
 * space behind them is free again. In that order.
 */
import { clone, create } from "@bufbuild/protobuf";
import { ErrorCode, hasCode, type MillraceError } from "@millrace/errors";
import { type RecoveryPoint, RecoveryPointSchema } from "@millrace/proto/storage";
import { topicIdBytes } from "@millrace/record";
import { bugs } from "../bugs.ts";
import type { LogContext } from "../context.ts";
import { breathe, Pace } from "../files/breathe.ts";
import {
  errno,
  isFull,
  isOfOneName,
  isPassing,
  isProgrammingError,
  passingError,
  storageError,
} from "../files/disk-errors.ts";
import { epochsMessage, removeEpochs, writeEpochs } from "../partition/epochs-file.ts";
import type { EpochEntry } from "../partition/leader-epochs.ts";
import type { Partition } from "../partition/partition.ts";
import type { SnapshotPlan } from "../partition/producer-state.ts";
import { persistIndex, syncIndex } from "../segment/files.ts";
import type { Segment } from "../segment/segment.ts";
import { writeRecoveryPoints } from "./recovery-points.ts";

/**
 * State of one partition at one moment, and what must be durable before its point may be written.
 */
interface Captured {
  readonly partition: Partition;
  /** Undefined for a partition that went offline before it had one. */
  point: RecoveryPoint | undefined;
  readonly promises: number;
  readonly segments: readonly Segment[];
  readonly snapshots: SnapshotPlan | undefined;
  /** Undefined also where they could not be written: then the point has them. */
  epochs: { readonly entries: readonly EpochEntry[]; readonly version: number } | undefined;
}

export interface CheckpointOptions {
  readonly context: LogContext;
  readonly partitions: () => Iterable<Partition>;
  /** Points of partitions that were deleted and whose directories are still there. */
  readonly deletions: () => Iterable<RecoveryPoint>;
  /** Set once the disk has failed: then nothing may be claimed to be durable any more. */
  readonly failure: () => Error | undefined;
  /** The recovery points cover everything up to the round. */
  readonly onCovered: (round: number) => void;
  /** The disk has no room: make some if there is a reserve. */
  readonly onFull: () => Promise<void>;
  /** The disk failed: nothing more may be acknowledged. */
  readonly onFailure: (error: MillraceError) => void;
}

/** Partitions worked on at once, beside everything else that uses the disk. */
const parallelInBackground = 4;
/** While nothing else does: after a recovery, and at a clean stop. */
export const parallelAlone = 32;
/** Partitions captured in one turn of the event loop; some milliseconds. */
const capturedPerStep = 256;
/** The producers of a partition take as long as one more for each of these. */
const producersPerCapture = 256;

export class Checkpointer {
  readonly #options: CheckpointOptions;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;
  #failure: MillraceError | undefined;

  constructor(options: CheckpointOptions) {
    this.#options = options;
  }

  /**
   * Covers everything that has completed by the time of the call. A full disk is waited out: it
   * rejects, and a later one does the work. After any other failure the directory takes no more
   * writes. `recovered`: the last round that recovery has seen, before the commit loop begins.
   */
  run(parallel = parallelInBackground, recovered?: number): Promise<void> {
    if (this.#running === undefined) return this.#start(parallel, recovered);
    this.#next ??= this.#running
      // Whoever asked for that one is told.
      .catch(() => {})
      .then(() => {
        this.#next = undefined;
        return this.#start(parallel, recovered);
      });
    return this.#next;
  }

  /** Resolves once no checkpoint is under way. Never rejects. */
  async idle(): Promise<void> {
    while (this.#running !== undefined) await this.#running.catch(() => {});
  }

  #start(parallel: number, recovered?: number): Promise<void> {
    const running = this.#checkpoint(parallel, recovered).finally(() => {
      if (this.#running === running) this.#running = undefined;
    });
    this.#running = running;
    return running;
  }

  async #checkpoint(parallel: number, recovered?: number): Promise<void> {
    const { failure, onFailure, onFull } = this.#options;
    const failed = this.#failure ?? failure();
    if (failed !== undefined) throw failed;
    try {
      await this.#attempt(parallel, recovered);
    } catch (thrown) {
      if (isFull(thrown)) await onFull();
      if (isPassing(thrown)) {
        const waits = "a checkpoint has to wait";
        this.#options.context.env.logger.warn({ err: thrown }, waits);
        throw passingError(waits, thrown);
      }
      // A failed fsync leaves nothing to trust, and a later one that succeeds proves nothing.
      this.#failure = storageError("a checkpoint failed", thrown);
      onFailure(this.#failure);
      throw this.#failure;
    }
  }

  async #attempt(parallel: number, recovered?: number): Promise<void> {
    const { context } = this.#options;
    const round = (): number => recovered ?? context.committer.completedRound;
    // The caller may be in the middle of a round's callbacks.
    await breathe(context.env.clock);
    const covered = round();
    const captured = await this.#captureAll(round);
    if (bugs.journalReleasedBeforeSegmentSync) await this.#cover(captured, covered);
    await this.#secureAll(captured, parallel, recovered !== undefined);
    // The disk may have failed somewhere else meanwhile.
    const failure = this.#options.failure();
    if (failure !== undefined) throw failure;
    if (!bugs.journalReleasedBeforeSegmentSync) await this.#cover(captured, covered);
    for (const { partition, snapshots } of captured) {
      if (snapshots !== undefined) await dropOldSnapshots(context, partition, snapshots);
    }
  }

  /**
   * Each partition's picture is synchronous and says which round it is of; they need not be of the
   * same.
   */
  async #captureAll(round: () => number): Promise<Captured[]> {
    const { context, partitions } = this.#options;
    const captured: Captured[] = [];
    const pace = new Pace(context.env.clock, capturedPerStep);
    for (const partition of [...partitions()]) {
      if (pace.due) await pace.pause();
      if (partition.deleted) continue;
      const next = capture(context, partition, round());
      captured.push(next);
      const snapshots = next.snapshots?.snapshots ?? [];
      const producers = snapshots.reduce((sum, { entries }) => sum + entries.length, 0);
      pace.took(1 + producers / producersPerCapture);
    }
    return captured;
  }

  /** Resolves or rejects once no worker is left: the next checkpoint must not run beside them. */
  async #secureAll(
    captured: readonly Captured[],
    parallel: number,
    atStart: boolean,
  ): Promise<void> {
    const { context } = this.#options;
    const queue = captured.filter(hasWork);
    let failed = false;
    const worker = async (): Promise<void> => {
      for (let next = queue.pop(); next !== undefined && !failed; next = queue.pop()) {
        const { partition } = next;
        try {
          await partition.files.run(() => secure(context, next));
        } catch (thrown) {
          if (partition.deleted || takenOffline(partition, thrown, atStart)) continue;
          failed = true;
          throw thrown;
        }
      }
    };
    const outcomes = await Promise.allSettled(Array.from({ length: parallel }, worker));
    for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
  }

  async #cover(captured: readonly Captured[], round: number): Promise<void> {
    const { env, retentionClock } = this.#options.context;
    const points: RecoveryPoint[] = [];
    for (const next of captured) {
      if (next.partition.deleted) continue;
      next.point = await durablePoint(next);
      if (next.point !== undefined) points.push(next.point);
    }
    points.push(...this.#options.deletions());
    await writeRecoveryPoints(env, points, round, retentionClock.knownMs());
    for (const { partition, point, promises, epochs } of captured) {
      if (point !== undefined) partition.checkpointed(point, promises);
      if (epochs !== undefined) partition.epochs.durability.durableUpTo(epochs.version);
    }
    this.#options.onCovered(round);
  }
}

/** Journal use at which a checkpoint is asked for. */
const atJournalPart = 0.25;
/** Journal entries at which one is asked for: recovery costs by entries more than by bytes. */
export const checkpointEntries = 100_000;

/** When a checkpoint is due besides the periodic ones: well before the journal is full or long. */
export class CheckpointPolicy {
  readonly #checkpointer: Checkpointer;
  #entries = 0;

  constructor(checkpointer: Checkpointer) {
    this.#checkpointer = checkpointer;
  }

  /** A round with so many entries is over. */
  committed(entries: number, journalUsedPart: number): void {
    this.#entries += entries;
    if (this.#entries < checkpointEntries && journalUsedPart < atJournalPart) return;
    this.soon();
  }

  /** Begins a checkpoint unless one is due already. */
  soon(): void {
    this.#entries = 0;
    // The checkpointer tells why one has to wait, and what stops the directory.
    this.#checkpointer.run().catch(() => {});
  }
}

/**
 * Damage, or a mistake in the program, stops the partition and not the directory. A file that
 * cannot be opened stops the directory, because the journal still has what the file may lack, and
 * the next start replays it. At that start it stops the partition: recovery has done for it what
 * could be done.
 */
const takenOffline = (partition: Partition, thrown: unknown, atStart: boolean): boolean => {
  if (hasCode(thrown, ErrorCode.PARTITION_OFFLINE)) partition.takeOffline(thrown.message);
  else if (isProgrammingError(thrown) || (atStart && isUnreadable(thrown))) {
    partition.takeOffline(`a checkpoint of it failed: ${String(thrown)}`);
  } else return false;
  return true;
};

/** An open or a read that failed for good; failed changes come as STORAGE_ERROR. */
const isUnreadable = (thrown: unknown): boolean => errno(thrown) !== "" && !isPassing(thrown);

/** Nothing relies on it: a snapshot too many is never believed in place of another. */
const dropOldSnapshots = async (
  context: LogContext,
  partition: Partition,
  plan: SnapshotPlan,
): Promise<void> => {
  const { directory, producers } = partition;
  try {
    await partition.files.run(async () => {
      if (partition.deleted) return;
      await producers.settled(context, directory, partition, plan);
    });
  } catch (thrown) {
    context.env.logger.warn({ directory, err: thrown }, "old producer snapshots cannot be removed");
  }
};

/**
 * The point to write. Damage that was met meanwhile must be known to the next start before the
 * journal moves on: the partition keeps its older point, and stays offline.
 */
const durablePoint = async ({ partition, point }: Captured): Promise<RecoveryPoint | undefined> => {
  if (partition.state.kind !== "offline") return point;
  const offlineReason = await partition.offlineRecord.unrecorded();
  const { lastPoint } = partition;
  const empty = lastPoint === undefined || isReasonAlone(lastPoint);
  if (empty && offlineReason === "") return undefined;
  const known = lastPoint ?? create(RecoveryPointSchema, idOf(partition));
  const noted = clone(RecoveryPointSchema, known);
  noted.offlineReason = offlineReason;
  // The journal's entry goes, and segments below it may be gone: a repaired log begins there.
  const logStart = BigInt(partition.logStartOffset);
  if (logStart > noted.logStartOffset) noted.logStartOffset = logStart;
  return noted;
};

/** Made for its reason: it says nothing of the log, and must not outlive the reason. */
const isReasonAlone = ({ journalRound, offset, offlineReason }: RecoveryPoint): boolean =>
  journalRound === 0n && offset === 0n && offlineReason !== "";

/** One synchronous picture: it reflects everything in rounds up to `round`. */
const capture = (context: LogContext, partition: Partition, round: number): Captured => {
  const unsafe = (segment: Segment): boolean =>
    segment.durability.pending || segment.cutting || context.writes.has(segment);
  const { lastPoint } = partition;
  const promises = partition.promises.version;
  if (partition.state.kind === "offline") {
    // The journal behind what was acknowledged before it went offline is about to be freed.
    const segments = partition.segments.filter(unsafe);
    const point = lastPoint;
    return { partition, point, promises, segments, snapshots: undefined, epochs: undefined };
  }
  const offset = partition.ackedEndOffset;
  const { durability, entries } = partition.epochs;
  const epochs = durability.pending
    ? {
        entries: entries.filter(({ startOffset }) => startOffset <= offset),
        version: durability.version,
      }
    : undefined;
  const complete = epochs === undefined || epochs.entries.length === entries.length;
  return {
    partition,
    point: pointOf(partition, round),
    promises,
    segments: [
      ...partition.files.dropped.filter(unsafe),
      ...partition.segments.filter(
        (segment) => unsafe(segment) || indexHasWork(segment, segment !== partition.active),
      ),
    ],
    snapshots: partition.producers.plan(offset),
    // Epochs beyond the point are written by a later checkpoint.
    epochs: epochs && { entries: epochs.entries, version: complete ? epochs.version : -1 },
  };
};

const idOf = (partition: Partition) => ({
  topicId: topicIdBytes(partition.topicId),
  partition: partition.partition,
  incarnation: partition.life.incarnation,
});

const pointOf = (partition: Partition, round: number): RecoveryPoint => {
  const epoch = partition.epochs.latestAt(partition.ackedEndOffset);
  return create(RecoveryPointSchema, {
    ...idOf(partition),
    leaderEpoch: epoch?.leaderEpoch ?? 0,
    leaderEpochStart: BigInt(epoch?.startOffset ?? 0),
    offset: BigInt(partition.ackedEndOffset),
    segmentBaseOffset: BigInt(partition.ackedSegment.baseOffset),
    positionBytes: BigInt(partition.ackedPosition),
    journalRound: BigInt(round),
    logStartOffset: BigInt(partition.logStartOffset),
    highWatermark: BigInt(partition.highWatermark),
    producerSnapshot: partition.producers.any,
  });
};

const indexHasWork = ({ index }: Segment, sealed: boolean): boolean =>
  index.fresh.length > 0 ||
  index.cutPending ||
  (sealed && !index.finished && index.complete) ||
  (sealed && index.finished && index.durability.pending);

const hasWork = (captured: Captured): boolean =>
  captured.segments.length > 0 ||
  captured.snapshots !== undefined ||
  captured.epochs !== undefined ||
  captured.partition.names.pending ||
  captured.partition.files.flushing;

/** Everything of a partition that its recovery point will claim. As file work of the partition. */
const secure = async (context: LogContext, captured: Captured): Promise<void> => {
  const { partition } = captured;
  if (partition.deleted) return;
  try {
    await secureFiles(context, captured);
  } finally {
    // Also of a partition that is offline, or goes offline here: its batches leave the journal.
    await partition.files.syncNames();
  }
};

const secureFiles = async (context: LogContext, captured: Captured): Promise<void> => {
  const { partition, snapshots } = captured;
  // A segment may have been dropped meanwhile: what is gone needs no fsync. Until it is gone, it
  // may be all that knows its producers.
  const isThere = (segment: Segment): boolean => partition.segments.includes(segment);
  const isLeft = (segment: Segment): boolean => partition.files.dropped.includes(segment);
  // The batches of all segments first, whatever is found on the way: their journal space is about
  // to be freed, also when the partition goes offline.
  for (const segment of captured.segments) {
    if (isThere(segment) || isLeft(segment)) await secureBatches(context, segment);
  }
  if (partition.state.kind === "offline") return;
  for (const segment of captured.segments) {
    if (isThere(segment)) await secureIndex(context, partition, segment);
  }
  if (snapshots !== undefined) {
    await partition.producers.write(context, partition.directory, snapshots);
    partition.names.changed();
  }
  await secureEpochs(context, captured);
};

/**
 * Where the name of the file cannot be used, the recovery point has the epochs, and nobody else
 * need stop. The old file goes before the point is written: it may have another history.
 */
const secureEpochs = async (context: LogContext, captured: Captured): Promise<void> => {
  const { epochs, partition, point } = captured;
  if (epochs === undefined) return;
  const { directory } = partition;
  try {
    await writeEpochs(context, directory, epochs.entries);
    partition.names.changed();
  } catch (thrown) {
    const isCarried = point !== undefined && isOfOneName(thrown);
    if (!isCarried || !(await removeEpochs(context, directory))) throw thrown;
    partition.names.changed();
    point.leaderEpochs = epochsMessage(epochs.entries);
    // Still to be written: the next checkpoint tries again.
    captured.epochs = undefined;
    const text = "the leader epochs of a partition cannot be written: see who owns its files";
    context.env.logger.error({ directory, err: thrown }, text);
  }
};

const secureBatches = async (context: LogContext, segment: Segment): Promise<void> => {
  if (!bugs.checkpointBeforeSegmentWrites) await context.writes.written(segment);
  if (segment.created) {
    await segment.durability.settle(async () => {
      context.writes.syncing(segment);
      await context.files.with(segment, (file) => file.sync());
    });
  }
};

const secureIndex = async (
  context: LogContext,
  partition: Partition,
  segment: Segment,
): Promise<void> => {
  const { index } = segment;
  const sealed = segment !== partition.active && segment.writtenBytes === segment.sizeBytes;
  if (!index.complete && (index.fresh.length > 0 || sealed)) {
    if (!(await loadIndex(context, partition, segment))) return;
  }
  try {
    await persistIndex(context, partition, segment, sealed);
    // The index of the active segment is checked after a crash; an older one is believed.
    if (index.cutPending || (sealed && index.finished)) await syncIndex(context.env.disk, segment);
  } catch (thrown) {
    // Entries that were cut off must be gone; missing ones are built again.
    if (index.cutPending || !isUnreadable(thrown)) throw thrown;
    const { path } = segment;
    context.env.logger.warn({ path, err: thrown }, "the index of a segment cannot be written yet");
  }
};

/** False when the log cannot be read now: the index is built later, and nothing relies on it. */
const loadIndex = async (
  context: LogContext,
  partition: Partition,
  segment: Segment,
): Promise<boolean> => {
  try {
    await context.indexes.rows(segment, partition.config.indexIntervalBytes);
    return true;
  } catch (thrown) {
    if (hasCode(thrown, ErrorCode.PARTITION_OFFLINE) || isProgrammingError(thrown)) throw thrown;
    const { path } = segment;
    context.env.logger.warn({ path, err: thrown }, "the index of a segment cannot be built yet");
    return false;
  }
};
