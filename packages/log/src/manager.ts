/**
 * A data directory: its partitions, its background work, closing it. `open.ts` opens and recovers
 * it.
 */
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
import type { Cleaner } from "./compaction/cleaner.ts";
import type { LogContext } from "./context.ts";
import { Pace } from "./files/breathe.ts";
import { isPassing, passingError, storageError } from "./files/disk-errors.ts";
import type { DiskSpace } from "./files/disk-space.ts";
import { partitionDirectory } from "./files/paths.ts";
import { KeyedWorkQueues } from "./files/work-queue.ts";
import type { Journal } from "./journal/journal.ts";
import { parsePlanKey, planKey } from "./journal/scan.ts";
import { errors } from "./partition/errors.ts";
import { Partition } from "./partition/partition.ts";
import type { PartitionOwner } from "./partition/types.ts";
import { type Checkpointer, parallelAlone } from "./recovery/checkpoint.ts";
import {
  makePartitionDirectory,
  moveAside,
  removeTree,
  writeCleanMarker,
} from "./recovery/data-directory.ts";
import { deletionOf } from "./recovery/recovery-points.ts";

/** How long a clean stop waits for a disk or a journal without room, milliseconds. */
export const stopPatienceMs = 5000;
/** Partitions whose retention is looked at in one turn of the event loop. */
const retainedPerTurn = 64;
/** Pause before a deletion that failed is tried again, milliseconds. */
const deleteRetryMs = 1000;

/** A directory that is to go, and whose it was. */
interface Deleted {
  readonly directory: string;
  readonly life: { readonly incarnation: bigint };
}

export class Manager implements LogManager {
  readonly #options: LogManagerOptions;
  readonly #context: LogContext;
  readonly #journal: Journal;
  readonly #partitions: Map<string, Partition>;
  readonly #deletions: Map<string, RecoveryPoint>;
  readonly #checkpointer: Checkpointer;
  readonly #cleaner: Cleaner;
  readonly #space: DiskSpace;
  readonly #owner: PartitionOwner;
  /** Making and deleting a partition of one id happen one after another. */
  readonly #lives = new KeyedWorkQueues();
  readonly #cancels = new Set<() => void>();
  readonly recovery: RecoveryReport;
  #closed = false;
  #stopping: Promise<void> | undefined;

  constructor(parts: {
    options: LogManagerOptions;
    context: LogContext;
    journal: Journal;
    partitions: Map<string, Partition>;
    deletions: Map<string, RecoveryPoint>;
    checkpointer: Checkpointer;
    cleaner: Cleaner;
    space: DiskSpace;
    owner: PartitionOwner;
    recovery: RecoveryReport;
  }) {
    this.#options = parts.options;
    this.#context = parts.context;
    this.#journal = parts.journal;
    this.#partitions = parts.partitions;
    this.#deletions = parts.deletions;
    this.#checkpointer = parts.checkpointer;
    this.#cleaner = parts.cleaner;
    this.#space = parts.space;
    this.#owner = parts.owner;
    this.recovery = parts.recovery;
  }

  get identity() {
    return this.#options.identity;
  }

  get directoryId() {
    return this.#context.directoryId;
  }

  partitions(): Iterable<PartitionLog> {
    return this.#partitions.values();
  }

  get(topicId: TopicId, partition: number): PartitionLog | undefined {
    return this.#partitions.get(planKey(topicId, partition));
  }

  create(
    topicId: TopicId,
    topic: string,
    partition: number,
    config: LogConfig,
  ): Promise<PartitionLog> {
    const key = planKey(topicId, partition);
    return this.#lives.run(key, async () => {
      const known = this.#partitions.get(key);
      if (known !== undefined) return known;
      this.#refuseWhenClosed();
      this.#refuseWhenStopped();
      if (this.#deletions.has(key)) {
        throw new MillraceError(
          ErrorCode.STORAGE_ERROR,
          `the directory of an earlier ${topic}-${partition} is still to be removed: retry`,
        );
      }
      return this.#make(key, topicId, topic, partition, config);
    });
  }

  /** Throws what the disk failed with. */
  #refuseWhenStopped(): void {
    const { failure } = this.#context.committer;
    if (failure !== undefined) throw failure;
  }

  async #make(
    key: string,
    topicId: TopicId,
    topic: string,
    partition: number,
    config: LogConfig,
  ): Promise<Partition> {
    const { env, identity, directoryId, committer } = this.#context;
    const incarnation = Buffer.from(env.random.bytes(8)).readBigUInt64LE();
    // Everything of this life is journalled in this round or later.
    const life = { incarnation, firstRound: committer.nextRound };
    try {
      await makePartitionDirectory(env, identity, directoryId, topicId, topic, partition, life);
    } catch (thrown) {
      if (isPassing(thrown)) throw passingError(`${topic}-${partition} cannot be made yet`, thrown);
      throw storageError(`${topic}-${partition} cannot be made`, thrown);
    }
    // Who is made after the disk failed is not told that it takes no appends.
    this.#refuseWhenStopped();
    const made = new Partition(this.#owner, topicId, topic, partition, config, life);
    this.#partitions.set(key, made);
    return made;
  }

  delete(topicId: TopicId, partition: number): Promise<void> {
    const key = planKey(topicId, partition);
    return this.#lives.run(key, async () => {
      this.#refuseWhenClosed();
      const gone = this.#partitions.get(key);
      if (gone === undefined) return;
      // Every checkpoint that covers the deletion says so, until the directory has gone.
      const recorded = await gone.markDeleted(() => {
        const round = this.#context.committer.nextRound - 1;
        this.#deletions.set(key, deletionOf(topicId, partition, gone.life, round));
      });
      this.#partitions.delete(key);
      gone.producers.beginAnew();
      await gone.files.letGo();
      // It is written by its path, where the next life may be by then.
      await gone.offlineRecord.unrecorded();
      try {
        await this.#remove(key, gone, gone.config.fileDeleteDelayMs, recorded);
      } catch (thrown) {
        // It can be asked for again.
        this.#partitions.set(key, gone);
        throw thrown;
      }
    });
  }

  /**
   * The directory goes, however often that fails; the data directory goes on meanwhile. Where the
   * journal has no record of the deletion, the renamed directory is the record, and the next start
   * removes it; without that the deletion has not happened.
   */
  async #remove(key: string, of: Deleted, delayMs: number, recorded: boolean): Promise<void> {
    const { disk, logger } = this.#context.env;
    const { directory, life } = of;
    let aside: string;
    try {
      aside = await moveAside(disk, directory, life.incarnation);
      // A directory that was missing leaves no record.
      if (!recorded) await disk.list(aside);
    } catch (thrown) {
      if (!recorded) throw storageError(`the deletion of ${directory} cannot be recorded`, thrown);
      logger.error(
        { directory, err: thrown },
        "the directory of a deleted partition cannot be removed yet",
      );
      this.#after(deleteRetryMs, () => {
        void this.#lives.run(key, () => this.#remove(key, of, delayMs, recorded));
      });
      return;
    }
    this.#deletions.delete(key);
    if (!recorded) return;
    this.#context.delayed.add(delayMs, "removing a deleted partition", () =>
      removeTree(disk, aside),
    );
  }

  gauges(): LogGauges {
    const { config, committer, tails, files, indexes, producers, writes } = this.#context;
    return {
      journalBytesUsed: this.#journal.bytesUsed,
      journalBytesMax: this.#journal.bytesMax,
      tailCacheBytes: tails.bytes,
      tailCacheBytesMax: tails.bytesMax,
      pendingBytes: committer.pendingBytes,
      pendingBytesMax: config.pendingBytesMax,
      unwrittenBytes: writes.bytes,
      unwrittenBytesMax: config.unwrittenBytesMax,
      producers: producers.count,
      producersMax: producers.max,
      openFiles: files.openFiles,
      openFilesMax: config.openFilesMax,
      indexCacheBytes: indexes.bytes,
      indexCacheBytesMax: config.indexCacheBytesMax,
      cleanerDirtyRatioMax: this.#cleaner.dirtyRatioMax,
      cleanerMapUsed: this.#cleaner.mapUsed,
      cleanerFailedLogs: this.#cleaner.failedLogs,
      diskFreeBytes: this.#space.freeBytes,
      diskReserveBytes: config.diskReserveBytes,
    };
  }

  waitForPendingRoom(): Promise<void> {
    return this.#context.committer.waitForPendingBelow(this.#context.config.pendingBytesMax * 0.5);
  }

  /** Whoever asks again is told when it is over. */
  close(clean: boolean): Promise<void> {
    this.#stopping ??= this.#stop(clean);
    return this.#stopping;
  }

  async #stop(clean: boolean): Promise<void> {
    this.#closed = true;
    this.#context.closing = true;
    for (const cancel of this.#cancels) cancel();
    this.#space.close();
    const removed = this.#context.delayed.close();
    const { committer, env, files, writes } = this.#context;
    if (clean) await this.#closeClean();
    writes.closing();
    committer.closing();
    await this.#cleaner.idle();
    await this.#checkpointer.idle();
    // Deletions that were under way: nothing is renamed behind the back of the next process.
    await this.#lives.settled();
    await removed;
    for (const partition of this.#partitions.values()) await partition.offlineRecord.unrecorded();
    // What is dropped now looks written to a checkpoint: from here on none may claim anything.
    committer.fail(errors.closing());
    await this.#checkpointer.idle();
    writes.close();
    await files.closeAll();
    await this.#journal.close();
    env.logger.debug({ clean }, "the log is closed");
  }

  /**
   * Everything to its place, then the marker. What finds no room within the patience of a stop
   * stays in the journal, and the next start recovers it.
   */
  async #closeClean(): Promise<void> {
    const { committer, env, writes } = this.#context;
    const patience = env.clock.timer(stopPatienceMs, () => {
      writes.closing();
      committer.closing();
    });
    try {
      await this.#cleaner.idle();
      // Changes that were under way go on to their end; new ones are refused.
      for (const partition of this.#partitions.values()) await partition.settled();
      await committer.idle();
      await writes.all();
      await this.#checkpointer.idle();
      if (committer.failure !== undefined) return;
      for (const partition of this.#partitions.values()) {
        if (partition.state.kind === "online") await partition.files.finishIndex(partition.active);
      }
      await this.#checkpointer.run(parallelAlone);
      await writeCleanMarker(env.disk, committer.nextRound);
    } catch (thrown) {
      env.logger.error(
        { err: thrown },
        "the log cannot be stopped cleanly: it recovers at its next start",
      );
    } finally {
      patience();
    }
  }

  start(): void {
    const { config, env } = this.#context;
    for (const [key, life] of this.#deletions) {
      const { topicId, partition } = parsePlanKey(key);
      const of = { directory: partitionDirectory(topicId, partition), life };
      void this.#lives.run(key, () => this.#remove(key, of, 0, true));
    }
    this.#every(config.checkpointIntervalMs, "checkpoint", () => this.#owner.checkpoint());
    this.#every(config.retentionCheckIntervalMs, "retention", () => this.#runRetention());
    this.#every(config.cleanerIntervalMs, "compaction", () => this.#cleaner.run());
    this.#every(100, "interval flush", () => this.#flushIntervals(env.clock.monoMs()));
  }

  /** One partition's trouble is its own: the others are looked after all the same. */
  async #runRetention(): Promise<void> {
    const pace = new Pace(this.#context.env.clock, retainedPerTurn);
    for (const partition of [...this.#partitions.values()]) {
      // Most have nothing to do, and wait for nothing.
      if (pace.took()) await pace.pause();
      try {
        await partition.runRetention();
      } catch (thrown) {
        const { name } = partition;
        this.#context.env.logger.error({ partition: name, err: thrown }, "retention failed");
      }
    }
  }

  async #flushIntervals(nowMs: number): Promise<void> {
    for (const partition of [...this.#partitions.values()]) {
      try {
        const flushed = partition.flushIfDue(nowMs);
        // Ten times a second of ten thousand partitions: a wait for nothing would be dear.
        if (flushed !== undefined) await flushed;
      } catch (thrown) {
        if (isPassing(thrown)) continue;
        this.#context.committer.fail(storageError("a segment cannot be fsynced", thrown));
        throw thrown;
      }
    }
  }

  #every(ms: number, what: string, run: () => Promise<void>): void {
    this.#after(ms, () => {
      run()
        .catch((thrown: unknown) => {
          this.#context.env.logger.error({ err: thrown }, `${what} failed`);
        })
        .finally(() => this.#every(ms, what, run));
    });
  }

  /** Runs `run` once after `ms`, unless the directory is closed first. */
  #after(ms: number, run: () => void): void {
    if (this.#closed) return;
    const cancel = this.#context.env.clock.timer(ms, () => {
      this.#cancels.delete(cancel);
      run();
    });
    this.#cancels.add(cancel);
  }

  #refuseWhenClosed(): void {
    if (!this.#closed) return;
    throw new MillraceError(ErrorCode.SHUTTING_DOWN, "the log is closed: retry elsewhere");
  }
}
