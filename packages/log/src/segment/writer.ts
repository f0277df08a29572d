/**
 * Segment files are written behind the journal. An append counts once the journal has it, so its
 * segment can be written later: one large write instead of many small ones, and none that an
 * acknowledgement waits for. Writes of one segment happen in order; a reader or a checkpoint that
 * needs the bytes in the file asks for them and waits.
 */
import { type Cancel, type Clock, type Logger, Waiters } from "@millrace/env";
import { assert, ErrorCode, MillraceError } from "@millrace/errors";
import { isFull, isPassing, storageError } from "../files/disk-errors.ts";
import type { Durability } from "../files/durability.ts";
import { droppedError, type FileCache } from "../files/file-cache.ts";
import { BackgroundFsync } from "./background-fsync.ts";
import type { Segment } from "./segment.ts";

/** Bytes in memory that is used again: they stay until as many `release`s as `hold`s. */
export interface HeldBytes {
  hold(): void;
  release(): void;
}

/** Bytes for a segment. */
export interface SegmentWrite {
  readonly segment: Segment;
  readonly position: number;
  readonly chunks: readonly Uint8Array[];
  readonly bytes: number;
  /** The chunks, where they must be held: released once they are written, or dropped. */
  readonly held?: HeldBytes | undefined;
}

/** What is needed of a segment's partition. */
export interface WriteTarget {
  readonly directory: string;
  /** Of the names in the partition's directory; a new segment file changes them. */
  readonly names: Durability;
}

interface Waiter {
  readonly position: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** The queued writes of one segment, in order and without gaps. */
interface Lane {
  readonly segment: Segment;
  target: WriteTarget | undefined;
  position: number;
  bytes: number;
  writes: SegmentWrite[];
  /** In `#ready`. */
  scheduled: boolean;
  writing: boolean;
  /** The disk has no room for the write under way: nobody can tell when the bytes will be there. */
  stuck: boolean;
  waiters: Waiter[];
  /** Wait until no write is under way. */
  readonly quiet: Waiters;
}

export interface SegmentWriterOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly files: FileCache;
  /** Most bytes that may wait over all segments; `waitForRoom` tells when there is room. */
  readonly bytesMax: number;
  /** Longest a write waits to be coalesced, milliseconds. */
  readonly lingerMs: number;
  /** Files are fsynced in the background after about so many bytes. */
  readonly syncStepBytes: number;
  /** ENOSPC was met: make room if there is a reserve. */
  readonly onFull: () => Promise<void>;
  /**
   * A write or fsync failed: nothing more may be acknowledged. The journal still has what was lost.
   */
  readonly onFailure: (error: MillraceError) => void;
}

/**
 * A lane with this many bytes is written at once, and a write has no more unless one batch is
 * larger: the page cache takes memory in pieces as large as the write, and a hypervisor takes back
 * pieces of 2 MiB (`docs/internals/performance.md`).
 */
const laneBytesMax = 512 * 1024;
/**
 * Writes under way that nobody waits for. The journal and readers need the rest of the thread pool.
 */
const parallelMax = 2;
const fullRetryMs = 200;

export class SegmentWriter {
  readonly #options: SegmentWriterOptions;
  readonly #lanes = new Map<Segment, Lane>();
  readonly #syncs: BackgroundFsync;
  #ready: Lane[] = [];
  #active = 0;
  #bytes = 0;
  #cancelLinger: Cancel | undefined;
  #closing = false;
  #closed = false;
  #failure: MillraceError | undefined;
  readonly #room = new Waiters();

  constructor(options: SegmentWriterOptions) {
    this.#options = options;
    this.#syncs = new BackgroundFsync(
      options.clock,
      options.files,
      options.syncStepBytes,
      (error) => this.#fail(error),
    );
  }

  /** Bytes that are not in their files yet. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Queues bytes that follow those queued before for the same segment. */
  add(target: WriteTarget, write: SegmentWrite): void {
    if (this.#closed || this.#failure !== undefined) return;
    const lane = this.#laneOf(write.segment);
    if (lane.bytes === 0 && !lane.writing) lane.position = write.position;
    assert(write.position === lane.position + lane.bytes, "writes of a segment leave no gap");
    lane.target = target;
    lane.writes.push(write);
    lane.bytes += write.bytes;
    this.#bytes += write.bytes;
    if (lane.waiters.length > 0 || lane.bytes >= laneBytesMax) this.#schedule(lane);
    if (this.#bytes > this.#options.bytesMax / 2) this.#scheduleAll();
    else this.#linger();
  }

  /** Resolves once no more than the bound waits, or the disk failed. */
  async waitForRoom(): Promise<void> {
    while (this.#bytes > this.#options.bytesMax && this.#failure === undefined && !this.#closed) {
      await this.#room.wait();
    }
  }

  /**
   * Resolves once the file has everything below `position`, which must have been appended. Rejects
   * with STORAGE_ERROR when the disk failed or a truncation took the bytes, with DISK_FULL
   * (retriable) while there is no room.
   */
  reach(segment: Segment, position: number): Promise<void> {
    if (segment.writtenBytes >= position) return Promise.resolve();
    if (segment.dropped) return Promise.reject(droppedError(segment.path));
    // Nobody writes what was cut: the wait would have no end.
    if (position > segment.sizeBytes) return Promise.reject(droppedError(segment.path));
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#closed) return Promise.reject(closedError());
    const lane = this.#laneOf(segment);
    if (lane.stuck) return Promise.reject(stuckError(segment));
    const reached = new Promise<void>((resolve, reject) => {
      lane.waiters.push({ position, resolve, reject });
    });
    this.#schedule(lane);
    return reached;
  }

  /**
   * Resolves once everything that was queued for the segment is in its file. Rejects as `reach`
   * does.
   */
  written(segment: Segment): Promise<void> {
    // After close, the state of dropped writes is unknown.
    if (this.#closed) return Promise.reject(closedError());
    // A failure dropped what was queued: nothing can be concluded from an empty lane.
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    const lane = this.#lanes.get(segment);
    if (lane === undefined) return Promise.resolve();
    // What a truncation is about to take from the queue is waited for by nobody.
    return this.reach(segment, Math.min(lane.position + lane.bytes, segment.sizeBytes));
  }

  /** Something is queued for the segment, or being written. */
  has(segment: Segment): boolean {
    return this.#lanes.has(segment);
  }

  /** Resolves once everything queued by now is in its file. */
  async all(): Promise<void> {
    const kept = [...this.#lanes.values()].filter(({ segment }) => !segment.dropped);
    await Promise.all(kept.map(({ segment }) => this.written(segment)));
  }

  /**
   * Drops the queued writes of a dropped segment, and rejects everyone who waits for them. Resolves
   * once no write or fsync of its file is under way.
   */
  async discard(segment: Segment): Promise<void> {
    assert(segment.dropped, "only writes of dropped segments are discarded");
    this.#syncs.skip(segment);
    await this.#discardQueued(segment);
    await this.#syncs.forget(segment);
  }

  async #discardQueued(segment: Segment): Promise<void> {
    const lane = this.#lanes.get(segment);
    if (lane === undefined) return;
    for (const { reject } of lane.waiters.splice(0)) reject(droppedError(segment.path));
    this.#drop(lane);
    await quiet(lane);
  }

  /**
   * Drops the queued writes at and behind `position`, where the segment ends from now on. Resolves
   * once no write of its file is under way.
   */
  async cut(segment: Segment, position: number): Promise<void> {
    const lane = this.#lanes.get(segment);
    if (lane === undefined) return;
    const kept = lane.writes.filter((write) => write.position < position);
    for (const { held, position: at } of lane.writes) if (at >= position) held?.release();
    const keptBytes = kept.reduce((sum, { bytes }) => sum + bytes, 0);
    this.#bytes -= lane.bytes - keptBytes;
    lane.writes = kept;
    lane.bytes = keptBytes;
    this.#room.wake();
    const waiters = lane.waiters.splice(0);
    for (const waiter of waiters) {
      if (waiter.position > position) waiter.reject(droppedError(segment.path));
      else lane.waiters.push(waiter);
    }
    await quiet(lane);
    if (lane.bytes === 0 && lane.waiters.length === 0) this.#lanes.delete(segment);
  }

  /** A checkpoint fsyncs the segment's file now, so a background step can wait. */
  syncing(segment: Segment): void {
    this.#syncs.skip(segment);
  }

  /** From now on a write that finds no room fails at once. */
  closing(): void {
    this.#closing = true;
  }

  /** Drops everything that is not being written: the journal has it. */
  close(): void {
    this.#closed = true;
    this.#syncs.close();
    this.#cancelLinger?.();
    for (const lane of [...this.#lanes.values()]) this.#drop(lane);
    this.#wakeAll(closedError());
  }

  #laneOf(segment: Segment): Lane {
    const known = this.#lanes.get(segment);
    if (known !== undefined) return known;
    const lane: Lane = {
      segment,
      target: undefined,
      position: segment.writtenBytes,
      bytes: 0,
      writes: [],
      scheduled: false,
      writing: false,
      stuck: false,
      waiters: [],
      quiet: new Waiters(),
    };
    this.#lanes.set(segment, lane);
    return lane;
  }

  #drop(lane: Lane): void {
    this.#bytes -= lane.bytes;
    lane.position += lane.bytes;
    for (const { held } of lane.writes) held?.release();
    lane.writes = [];
    lane.bytes = 0;
    this.#room.wake();
    if (!lane.writing && lane.waiters.length === 0) this.#lanes.delete(lane.segment);
  }

  #linger(): void {
    if (this.#cancelLinger !== undefined) return;
    this.#cancelLinger = this.#options.clock.timer(this.#options.lingerMs, () => {
      this.#cancelLinger = undefined;
      this.#scheduleAll();
    });
  }

  #scheduleAll(): void {
    for (const lane of this.#lanes.values()) this.#schedule(lane);
  }

  #schedule(lane: Lane): void {
    if (lane.writing || lane.bytes === 0) return;
    if (lane.waiters.length > 0) {
      // It may be in `#ready`, too; its turn there will find nothing to do.
      void this.#run(lane);
      return;
    }
    if (lane.scheduled) return;
    lane.scheduled = true;
    this.#ready.push(lane);
    this.#pump();
  }

  #pump(): void {
    while (this.#active < parallelMax) {
      const lane = this.#ready.shift();
      if (lane === undefined) return;
      lane.scheduled = false;
      if (!lane.writing) void this.#run(lane);
    }
  }

  /** Writes the first of what a lane holds. Never rejects. */
  async #run(lane: Lane): Promise<void> {
    const { position, target } = lane;
    if (lane.bytes === 0 || target === undefined || this.#failure !== undefined) return;
    const { chunks, bytes, writes } = take(lane);
    lane.writing = true;
    this.#active += 1;
    try {
      await this.#write(lane, target, chunks, position, bytes);
      for (const { held } of writes) held?.release();
    } catch (thrown) {
      this.#fail(storageError(`${lane.segment.path} cannot be written`, thrown));
    }
    this.#active -= 1;
    this.#bytes -= bytes;
    lane.writing = false;
    lane.stuck = false;
    lane.quiet.wake();
    this.#settle(lane);
    this.#room.wake();
    this.#pump();
  }

  #settle(lane: Lane): void {
    if (this.#closed || this.#failure !== undefined) {
      this.#drop(lane);
      for (const { reject } of lane.waiters.splice(0)) reject(this.#failure ?? closedError());
      this.#lanes.delete(lane.segment);
      return;
    }
    const waiters = lane.waiters;
    lane.waiters = [];
    for (const waiter of waiters) {
      if (waiter.position <= lane.segment.writtenBytes) waiter.resolve();
      else lane.waiters.push(waiter);
    }
    if (lane.bytes === 0 && lane.waiters.length === 0) this.#lanes.delete(lane.segment);
    else if (lane.waiters.length > 0 || lane.bytes >= laneBytesMax) this.#schedule(lane);
    else this.#linger();
  }

  async #write(
    lane: Lane,
    target: WriteTarget,
    chunks: readonly Uint8Array[],
    position: number,
    bytes: number,
  ): Promise<void> {
    const { files } = this.#options;
    const { segment } = lane;
    for (;;) {
      try {
        await files.withMade(segment, (file) => file.write(chunks, position));
        break;
      } catch (thrown) {
        if (segment.dropped) return;
        // A write that found no room may be repeated.
        if (!isPassing(thrown) || this.#closing || this.#closed || this.#failure !== undefined)
          throw thrown;
        await this.#waitOut(lane, thrown);
        if (segment.dropped || position >= segment.sizeBytes) return;
      }
    }
    if (segment.dropped) return;
    // Only now: an fsync of the directory that began before the file was made did not cover its
    // name.
    if (!segment.created) target.names.changed();
    // A cut meanwhile makes void what was written behind it.
    segment.wrote(Math.min(position + bytes, segment.sizeBytes));
    this.#syncs.wrote(segment, bytes);
  }

  /**
   * Nobody knows how long it takes: everyone who waits for the bytes is told, and may ask again.
   */
  async #waitOut(lane: Lane, thrown: unknown): Promise<void> {
    const { clock, logger, onFull } = this.#options;
    const { segment } = lane;
    logger.warn({ path: segment.path, err: thrown }, "a segment cannot be written yet");
    lane.stuck = true;
    for (const { reject } of lane.waiters.splice(0)) reject(stuckError(segment));
    if (isFull(thrown)) await onFull();
    await clock.sleep(fullRetryMs);
  }

  #fail(error: MillraceError): void {
    // After `close` the files are shut under what was still being written.
    if (this.#failure !== undefined || this.#closed) return;
    this.#failure = error;
    this.#syncs.close();
    this.#cancelLinger?.();
    this.#wakeAll(error);
    this.#options.onFailure(error);
  }

  #wakeAll(error: MillraceError): void {
    for (const lane of this.#lanes.values()) {
      for (const { reject } of lane.waiters.splice(0)) reject(error);
    }
    this.#room.wake();
  }
}

/** Takes whole batches off a lane's front. */
const take = (lane: Lane): { chunks: Uint8Array[]; bytes: number; writes: SegmentWrite[] } => {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  let count = 0;
  for (const write of lane.writes) {
    if (count > 0 && bytes + write.bytes > laneBytesMax) break;
    chunks.push(...write.chunks);
    bytes += write.bytes;
    count += 1;
  }
  const writes = lane.writes.splice(0, count);
  lane.bytes -= bytes;
  lane.position += bytes;
  return { chunks, bytes, writes };
};

/** Resolves once no write of the lane is under way. */
const quiet = async (lane: Lane): Promise<void> => {
  if (lane.writing) await lane.quiet.wait();
};

const stuckError = (segment: Segment): MillraceError =>
  new MillraceError(
    ErrorCode.DISK_FULL,
    `${segment.path} waits for room on the disk: free some, then read again`,
  );

const closedError = (): MillraceError =>
  new MillraceError(ErrorCode.SHUTTING_DOWN, "the log is closed: retry elsewhere");
