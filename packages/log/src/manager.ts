/** A data directory: opening and recovering it, its partitions, its background work, closing it. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { RecoveryPoint } from "@millrace/proto/storage";
import type { TopicId } from "@millrace/record";
import type {
  LogConfig,
  LogGauges,
  LogManager,
  LogManagerOptions,
  PartitionLog,
  RecoveryReport,
} from "./api.ts";
import type { LogContext } from "./context.ts";
import { DelayedTasks } from "./files/delayed-tasks.ts";
import { isFull, storageError } from "./files/disk-errors.ts";
import { DiskSpace } from "./files/disk-space.ts";
import { FileCache } from "./files/file-cache.ts";
import { paths } from "./files/paths.ts";
import { Committer } from "./journal/commit-loop.ts";
import { Journal } from "./journal/journal.ts";
import { planKey, scanJournal } from "./journal/scan.ts";
import { Partition, type PartitionOwner } from "./partition/partition.ts";
import { TailCache } from "./partition/tail-cache.ts";
import { Checkpointer, parallelAlone } from "./recovery/checkpoint.ts";
import {
  makePartitionDirectory,
  openDirectory,
  readRecoveryPoints,
  removeTree,
  takeCleanMarker,
  writeCleanMarker,
} from "./recovery/data-directory.ts";
import { PartitionLoader } from "./recovery/loader.ts";
import { deletedSuffix } from "./segment/files.ts";
import { IndexCache } from "./segment/index-cache.ts";
import { SegmentWriter } from "./segment/writer.ts";

/** Journal use at which a checkpoint is asked for. */
const checkpointAtJournalPart = 0.25;

class Manager implements LogManager {
  readonly #options: LogManagerOptions;
  readonly #context: LogContext;
  readonly #journal: Journal;
  readonly #partitions: Map<string, Partition>;
  readonly #checkpointer: Checkpointer;
  readonly #space: DiskSpace;
  readonly #cancels = new Set<() => void>();
  readonly recovery: RecoveryReport;
  #closed = false;

  constructor(parts: {
    options: LogManagerOptions;
    context: LogContext;
    journal: Journal;
    partitions: Map<string, Partition>;
    checkpointer: Checkpointer;
    space: DiskSpace;
    recovery: RecoveryReport;
  }) {
    this.#options = parts.options;
    this.#context = parts.context;
    this.#journal = parts.journal;
    this.#partitions = parts.partitions;
    this.#checkpointer = parts.checkpointer;
    this.#space = parts.space;
    this.recovery = parts.recovery;
  }

  get identity() {
    return this.#options.identity;
  }

  partitions(): Iterable<PartitionLog> {
    return this.#partitions.values();
  }

  get(topicId: TopicId, partition: number): PartitionLog | undefined {
    return this.#partitions.get(planKey(topicId, partition));
  }

  async create(
    topicId: TopicId,
    topic: string,
    partition: number,
    config: LogConfig,
  ): Promise<PartitionLog> {
    const key = planKey(topicId, partition);
    const known = this.#partitions.get(key);
    if (known !== undefined) return known;
    this.#refuseWhenClosed();
    const { env, identity, directoryId } = this.#context;
    try {
      await makePartitionDirectory(env, identity, directoryId, topicId, topic, partition);
    } catch (thrown) {
      throw storageError(`${topic}-${partition} can not be made`, thrown);
    }
    const meanwhile = this.#partitions.get(key);
    if (meanwhile !== undefined) return meanwhile;
    const made = new Partition(this.owner, topicId, topic, partition, config);
    this.#partitions.set(key, made);
    return made;
  }

  async delete(topicId: TopicId, partition: number): Promise<void> {
    const key = planKey(topicId, partition);
    const gone = this.#partitions.get(key);
    if (gone === undefined) return;
    await gone.markDeleted();
    this.#partitions.delete(key);
    const { disk } = this.#context.env;
    await this.#checkpointer.idle();
    for (const segment of gone.segments) {
      await this.#context.writes.discard(segment);
      this.#context.indexes.forget(segment);
      this.#context.files.forget(segment.path);
    }
    const aside = `${gone.directory}${deletedSuffix}`;
    await disk.rename(gone.directory, aside);
    await disk.syncDirectory(paths.partitions);
    const { fileDeleteDelayMs } = gone.config;
    this.#context.delayed.add(fileDeleteDelayMs, "removing a deleted partition", () =>
      removeTree(disk, aside),
    );
  }

  gauges(): LogGauges {
    const { config, committer, tails, files, indexes, writes } = this.#context;
    return {
      journalBytesUsed: this.#journal.bytesUsed,
      journalBytesMax: this.#journal.bytesMax,
      tailCacheBytes: tails.bytes,
      tailCacheBytesMax: tails.bytesMax,
      pendingBytes: committer.pendingBytes,
      pendingBytesMax: config.pendingBytesMax,
      unwrittenBytes: writes.bytes,
      unwrittenBytesMax: config.unwrittenBytesMax,
      openFiles: files.openFiles,
      openFilesMax: config.openFilesMax,
      indexCacheBytes: indexes.bytes,
      indexCacheBytesMax: config.indexCacheBytesMax,
      diskFreeBytes: this.#space.freeBytes,
      diskReserveBytes: config.diskReserveBytes,
    };
  }

  waitForPendingRoom(): Promise<void> {
    return this.#context.committer.below(this.#context.config.pendingBytesMax * 0.5);
  }

  async close(clean: boolean): Promise<void> {
    if (this.#closed) return;
    this.#closed = true;
    for (const cancel of this.#cancels) cancel();
    this.#space.close();
    this.#context.delayed.close();
    const { committer, env, files, writes } = this.#context;
    if (clean) {
      writes.closing();
      await committer.idle();
      // A failure stops the committer, and then the stop is not clean.
      await writes.all().catch(() => {});
      await this.#checkpointer.idle();
      if (committer.failure === undefined) await this.#closeClean();
    }
    writes.closing();
    committer.closing();
    await this.#checkpointer.idle();
    writes.close();
    await files.closeAll();
    await this.#journal.close();
    env.logger.debug({ clean }, "the log is closed");
  }

  async #closeClean(): Promise<void> {
    for (const partition of this.#partitions.values()) {
      if (partition.state.kind === "online") await partition.finishIndexes();
    }
    await this.#checkpointer.run(parallelAlone);
    await writeCleanMarker(this.#context.env.disk, this.#context.committer.nextRound);
  }

  get owner(): PartitionOwner {
    return { context: this.#context, checkpoint: () => this.#checkpoint() };
  }

  start(): void {
    const { config } = this.#context;
    this.#every(config.checkpointIntervalMs, "checkpoint", () => this.#checkpoint());
    this.#every(config.retentionCheckIntervalMs, "retention", async () => {
      for (const partition of [...this.#partitions.values()]) await partition.runRetention();
    });
    this.#every(100, "interval flush", () => this.#flushIntervals());
  }

  /** A checkpoint well before the journal is full. */
  onCommit(): void {
    if (
      this.#closed ||
      this.#journal.bytesUsed < this.#journal.bytesMax * checkpointAtJournalPart
    ) {
      return;
    }
    this.owner.checkpoint().catch(() => {});
  }

  async #flushIntervals(): Promise<void> {
    const nowMs = this.#context.env.clock.monoMs();
    try {
      for (const partition of this.#partitions.values()) await partition.flushIfDue(nowMs);
    } catch (thrown) {
      this.#context.committer.fail(storageError("a segment can not be fsynced", thrown));
      throw thrown;
    }
  }

  /** A full disk is waited out. After any other failure nothing is known of what was written (fsync is never
   * tried again), and the directory takes no more writes. */
  async #checkpoint(): Promise<void> {
    try {
      await this.#checkpointer.run();
    } catch (thrown) {
      if (isFull(thrown)) await this.#space.onFull();
      else this.#context.committer.fail(storageError("a checkpoint failed", thrown));
      throw thrown;
    }
  }

  #every(ms: number, what: string, run: () => Promise<void>): void {
    const { clock, logger } = this.#context.env;
    const arm = (): void => {
      const cancel = clock.timer(ms, () => {
        this.#cancels.delete(cancel);
        run()
          .catch((thrown: unknown) => logger.error({ err: thrown }, `${what} failed`))
          .finally(() => {
            if (!this.#closed) arm();
          });
      });
      this.#cancels.add(cancel);
    };
    arm();
  }

  #refuseWhenClosed(): void {
    if (!this.#closed) return;
    throw new MillraceError(ErrorCode.SHUTTING_DOWN, "the log is closed: retry elsewhere");
  }
}

/** Parts that exist before the committer does. */
const recover = async (options: LogManagerOptions, context: LogContext, owner: PartitionOwner) => {
  const { env } = options;
  const startedMs = env.clock.monoMs();
  const marker = await takeCleanMarker(env.disk);
  const points = await readRecoveryPoints(env.disk);
  const after = points === undefined ? undefined : lastRoundOf(points);
  // The marker vouches for the points that were written right before it, not for older ones that came back.
  const covered = points?.size === 0 || after === Number(marker?.nextJournalRound ?? 0n) - 1;
  const clean = marker !== undefined && points !== undefined && covered;
  const plan = clean ? undefined : await scanJournal(env.disk, context.directoryId, after);
  const loader = new PartitionLoader({ options, context, owner, points, plan, clean });
  const partitions = await loader.loadAll();
  const counts = loader.counts;
  const lastRound = clean ? Number(marker.nextJournalRound) - 1 : (plan?.lastRound ?? after ?? 0);
  const recovery: RecoveryReport = {
    clean,
    partitions: partitions.size,
    segmentBytesScanned: counts.segmentBytesScanned,
    journalRounds: plan?.rounds ?? 0,
    journalEntriesReplayed: counts.entriesReplayed,
    bytesCut: counts.bytesCut,
    partitionsOffline: [...partitions.values()].filter(({ state }) => state.kind === "offline")
      .length,
    indexesRebuilt: counts.indexesRebuilt,
    durationMs: env.clock.monoMs() - startedMs,
  };
  return { partitions, recovery, lastRound: Math.max(lastRound, after ?? 0) };
};

/** Round that every recovery point covers at least… the newest one: points are written together. */
const lastRoundOf = (points: ReadonlyMap<string, RecoveryPoint>): number => {
  let last = 0;
  for (const point of points.values()) last = Math.max(last, Number(point.journalRound));
  return last;
};

/**
 * Opens a data directory: checks whose it is, recovers every partition, and starts the background work. When it
 * resolves, everything ever acknowledged is there and fsynced, or its partition is offline. Throws
 * DATA_DIRECTORY_UNUSABLE or STORAGE_ERROR; then nothing was changed, but for repairs that opening again repeats.
 */
export const openLogManager = async (options: LogManagerOptions): Promise<LogManager> => {
  const { env, config, identity } = options;
  try {
    const directoryId = await openDirectory(env, identity);
    return await openWith(options, directoryId);
  } catch (thrown) {
    throw storageError(
      `the data directory of broker ${identity.brokerId} can not be opened`,
      thrown,
    );
  } finally {
    env.logger.debug({ pending_bytes_max: config.pendingBytesMax }, "the log was opened");
  }
};

/** Everything but the committer, which comes once recovery has told where the journal goes on; nothing appends before. */
const makeContext = (
  options: LogManagerOptions,
  directoryId: Uint8Array,
  space: DiskSpace,
): LogContext & { committer: Committer } => {
  const { env, config, identity, observer = {} } = options;
  const { clock, disk, logger } = env;
  const files = new FileCache(disk, config.openFilesMax);
  const { unwrittenBytesMax: bytesMax, writeLingerMs: lingerMs, syncStepBytes } = config;
  const onFailure = (error: MillraceError): void => context.committer.fail(error);
  const onFull = (): Promise<void> => space.onFull();
  const writes = new SegmentWriter({
    clock,
    logger,
    files,
    bytesMax,
    lingerMs,
    syncStepBytes,
    onFull,
    onFailure,
  });
  const context = {
    env,
    config,
    identity,
    directoryId,
    observer,
    files,
    writes,
    indexes: new IndexCache(disk, files, config.indexCacheBytesMax),
    tails: new TailCache(config.tailCacheBytesMax),
    delayed: new DelayedTasks(clock, logger),
    diskFull: false,
  } as LogContext & { committer: Committer };
  return context;
};

const openWith = async (
  options: LogManagerOptions,
  directoryId: Uint8Array,
): Promise<LogManager> => {
  const { env, config, observer = {} } = options;
  const space = new DiskSpace(env, config.diskReserveBytes, observer, (full) => {
    context.diskFull = full;
  });
  const context = makeContext(options, directoryId, space);
  const late: { manager?: Manager } = {};
  const owner: PartitionOwner = {
    context,
    checkpoint: () => late.manager?.owner.checkpoint() ?? Promise.resolve(),
  };
  const { partitions, recovery, lastRound } = await recover(options, context, owner);
  const round = { completed: () => lastRound };
  const journalRef: { journal?: Journal } = {};
  const checkpointer = new Checkpointer({
    context,
    partitions: () => partitions.values(),
    completedRound: () => round.completed(),
    failure: () => context.committer?.failure,
    onCovered: (covered) => {
      journalRef.journal?.release(covered);
      context.committer?.roomChanged();
    },
  });
  if (!recovery.clean) await checkpointer.run(parallelAlone);
  const { journalFileBytes: fileBytes, journalBytesMax: bytesMax } = config;
  const journal = await Journal.open({ env, directoryId, fileBytes, bytesMax }, lastRound);
  journalRef.journal = journal;
  const committer = new Committer({
    clock: env.clock,
    logger: env.logger,
    disk: env.disk,
    files: context.files,
    journal,
    writes: context.writes,
    observer: {
      ...observer,
      onCommit: (...measured) => {
        observer.onCommit?.(...measured);
        late.manager?.onCommit();
      },
    },
    nextRound: lastRound + 1,
    requestCheckpoint: () => {
      late.manager?.owner.checkpoint().catch(() => {});
    },
    onFull: () => space.onFull(),
    onFailure: (error) => {
      observer.onFsyncError?.(error);
      env.logger.error({ err: error }, "the disk failed: no more writes are taken");
      for (const partition of partitions.values()) partition.stop(error.message);
    },
  });
  context.committer = committer;
  round.completed = () => committer.completedRound;
  const manager = new Manager({
    options,
    context,
    journal,
    partitions,
    checkpointer,
    space,
    recovery,
  });
  late.manager = manager;
  await space.start();
  manager.start();
  return manager;
};
