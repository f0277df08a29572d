/**
 * The commit loop. Batches that arrive while a round is being written and fsynced join the next
 * one. A round's batches count, in the order of their appends, once the journal has it; their
 * segments are written behind that (`segment/writer.ts`). Only batches that the journal does not
 * hold wait for their segment.
 */
import { type Clock, type Disk, type Logger, Waiters } from "@millrace/env";
import { ErrorCode, MillraceError, must } from "@millrace/errors";
import type { LogObserver } from "../api.ts";
import { bugs } from "../bugs.ts";
import { isFull, isPassing, storageError } from "../files/disk-errors.ts";
import type { FileCache } from "../files/file-cache.ts";
import type { Segment } from "../segment/segment.ts";
import type { SegmentWrite, SegmentWriter, WriteTarget } from "../segment/writer.ts";
import type { JournalEntry } from "./format.ts";
import type { Journal } from "./journal.ts";

/** What the loop needs of a partition. */
export interface CommitTarget extends WriteTarget {
  readonly segments: readonly Segment[];
  readonly promises: CommitPromises;
  /** After each round that touched it: listeners may run. */
  notify(): void;
}

/** What an acknowledgement promises of what came before it. */
export interface CommitPromises {
  /**
   * The segments must be fsynced with every round (the recovery point is older than unjournalled
   * data).
   */
  readonly syncDirectly: boolean;
  /** True once where journalled batches that are not written stand before unjournalled ones. */
  takeUnwritten(): boolean;
}

/** One unit of work. `complete` runs once the unit counts, `fail` when it never will. */
export interface CommitItem {
  readonly target: CommitTarget;
  /** Bytes for a segment, or none. */
  readonly write?: SegmentWrite;
  /** What the journal keeps of it; absent where the flush policy does not ask for it. */
  readonly entry?: JournalEntry;
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
  readonly writes: SegmentWriter;
  readonly observer: LogObserver;
  /** Asked for when the journal is full. */
  readonly requestCheckpoint: () => void;
  /** ENOSPC was met: make room if there is a reserve. */
  readonly onFull: () => Promise<void>;
  /** A round is over; recovery would have to replay its entries. */
  readonly onCommit: (entries: number) => void;
  /** The disk failed: nothing more is acknowledged. */
  readonly onFailure: (error: MillraceError) => void;
}

export const roundPayloadBytesMax = 16 * 1024 * 1024;
const fullRetryMs = 200;

export class Committer {
  readonly #options: CommitterOptions;
  readonly #queue: Round[] = [];
  #running = false;
  #journal: Journal | undefined;
  #nextRound = 1;
  #pendingBytes = 0;
  #failure: MillraceError | undefined;
  #closing = false;
  readonly #room = new Waiters();
  #pendingWaiters: { readonly below: number; readonly resolve: () => void }[] = [];
  readonly #idle = new Waiters();
  /** Number of the last journalled round all of whose items have completed. */
  #completedRound = 0;

  constructor(options: CommitterOptions) {
    this.#options = options;
  }

  /** Recovery is over: rounds go to `journal`, and the first one follows `lastRound`. */
  begin(journal: Journal, lastRound: number): void {
    this.#journal = journal;
    this.#nextRound = lastRound + 1;
    this.#completedRound = lastRound;
  }

  get completedRound(): number {
    return this.#completedRound;
  }

  /** Part of the journal that cannot be written over yet, 0 to 1. */
  get journalUsedPart(): number {
    return this.#journal === undefined ? 0 : this.#journal.bytesUsed / this.#journal.bytesMax;
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
    return this.#begun.payloadBytesMax(1);
  }

  get #begun(): Journal {
    return must(this.#journal, "journal of the commit loop");
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
  waitForPendingBelow(bytes: number): Promise<void> {
    if (this.#pendingBytes < bytes) return Promise.resolve();
    return new Promise((resolve) => {
      this.#pendingWaiters.push({ below: bytes, resolve });
    });
  }

  /** Resolves once nothing is queued or under way. */
  idle(): Promise<void> {
    return this.#running ? this.#idle.wait() : Promise.resolve();
  }

  /** Recovery points cover every round up to this one: its journal space is free. */
  covered(round: number): void {
    this.#journal?.release(round);
    this.#room.wake();
  }

  /** The patience of a stop is over: what finds no room now fails. */
  get impatient(): boolean {
    return this.#closing;
  }

  /** From now on a round that finds no room on the disk or in the journal fails at once. */
  closing(): void {
    this.#closing = true;
    this.#room.wake();
  }

  /** Fails everything queued and everything to come. */
  fail(error: MillraceError): void {
    if (this.#failure !== undefined) return;
    this.#failure = error;
    // A stop is no failure of the disk; nothing is committed after it either.
    if (error.code !== ErrorCode.SHUTTING_DOWN) this.#options.onFailure(error);
    this.#room.wake();
  }

  /** The round that an item joins: never the one being written. */
  #roundFor(payloadBytes: number): Round {
    const last = this.#queue.at(-1);
    const open = last !== undefined && last !== this.#inFlight;
    const payloadMax = Math.min(
      roundPayloadBytesMax,
      this.#begun.payloadBytesMax((last?.entries ?? 0) + 1),
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
    this.#idle.wake();
  }

  /** Never rejects: an outcome reaches every item. */
  async #commit(round: Round): Promise<void> {
    const { clock, observer } = this.#options;
    const startedMs = clock.monoMs();
    const left = new Set(round.items);
    try {
      if (this.#failure !== undefined) throw this.#failure;
      const writing = await this.#writeSegments(round, left);
      await this.#waitForRoom(round);
      // Only rounds that the journal holds have numbers, so that recovery can tell when one is
      // missing.
      const number = this.#nextRound;
      if (round.entries > 0) this.#nextRound += 1;
      const syncMs = await this.#writeJournal(round, number, left, writing.done);
      this.#completeAll(round.items, left);
      if (round.entries > 0) this.#completedRound = number;
      this.#options.onCommit(round.entries);
      observer.onCommit?.(round.items.length, round.bytes, syncMs, clock.monoMs() - startedMs);
    } catch (thrown) {
      const error = storageError("the log cannot be written", thrown);
      this.fail(error);
      for (const item of left) item.fail(error);
      this.#settled(round.items.filter((item) => left.has(item)));
    }
  }

  /** Waits until the journal has a place for the round. */
  async #waitForRoom(round: Round): Promise<void> {
    const { clock, logger, onFull } = this.#options;
    const journal = this.#begun;
    while (round.entries > 0) {
      if (this.#failure !== undefined) throw this.#failure;
      if (journal.hasRoom(round.entries, round.payloadBytes)) {
        try {
          await journal.prepare(round.entries, round.payloadBytes);
          return;
        } catch (thrown) {
          if (!isPassing(thrown) || this.#closing) throw thrown;
          logger.warn({ err: thrown }, "the journal waits for a new file");
          if (isFull(thrown)) await onFull();
          await clock.sleep(fullRetryMs);
          continue;
        }
      }
      if (this.#closing) {
        throw new MillraceError(ErrorCode.SHUTTING_DOWN, "the server is stopping: retry");
      }
      this.#options.requestCheckpoint();
      await this.#room.wait();
    }
  }

  /**
   * Hands the round's batches to their segments, once those are not too far behind. `done`: the
   * files have what the journal will not hold.
   */
  async #writeSegments(
    round: Round,
    left: Set<CommitItem>,
  ): Promise<{ readonly done: Promise<void> }> {
    const { writes } = this.#options;
    await writes.waitForRoom();
    if (this.#failure !== undefined) throw this.#failure;
    for (const { target, write } of round.items) {
      if (write !== undefined) writes.add(target, write);
    }
    const done = this.#reachSegments(round.items).then(() => {
      // A failed fsync may have dropped what was written before it.
      if (this.#failure !== undefined) throw this.#failure;
      this.#completeWeak(round.items, left);
    });
    // Its failure is seen where it is awaited.
    done.catch(() => {});
    // A batch in the journal vouches for all before it: those must be fsynced first.
    const direct = round.items.some(
      ({ entry, target }) => entry !== undefined && target.promises.syncDirectly,
    );
    if (direct) await done;
    return { done };
  }

  /** Returns the time of the journal's write and fsync, once `writing` is over, too. */
  async #writeJournal(
    round: Round,
    number: number,
    left: Set<CommitItem>,
    writing: Promise<void>,
  ): Promise<number> {
    const { clock } = this.#options;
    const journal = this.#begun;
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
    // The first failure counts: the other half may wait for room on the disk for ever.
    await Promise.all([writing, syncing]);
    return syncMs;
  }

  /** Waits until the files have what the journal does not hold, and the disk what `syncDirectly`
   * partitions have in their files. */
  async #reachSegments(items: readonly CommitItem[]): Promise<void> {
    const written = new Set<Segment>();
    const direct = new Set<CommitTarget>();
    for (const { entry, target, write } of items) {
      if (write === undefined) continue;
      if (target.promises.syncDirectly) direct.add(target);
      else if (entry === undefined) {
        written.add(write.segment);
        if (target.promises.takeUnwritten()) this.#unwritten(target, written);
      }
    }
    if (written.size === 0 && direct.size === 0) return;
    const reaching = [
      ...[...written].map((segment) => unlessDropped(segment, this.#written(segment))),
      ...[...direct].map((target) => this.#syncAll(target)),
    ];
    const outcomes = await Promise.allSettled(reaching);
    for (const outcome of outcomes) if (outcome.status === "rejected") throw outcome.reason;
  }

  /** Adds the segments of a partition that have queued writes. */
  #unwritten({ segments }: CommitTarget, into: Set<Segment>): void {
    for (const segment of segments) if (this.#options.writes.has(segment)) into.add(segment);
  }

  /**
   * Resolves once the segment's queued writes are in its file, however long the disk has no room.
   */
  async #written(segment: Segment): Promise<void> {
    const { clock, writes } = this.#options;
    for (;;) {
      try {
        await writes.written(segment);
        return;
      } catch (thrown) {
        if (!isPassing(thrown) || this.#closing) throw thrown;
        await clock.sleep(fullRetryMs);
      }
    }
  }

  /**
   * Fsyncs every segment of a partition that has something to fsync, also the ones before the last
   * roll: the journal must not have a batch without those before it.
   */
  async #syncAll(target: CommitTarget): Promise<void> {
    const { disk } = this.#options;
    for (const segment of [...target.segments]) {
      // Not what is queued: a write that failed is not, and the segment lacks it.
      const written = segment.writtenBytes >= segment.sizeBytes;
      if (written && !segment.durability.pending) continue;
      await unlessDropped(segment, this.#synced(segment));
    }
    await target.names.settle(() => disk.syncDirectory(target.directory));
  }

  async #synced(segment: Segment): Promise<void> {
    await this.#written(segment);
    const { files } = this.#options;
    await segment.durability.settle(() => files.with(segment, (file) => file.sync()));
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

/** A segment that retention drops meanwhile lies below the log start: nobody needs its bytes. */
const unlessDropped = async (segment: Segment, work: Promise<void>): Promise<void> => {
  try {
    await work;
  } catch (thrown) {
    if (!segment.dropped) throw thrown;
  }
};
