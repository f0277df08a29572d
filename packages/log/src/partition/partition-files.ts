/**
 * Work on the files of one partition, one piece after another: cuts, drops, fsyncs, index rows. It
 * never waits for the commit loop or for a checkpoint: the commit loop may be waiting for a
 * checkpoint, and the checkpoint for this.
 */
import { ErrorCode, hasCode } from "@millrace/errors";
import type { LogConfig } from "../api.ts";
import { bugs } from "../bugs.ts";
import type { LogContext } from "../context.ts";
import { isPassing, storageError } from "../files/disk-errors.ts";
import { Durability } from "../files/durability.ts";
import { WorkQueue } from "../files/work-queue.ts";
import { cutFiles, dropSegments, finishIndex, letGo, persistIndex } from "../segment/files.ts";
import type { Segment } from "../segment/segment.ts";
import type { CleanedLog } from "./cleaned-log.ts";
import { errors } from "./errors.ts";
import { removeOldLog } from "./old-log.ts";
import type { ProducerState } from "./producer-state.ts";

/** Pause before work that found no room is tried again, milliseconds. */
const retryMs = 200;

/** What the work needs of its partition. */
export interface FilesOwner {
  readonly name: string;
  readonly directory: string;
  readonly config: LogConfig;
  /** A deletion was asked for. */
  readonly deleting: boolean;
  readonly segments: readonly Segment[];
  readonly producers: ProducerState;
  readonly cleaned: CleanedLog;
  takeOffline(reason: string): void;
}

export class PartitionFiles {
  /** Of the names in the directory. */
  readonly names = new Durability();
  readonly #context: LogContext;
  readonly #owner: FilesOwner;
  readonly #queue = new WorkQueue();
  /** Segments that left the log and whose files are still to be removed. */
  #dropped: Segment[] = [];
  #flushing = false;
  #lastFlushMs = 0;
  #rowsBeingWritten = false;

  constructor(context: LogContext, owner: FilesOwner) {
    this.#context = context;
    this.#owner = owner;
  }

  get directory(): string {
    return this.#owner.directory;
  }

  get config(): LogConfig {
    return this.#owner.config;
  }

  /** Segments that left the log, and whose files are still there. */
  get dropped(): readonly Segment[] {
    return this.#dropped;
  }

  /** An interval flush is under way: the bytes it covers are not durable yet. */
  get flushing(): boolean {
    return this.#flushing;
  }

  /** Runs work after all that was asked for before. */
  run<T>(work: () => Promise<T>): Promise<T> {
    return this.#queue.run(work);
  }

  /** Fsyncs the names in the directory, if they changed. Only within `run`. */
  async syncNames(): Promise<void> {
    if (bugs.noDirectoryFsync) return;
    await this.names.settle(() => this.#context.env.disk.syncDirectory(this.directory));
  }

  /**
   * Makes durable what a cut removed, before the log start passes it: nothing would tell it from
   * what belongs to the log then, and a power cut may bring it back.
   */
  async settleNames(): Promise<void> {
    if (this.names.pending) await this.run(() => this.syncNames());
  }

  /**
   * Ends the index of a segment with its largest timestamp, durably. Damage takes the partition
   * offline.
   */
  async finishIndex(segment: Segment): Promise<void> {
    if (segment.sizeBytes === 0 || !segment.created) return;
    try {
      await this.run(() => finishIndex(this.#context, this, segment));
    } catch (thrown) {
      if (!hasCode(thrown, ErrorCode.PARTITION_OFFLINE)) throw thrown;
      this.#owner.takeOffline(thrown.message);
    }
  }

  /** Fsyncs what was written, once the interval of the flush policy has passed. */
  async flushIfDue(nowMs: number): Promise<void> {
    if (nowMs - this.#lastFlushMs < this.config.flushIntervalMs) return;
    this.#lastFlushMs = nowMs;
    this.#flushing = true;
    try {
      await this.run(() => this.#syncAll());
    } finally {
      this.#flushing = false;
    }
  }

  async #syncAll(): Promise<void> {
    const { files } = this.#context;
    for (const segment of [...this.#owner.segments]) {
      if (!segment.created) continue;
      await segment.durability.settle(() => files.with(segment, (file) => file.sync()));
    }
    await this.syncNames();
  }

  /**
   * Writes the index rows that have gathered, before the next checkpoint does. Nothing relies on
   * it.
   */
  writeRows(segment: Segment): void {
    if (this.#rowsBeingWritten) return;
    this.#rowsBeingWritten = true;
    const { env, indexes, writes } = this.#context;
    this.run(async () => {
      await writes.written(segment);
      if (!this.#owner.segments.includes(segment) || !segment.created) return;
      if (!segment.index.complete) await indexes.rows(segment, this.config.indexIntervalBytes);
      await persistIndex(this.#context, this, segment, false);
    })
      .catch((thrown: unknown) => {
        if (hasCode(thrown, ErrorCode.PARTITION_OFFLINE)) this.#owner.takeOffline(thrown.message);
        env.logger.debug({ err: thrown, path: segment.path }, "index rows wait");
      })
      .finally(() => {
        this.#rowsBeingWritten = false;
      });
  }

  /**
   * Removes segments that lie below the log start, and those that an earlier call could not remove.
   * Where there is no room for what they say of producers, they go with the next call.
   */
  async drop(dropped: readonly Segment[], firstOffset: number): Promise<void> {
    this.#dropped.push(...dropped);
    if (this.#dropped.length === 0) return;
    try {
      await this.run(() => this.#removeDropped(firstOffset));
    } catch (thrown) {
      if (!isPassing(thrown)) throw thrown;
      const { directory } = this;
      this.#context.env.logger.warn({ directory, err: thrown }, "old segments cannot go yet");
    }
  }

  async #removeDropped(firstOffset: number): Promise<void> {
    // What they say of producers must not go with them.
    const { producers } = this.#owner;
    if (await producers.secure(this.#context, this.directory, this.#dropped, firstOffset)) {
      this.names.changed();
    }
    // Also what a truncation removed: recovery believes a snapshot where segments are gone.
    await this.syncNames();
    await dropSegments(this.#context, this, this.#dropped);
    this.#dropped = [];
  }

  /** Nothing touches the files any more: they may be another life's soon. */
  async letGo(): Promise<void> {
    await this.run(async () => {
      const all = [...this.#dropped, ...this.#owner.segments];
      for (const segment of all) await letGo(this.#context, segment);
    });
  }

  /**
   * Makes the files follow a truncation, and the producers' table after them. The journal has it:
   * it must happen, however long the disk has no room; what a stop ends, the next start does.
   * Damage takes the partition offline.
   */
  cut(segment: Segment, dropped: readonly Segment[], end: number): Promise<void> {
    return this.#follow(`${segment.path} cannot be cut`, async () => {
      await cutFiles(this.#context, this, segment, dropped);
      this.names.changed();
      const { cleaned, producers, segments } = this.#owner;
      await cleaned.removeVoid(this.#context.env.disk, this.directory);
      const known = { waiting: this.#dropped, segments };
      await producers.rebuild(this.#context, this.directory, known, end);
    });
  }

  /** Removes the files of a log that begins anew, as `cut` does; `dropped` are its segments. */
  beginAnew(dropped: readonly Segment[]): Promise<void> {
    const { directory } = this;
    return this.#follow(`${directory} cannot be emptied`, async () => {
      for (const segment of [...this.#dropped, ...dropped]) await letGo(this.#context, segment);
      await removeOldLog(this.#context.env.disk, directory);
      this.names.changed();
      this.#dropped = [];
    });
  }

  #follow(failure: string, work: () => Promise<void>): Promise<void> {
    return this.run(async () => {
      for (;;) {
        try {
          await work();
          return;
        } catch (thrown) {
          if (!isPassing(thrown)) throw this.#cutFailed(failure, thrown);
          if (this.#owner.deleting) throw this.#cutGivenUp();
          if (this.#context.committer.impatient) throw this.#cutEnded();
          await this.#context.env.clock.sleep(retryMs);
        }
      }
    });
  }

  /**
   * The deletion may free the room that the cut waits for. Until the journal has it, nothing may
   * claim the files as they are now: also not a start, if this process dies before.
   */
  #cutGivenUp(): Error {
    this.#owner.takeOffline("it was being deleted while a truncation waited for room");
    return errors.changing(this.#owner.name, "deleted");
  }

  /** No checkpoint and no marker may claim the files as they are now. */
  #cutEnded(): Error {
    const error = errors.closing();
    this.#context.committer.fail(error);
    return error;
  }

  #cutFailed(failure: string, thrown: unknown): Error {
    if (hasCode(thrown, ErrorCode.PARTITION_OFFLINE)) {
      this.#owner.takeOffline(thrown.message);
      return thrown;
    }
    const error = storageError(failure, thrown);
    this.#context.committer.fail(error);
    return error;
  }
}
