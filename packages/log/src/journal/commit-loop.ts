/**
 * The commit loop. What arrives while a round is being written and fsynced gathers in the next one. A round's batches
 * count, in the order of their appends, once the journal has it; their segments are written behind that
 * (`segment/writer.ts`). Only what the journal does not hold waits for its segment.
 */
import type { Clock, Disk, Logger } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { LogObserver } from "../api.ts";
import { bugs } from "../bugs.ts";
import { isFull, storageError } from "../files/disk-errors.ts";
import type { FileCache } from "../files/file-cache.ts";
import type { Segment } from "../segment/segment.ts";
import type { SegmentWrite, SegmentWriter, WriteTarget } from "../segment/writer.ts";
import type { JournalEntry } from "./format.ts";
import type { Journal } from "./journal.ts";

/** What the loop needs of a partition. */
export interface CommitTarget extends WriteTarget {
  readonly segments: readonly Segment[];
  /** After each round that touched it: listeners may run. */
  notify(): void;
  /** Its segments must be fsynced with every round (its recovery point is older than unjournalled data). */
  readonly syncDirectly: boolean;
}

/** One unit of work. `complete` runs once the unit counts, `fail` when it never will. */
export interface CommitItem {
  readonly target: CommitTarget;
  /** Bytes for a segment, or none. */
  readonly write?: SegmentWrite;
  /** What the journal keeps of it; absent where the flush policy does not ask for it. */
  readonly entry?: JournalEntry;
  /** A change of files that must come after the journal is durable, before later writes of the partition. */
  readonly effect?: () => Promise<void>;
  readonly complete: () => void;
  readonly fail: (error: Error) => void;
}

interface Round {
  readonly items: CommitItem[];
  entries: number;
  payloadBytes: number;
  bytes: number;
}

export interface CommitterOptions {
  readonly clock: Clock;
  readonly logger: Logger;
  readonly disk: Disk;
  readonly files: FileCache;
  readonly journal: Journal;
  readonly writes: SegmentWriter;
  readonly observer: LogObserver;
  readonly nextRound: number;
  /** Asked for when the journal is full. */
  readonly requestCheckpoint: () => void;
  /** ENOSPC was met: make room if there is a reserve. */
  readonly onFull: () => Promise<void>;
  /** The disk failed: nothing more is acknowledged. */
  readonly onFailure: (error: MillraceError) => void;
}

export const roundPayloadBytesMax = 16 * 1024 * 1024;
const fullRetryMs = 200;

export class Committer {
  readonly #options: CommitterOptions;
  readonly #queue: Round[] = [];
  #running = false;
  #nextRound: number;
  #pendingBytes = 0;
  #failure: MillraceError | undefined;
  #closing = false;
  #roomWaiters: (() => void)[] = [];
  #pendingWaiters: { readonly below: number; readonly resolve: () => void }[] = [];
  #idleWaiters: (() => void)[] = [];
  /** Number of the last journalled round all of whose items have completed. */
  completedRound: number;

  constructor(options: CommitterOptions) {
    this.#options = options;
    this.#nextRound = options.nextRound;
    this.completedRound = options.nextRound - 1;
  }

  get pendingBytes(): number {
    return this.#pendingBytes;
  }

  get nextRound(): number {
    return this.#nextRound;
  }

  get failure(): MillraceError | undefined {
    return this.#failure;
  }

  /** Largest payload that one item may have. */
  get payloadBytesMax(): number {
    return this.#options.journal.payloadBytesMax(1);
  }

  /** Queues an item. Its callbacks run later, never within the call. */
  add(item: CommitItem): void {
    const payloadBytes = item.entry?.payloadBytes ?? 0;
    const bytes = item.write?.bytes ?? 0;
    const round = this.#roundFor(payloadBytes);
    round.items.push(item);
    round.bytes += bytes;
    if (item.entry !== undefined) {
      round.entries += 1;
      round.payloadBytes += payloadBytes;
    }
    this.#pendingBytes += bytes;
    if (this.#running) return;
    this.#running = true;
    this.#options.clock.defer(() => void this.#loop());
  }

  /** Resolves once fewer than `bytes` are pending. */
  below(bytes: number): Promise<void> {
    if (this.#pendingBytes < bytes) return Promise.resolve();
    return new Promise((resolve) => {
      this.#pendingWaiters.push({ below: bytes, resolve });
    });
  }

  /** Resolves once nothing is queued or under way. */
  idle(): Promise<void> {
    if (!this.#running) return Promise.resolve();
    return new Promise((resolve) => {
      this.#idleWaiters.push(resolve);
    });
  }

  /** The journal has room again. */
  roomChanged(): void {
    const waiters = this.#roomWaiters;
    this.#roomWaiters = [];
    for (const wake of waiters) wake();
  }

  /** No more patience with a full disk or journal: what can not be written now fails. */
  closing(): void {
    this.#closing = true;
    this.roomChanged();
  }

  /** Fails everything queued and everything to come. */
  fail(error: MillraceError): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    this.#options.onFailure(error);
    this.roomChanged();
  }

  /** The round that an item joins: never the one being written. */
  #roundFor(payloadBytes: number): Round {
    const last = this.#queue.at(-1);
    const open = last !== undefined && last !== this.#inFlight;
    const payloadMax = Math.min(
      roundPayloadBytesMax,
      this.#options.journal.payloadBytesMax((last?.entries ?? 0) + 1),
    );
    const fits = open && last.payloadBytes + payloadBytes <= payloadMax;
    if (fits) return last;
    const round: Round = { items: [], entries: 0, payloadBytes: 0, bytes: 0 };
    this.#queue.push(round);
    return round;
  }

  #inFlight: Round | undefined;

  async #loop(): Promise<void> {
    for (;;) {
      const round = this.#queue[0];
      if (round === undefined) break;
      this.#inFlight = round;
      await this.#commit(round);
      this.#queue.shift();
      this.#inFlight = undefined;
    }
    this.#running = false;
    const waiters = this.#idleWaiters;
    this.#idleWaiters = [];
    for (const wake of waiters) wake();
  }

  /** Never rejects: an outcome reaches every item. */
  async #commit(round: Round): Promise<void> {
    const { clock, observer } = this.#options;
    const startedMs = clock.monoMs();
    const left = new Set(round.items);
    try {
      if (this.#failure !== undefined) throw this.#failure;
      await this.#waitForRoom(round);
      // Only rounds that the journal holds have numbers, so that recovery can tell when one is missing.
      const number = this.#nextRound;
      if (round.entries > 0) this.#nextRound += 1;
      const syncMs = await this.#write(round, number, left);
      this.#completeAll(round.items, left);
      if (round.entries > 0) this.completedRound = number;
      observer.onCommit?.(round.items.length, round.bytes, syncMs, clock.monoMs() - startedMs);
    } catch (thrown) {
      const error = storageError("the log can not be written", thrown);
      this.fail(error);
      for (const item of left) item.fail(error);
      this.#settled(round.items.filter((item) => left.has(item)));
    }
  }

  /** Waits until the segments are not too far behind, and the journal has a place for the round. */
  async #waitForRoom(round: Round): Promise<void> {
    const { clock, journal, logger, onFull, writes } = this.#options;
    await writes.waitForRoom();
    while (round.entries > 0) {
      if (this.#failure !== undefined) throw this.#failure;
      if (journal.hasRoom(round.entries, round.payloadBytes)) {
        try {
          await journal.prepare(round.entries, round.payloadBytes);
          return;
        } catch (thrown) {
          if (!isFull(thrown) || this.#closing) throw thrown;
          logger.warn({}, "the disk is full: the journal waits for room");
          await onFull();
          await clock.sleep(fullRetryMs);
          continue;
        }
      }
      if (this.#closing) {
        throw new MillraceError(ErrorCode.SHUTTING_DOWN, "the server is stopping: retry");
      }
      this.#options.requestCheckpoint();
      await new Promise<void>((resolve) => {
        this.#roomWaiters.push(resolve);
      });
    }
  }

  /** Everything to the files and the journal. Returns the time of the journal's write and fsync. */
  async #write(round: Round, number: number, left: Set<CommitItem>): Promise<number> {
    const { clock, journal, writes } = this.#options;
    const late = new Set<CommitTarget>();
    for (const item of round.items) if (item.effect !== undefined) late.add(item.target);
    const early = round.items.filter((item) => !late.has(item.target));
    for (const { target, write } of early) if (write !== undefined) writes.add(target, write);
    const writing = this.#reachSegments(early).then(() => this.#completeWeak(early, left));
    const startedMs = clock.monoMs();
    let syncMs = 0;
    const entries = round.items.flatMap((item) => item.entry ?? []);
    const syncing =
      entries.length === 0
        ? Promise.resolve()
        : journal
            .commit(
              number,
              entries,
              bugs.ackBeforeFsync ? () => this.#completeAll(round.items, left) : undefined,
            )
            .then(() => {
              syncMs = clock.monoMs() - startedMs;
            });
    const outcomes = await Promise.allSettled([writing, syncing]);
    for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
    for (const item of round.items) if (late.has(item.target)) await this.#writeLate(item);
    return syncMs;
  }

  /** In order, one after another: an effect finds everything before it in the files. */
  async #writeLate(item: CommitItem): Promise<void> {
    const { writes } = this.#options;
    if (item.effect !== undefined) {
      for (const segment of item.target.segments) await writes.written(segment);
      await item.effect();
    }
    if (item.write === undefined) return;
    writes.add(item.target, item.write);
    await this.#reachSegments([item]);
  }

  /** What the journal does not hold is in its files; that of `syncDirectly` partitions is on the disk. */
  async #reachSegments(items: readonly CommitItem[]): Promise<void> {
    const bySegment = new Map<Segment, CommitTarget>();
    for (const { entry, target, write } of items) {
      if (write === undefined || (entry !== undefined && !target.syncDirectly)) continue;
      bySegment.set(write.segment, target);
    }
    if (bySegment.size === 0) return;
    const reaching = [...bySegment].map(([segment, target]) => this.#reach(segment, target));
    const outcomes = await Promise.allSettled(reaching);
    for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
  }

  async #reach(segment: Segment, target: CommitTarget): Promise<void> {
    const { disk, files, writes } = this.#options;
    const direct = target.syncDirectly;
    await writes.written(segment);
    if (!direct) return;
    await files.with(segment.path, false, (file) => file.sync());
    if (target.directoryDirty) await disk.syncDirectory(target.directory);
  }

  /** Items of partitions without a journalled item in this round count once they are written. */
  #completeWeak(items: readonly CommitItem[], left: Set<CommitItem>): void {
    const journalled = new Set<CommitTarget>();
    for (const item of items) if (item.entry !== undefined) journalled.add(item.target);
    this.#completeAll(
      items.filter((item) => !journalled.has(item.target)),
      left,
    );
  }

  #completeAll(items: readonly CommitItem[], left: Set<CommitItem>): void {
    const targets = new Set<CommitTarget>();
    const done: CommitItem[] = [];
    for (const item of items) {
      if (!left.delete(item)) continue;
      item.complete();
      done.push(item);
      targets.add(item.target);
    }
    this.#settled(done);
    for (const target of targets) target.notify();
  }

  #settled(items: readonly CommitItem[]): void {
    for (const item of items) this.#pendingBytes -= item.write?.bytes ?? 0;
    if (this.#pendingWaiters.length === 0) return;
    const waiting = this.#pendingWaiters;
    this.#pendingWaiters = [];
    for (const waiter of waiting) {
      if (this.#pendingBytes < waiter.below || this.#failure !== undefined) waiter.resolve();
      else this.#pendingWaiters.push(waiter);
    }
  }
}
