/**
 * Segment files are written behind the journal. An append counts once the journal has it, so its segment can wait for
 * company: one large write instead of many small ones, and none that an acknowledgement waits for. Writes of one segment
 * happen in order; whoever needs the bytes in the file (a reader, a checkpoint) asks for them and waits.
 */
import type { Cancel, Clock, Logger } from "@millrace/env";
import { assert, ErrorCode, MillraceError } from "@millrace/errors";
import { isFull, storageError } from "../files/disk-errors.ts";
import type { FileCache } from "../files/file-cache.ts";
import { BackgroundFsync } from "./background-fsync.ts";
import type { Segment } from "./segment.ts";

/** Bytes for a segment. */
export interface SegmentWrite {
  readonly segment: Segment;
  readonly position: number;
  readonly chunks: readonly Uint8Array[];
  readonly bytes: number;
}

/** What is needed of a segment's partition. */
export interface WriteTarget {
  readonly directory: string;
  /** Set when a segment file was made: its name is not durable yet. */
  directoryDirty: boolean;
}

interface Waiter {
  readonly position: number;
  readonly resolve: () => void;
  readonly reject: (error: Error) => void;
}

/** What waits for one segment, in order and without gaps. */
interface Lane {
  readonly segment: Segment;
  target: WriteTarget | undefined;
  position: number;
  bytes: number;
  writes: SegmentWrite[];
  /** In `#ready`. */
  scheduled: boolean;
  writing: boolean;
  /** The segment was dropped: nothing of it need be written any more. */
  gone: boolean;
  waiters: Waiter[];
}

export interface SegmentWriterOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly files: FileCache;
  /** Most bytes that may wait over all segments; `waitForRoom` tells when there is room. */
  readonly bytesMax: number;
  /** Bytes wait at most so long for company, milliseconds. */
  readonly lingerMs: number;
  /** Files are fsynced in the background after about so many bytes. */
  readonly syncStepBytes: number;
  /** ENOSPC was met: make room if there is a reserve. */
  readonly onFull: () => Promise<void>;
  /** A write or fsync failed: nothing more may be acknowledged. The journal still has what was lost. */
  readonly onFailure: (error: MillraceError) => void;
}

/** A lane with so many bytes is written at once. No more than so many go into one write, unless one batch is larger: the
 * page cache takes memory in pieces as large as the write, and those of 2 MiB are what a hypervisor has taken back
 * (`docs/performance.md`). */
const laneBytesMax = 512 * 1024;
/** Writes under way that nobody waits for: the others of the thread pool are the journal's and the readers'. */
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
  #roomWaiters: (() => void)[] = [];

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
      await new Promise<void>((resolve) => {
        this.#roomWaiters.push(resolve);
      });
    }
  }

  /** Resolves once the file has everything below `position`, which must have been appended. Rejects with
   * STORAGE_ERROR when the disk failed. */
  reach(segment: Segment, position: number): Promise<void> {
    if (segment.writtenBytes >= position) return Promise.resolve();
    if (this.#failure !== undefined) return Promise.reject(this.#failure);
    if (this.#closed) return Promise.reject(closedError());
    const lane = this.#laneOf(segment);
    const reached = new Promise<void>((resolve, reject) => {
      lane.waiters.push({ position, resolve, reject });
    });
    this.#schedule(lane);
    return reached;
  }

  /** Resolves once everything that was queued for the segment is in its file. Rejects as `reach` does. */
  written(segment: Segment): Promise<void> {
    // Of what was let go nothing is known any more.
    if (this.#closed) return Promise.reject(closedError());
    const lane = this.#lanes.get(segment);
    return lane === undefined ? Promise.resolve() : this.reach(segment, lane.position + lane.bytes);
  }

  /** Something is queued for the segment, or being written. */
  has(segment: Segment): boolean {
    return this.#lanes.has(segment);
  }

  /** Resolves once everything queued by now is in its file. */
  async all(): Promise<void> {
    await Promise.all([...this.#lanes.keys()].map((segment) => this.written(segment)));
  }

  /** The segment goes: what is queued for it is dropped, who waits for it gets an error. Resolves once nothing is being
   * written. */
  async discard(segment: Segment): Promise<void> {
    await this.#discardQueued(segment);
    await this.#syncs.forget(segment);
  }

  async #discardQueued(segment: Segment): Promise<void> {
    const lane = this.#lanes.get(segment);
    if (lane === undefined) return;
    lane.gone = true;
    for (const { reject } of lane.waiters.splice(0)) reject(droppedError(segment));
    this.#drop(lane);
    if (!lane.writing) return;
    await new Promise<void>((resolve) => {
      lane.waiters.push({ position: 0, resolve, reject: () => resolve() });
    });
  }

  /** Somebody else fsyncs the segment's file now: a step of its own can wait. */
  syncing(segment: Segment): void {
    this.#syncs.skip(segment);
  }

  /** No more patience with a full disk: what finds no room now fails. */
  closing(): void {
    this.#closing = true;
  }

  /** Lets go of everything that is not being written: the journal has it. */
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
      gone: false,
      waiters: [],
    };
    this.#lanes.set(segment, lane);
    return lane;
  }

  #drop(lane: Lane): void {
    this.#bytes -= lane.bytes;
    lane.position += lane.bytes;
    lane.writes = [];
    lane.bytes = 0;
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
    const { chunks, bytes } = take(lane);
    lane.writing = true;
    this.#active += 1;
    try {
      await this.#write(lane, target, chunks, position, bytes);
    } catch (thrown) {
      this.#fail(storageError(`${lane.segment.path} can not be written`, thrown));
    }
    this.#active -= 1;
    this.#bytes -= bytes;
    lane.writing = false;
    this.#settle(lane);
    this.#wakeRoom();
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
    const { clock, files, logger, onFull } = this.#options;
    const { segment } = lane;
    for (;;) {
      try {
        await files.with(segment.path, true, (file) => file.write(chunks, position));
        break;
      } catch (thrown) {
        // A write that found no room may be repeated.
        if (!isFull(thrown) || this.#closing || this.#closed || this.#failure !== undefined)
          throw thrown;
        logger.warn({ path: segment.path }, "the disk is full: waiting for room");
        await onFull();
        await clock.sleep(fullRetryMs);
        if (lane.gone) return;
      }
    }
    // Only now: an fsync of the directory that began before the file was made did not cover its name.
    if (!segment.created) target.directoryDirty = true;
    segment.created = true;
    // Likewise: an fsync that began before the write landed did not cover it.
    segment.dirty = true;
    segment.writtenBytes = Math.max(segment.writtenBytes, position + bytes);
    this.#syncs.wrote(segment, bytes);
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
    this.#wakeRoom();
  }

  #wakeRoom(): void {
    const waiters = this.#roomWaiters;
    this.#roomWaiters = [];
    for (const wake of waiters) wake();
  }
}

/** Takes whole batches off a lane's front. */
const take = (lane: Lane): { chunks: Uint8Array[]; bytes: number } => {
  const chunks: Uint8Array[] = [];
  let bytes = 0;
  let count = 0;
  for (const write of lane.writes) {
    if (count > 0 && bytes + write.bytes > laneBytesMax) break;
    chunks.push(...write.chunks);
    bytes += write.bytes;
    count += 1;
  }
  lane.writes.splice(0, count);
  lane.bytes -= bytes;
  lane.position += bytes;
  return { chunks, bytes };
};

const droppedError = (segment: Segment): MillraceError =>
  new MillraceError(ErrorCode.STORAGE_ERROR, `${segment.path} was dropped: read again`);

const closedError = (): MillraceError =>
  new MillraceError(ErrorCode.SHUTTING_DOWN, "the log is closed: retry elsewhere");
