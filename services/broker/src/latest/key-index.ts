/**
 * The index of one leadership of a compacted partition: where the latest record of each key is. It
 * is read from the log once, and then follows each append. What it answers is never wrong: while it
 * is being read, and when it was too large for the broker, it answers nothing.
 */
import type { Clock, Compressor, Env, Logger } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { PartitionLog, ReadResult } from "@millrace/log";
import type { FetchedRecord } from "@millrace/proto/broker";
import { type RecordKeys, RecordWalk } from "@millrace/record";
import type { KeyIndexes } from "./key-indexes.ts";
import { LatestOffsets } from "./latest-offsets.ts";
import { batchesIn, recordSetOf } from "./log-records.ts";
import { LikelyBatchBytes } from "./record-reader.ts";
import { indexRefusals } from "./refusals.ts";
import type { Place } from "./sorted-offsets.ts";

/** What all indexes of a broker share. */
export interface KeyIndexContext {
  readonly clock: Pick<Clock, "defer" | "monoMs" | "timer">;
  readonly compressor: Compressor;
  readonly logger: Logger;
  readonly sim: Env["sim"];
  readonly indexes: KeyIndexes;
}

/** Records that are taken in, and leaves that are looked through, in one turn of the event loop. */
const recordsPerTurn = 500;
/**
 * The same of committed records where more wait: a quarter of them, so that a fast producer is not
 * faster than its index, but no more than take some 15 ms.
 */
const committedPerTurnMax = 4_000;
const leavesPerTurn = 64;
/** Bytes that are read from the log at a time. */
const readBytes = 1024 * 1024;
/** Pauses before a failed read is tried again. */
const retryMsMin = 500;
const retryMsMax = 30_000;

type State =
  /** Before `offset`, everything was read. */
  | { readonly kind: "loading"; readonly offset: number; readonly endOffset: number }
  | { readonly kind: "ready" }
  /** It had more keys than the broker has memory for. */
  | { readonly kind: "full" }
  | { readonly kind: "closed" };

const nothingRead = (offset: number): MillraceError =>
  new MillraceError(ErrorCode.INTERNAL, `a read at offset ${offset} has nothing: report it`);

export class KeyIndex {
  readonly #context: KeyIndexContext;
  readonly #log: PartitionLog;
  /** Tells those that wait. */
  readonly #moved: () => void;
  readonly #startedMs: number;
  /** For those that read the latest records. */
  readonly likelyBatchBytes = new LikelyBatchBytes();
  /** Of this index in the cache of records: another leadership may have others at its offsets. */
  readonly #owner: number;
  #offsets: LatestOffsets;
  #state: State;
  #chargedBytes = 0;
  #isCommitting = false;
  /** Log start below which keys were dropped. */
  #droppedBelow: number;
  #isDropping = false;
  /** The high watermark may have moved, or the index is over. */
  #wakeLoad: () => void = () => {};

  /** Begins to read the log, of which this broker is the leader. */
  constructor(context: KeyIndexContext, log: PartitionLog, moved: () => void) {
    this.#context = context;
    this.#log = log;
    this.#moved = moved;
    this.#startedMs = context.clock.monoMs();
    const { logEndOffset, logStartOffset } = log;
    this.#offsets = new LatestOffsets(logEndOffset);
    this.#droppedBelow = logStartOffset;
    this.#state = { kind: "loading", offset: logStartOffset, endOffset: logEndOffset };
    this.#owner = context.indexes.records.newOwner();
    context.indexes.add(this);
    void this.#load(logEndOffset);
  }

  get kind(): State["kind"] {
    return this.#state.kind;
  }

  /** Keys with a committed record. */
  get keys(): number {
    return this.#offsets.size;
  }

  /** Records that are still to be read. */
  get lag(): number {
    const state = this.#state;
    return state.kind === "loading" ? Math.max(0, state.endOffset - state.offset) : 0;
  }

  /** Everything before this offset is in the answers. */
  get committedEnd(): number {
    return Math.min(this.#offsets.committedEnd, this.#log.highWatermark);
  }

  /** Throws KEY_INDEX_LOAD_IN_PROGRESS or KEY_INDEX_FULL unless it answers. */
  requireReady(): void {
    const state = this.#state;
    if (state.kind === "ready") return;
    if (state.kind === "full") throw indexRefusals.full(this.#name, this.#context.indexes.bytesMax);
    if (state.kind === "closed") throw indexRefusals.closed(this.#name);
    throw indexRefusals.loading(this.#name, state.offset, state.endOffset);
  }

  /** Of the leader, within the step of an append that the log has taken. */
  appended(baseOffset: number, records: RecordKeys): void {
    if (this.#isOver) return;
    this.#offsets.append(baseOffset, records);
    this.#charge();
  }

  /** Of the leader: the high watermark or the log's start may have moved. */
  progress(): void {
    if (this.#isOver) return;
    this.#wakeLoad();
    this.#commit();
    this.#drop();
  }

  /** Offset of the last record of a key, committed or not. Requires `requireReady`. */
  lastAppended(key: string): number | undefined {
    const offset = this.#offsets.lastAppended(key);
    return offset !== undefined && offset >= this.#log.logStartOffset ? offset : undefined;
  }

  /** The latest committed record of a key. Requires `requireReady`. */
  latest(key: string): Place | undefined {
    const place = this.#offsets.latest(key);
    return place !== undefined && place.offset >= this.#log.logStartOffset ? place : undefined;
  }

  /** Committed keys from `from` on, until `visit` returns false. Requires `requireReady`. */
  scan(from: string, visit: (key: string, place: Place) => boolean): void {
    this.#offsets.scan(from, visit);
  }

  /** The log does not have the latest record of a key any more: compaction removed a tombstone. */
  forget(key: string, offset: number): void {
    if (this.#isOver) return;
    this.#offsets.forget(key, offset);
    this.#charge();
  }

  /** A record that was read lately. A log that is offline answers for itself. */
  remembered(offset: number): FetchedRecord | undefined {
    if (this.#log.state.kind === "offline") return undefined;
    return this.#context.indexes.records.get(this.#owner, offset);
  }

  /** A committed record was read. Of a tombstone the log alone knows whether it is there still. */
  remember(offset: number, record: FetchedRecord): void {
    if (record.value !== undefined) this.#context.indexes.records.put(this.#owner, offset, record);
  }

  /** The leadership is over, or the topic is not compacted any more. */
  close(): void {
    this.#end({ kind: "closed" });
    this.#context.indexes.remove(this);
  }

  get #name(): string {
    return `${this.#log.topic}-${this.#log.partition}`;
  }

  get #isOver(): boolean {
    return this.#state.kind === "full" || this.#state.kind === "closed";
  }

  #end(state: State): void {
    this.#state = state;
    this.#offsets = new LatestOffsets(0);
    this.#context.indexes.charge(-this.#chargedBytes);
    this.#chargedBytes = 0;
    this.#wakeLoad();
    this.#moved();
  }

  /** Accounts for its memory, and gives the index up when the broker has no more for it. */
  #charge(): void {
    const { indexes, logger } = this.#context;
    const { bytes } = this.#offsets;
    indexes.charge(bytes - this.#chargedBytes);
    this.#chargedBytes = bytes;
    if (!indexes.isExceeded) return;
    const { partition, topic } = this.#log;
    logger.error(
      { topic, partition, keys: this.keys, bytes, bytes_max: indexes.bytesMax },
      "the index of the keys of a partition is given up: raise --key-index-bytes-max",
    );
    indexes.metrics.onKeyIndexGivenUp();
    this.#end({ kind: "full" });
  }

  /** Takes over what is committed by now, some of it in later turns of the event loop. */
  #commit(): void {
    if (this.#isCommitting) return;
    const { waiting } = this.#offsets;
    const atOnce = Math.min(Math.max(recordsPerTurn, waiting >> 2), committedPerTurnMax);
    const isDone = this.#offsets.commit(this.#log.highWatermark, atOnce);
    this.#charge();
    if (isDone) return;
    this.#isCommitting = true;
    this.#context.clock.defer(() => {
      this.#isCommitting = false;
      if (this.#isOver) return;
      this.#commit();
      this.#moved();
    });
  }

  /** Drops the keys whose latest records are below the log's start, some leaves in each turn. */
  #drop(): void {
    const { logStartOffset } = this.#log;
    if (this.#isDropping || logStartOffset === this.#droppedBelow) return;
    this.#isDropping = true;
    let leaf = this.#offsets.leaves - 1;
    const step = (): void => {
      if (this.#isOver) return;
      // Downwards: a leaf is joined with one that was looked through, or will be.
      for (let i = 0; i < leavesPerTurn && leaf >= 0; i += 1, leaf -= 1) {
        this.#offsets.dropBelow(logStartOffset, leaf);
      }
      this.#charge();
      if (this.#isOver) return;
      if (leaf >= 0) {
        this.#context.clock.defer(step);
        return;
      }
      this.#isDropping = false;
      this.#droppedBelow = logStartOffset;
      this.#drop();
    };
    step();
  }

  /** Reads the log up to where it ended when the index began. Never rejects. */
  async #load(endOffset: number): Promise<void> {
    const { indexes } = this.#context;
    let pauseMs = retryMsMin;
    while (this.#state.kind === "loading") {
      if (this.#log.highWatermark < endOffset) {
        // What is not committed may be lost with this leader.
        await this.#woken();
        continue;
      }
      const leave = await indexes.enter();
      try {
        await this.#read(endOffset);
      } catch (thrown) {
        this.#failed(MillraceError.from(thrown), pauseMs);
      } finally {
        leave();
      }
      if (this.#state.kind !== "loading") return;
      await this.#pause(pauseMs);
      pauseMs = Math.min(2 * pauseMs, retryMsMax);
    }
  }

  /** Rejects as `PartitionLog.read` does. */
  async #read(endOffset: number): Promise<void> {
    const { clock, indexes, sim } = this.#context;
    const log = this.#log;
    for (let state = this.#state; state.kind === "loading"; state = this.#state) {
      const offset = Math.max(state.offset, log.logStartOffset);
      if (offset >= endOffset) {
        this.#state = { kind: "ready" };
        indexes.metrics.onKeyIndexLoaded((clock.monoMs() - this.#startedMs) / 1000);
        sim?.sometimes("broker: an index of keys was read from a log");
        this.#moved();
        return;
      }
      const result = await log.read(offset, readBytes, "high_watermark");
      // Tried again after a pause: a read that does not move would be repeated for ever.
      if (result.nextOffset <= offset) throw nothingRead(offset);
      await this.#take(result, endOffset);
      if (this.#state.kind !== "loading") return;
      this.#state = { kind: "loading", offset: result.nextOffset, endOffset };
    }
  }

  /** Takes the records of a read in that lie before `endOffset`. */
  async #take(result: ReadResult, endOffset: number): Promise<void> {
    const { clock, compressor } = this.#context;
    let left = recordsPerTurn;
    for (const { baseOffset, info } of batchesIn(result)) {
      if (info.control !== 0) continue;
      const cursor = new RecordWalk(await recordSetOf(info, compressor), 0);
      while (this.#state.kind === "loading" && cursor.next()) {
        const offset = baseOffset + cursor.offsetDelta;
        const { hasValue, key } = cursor;
        // Those without a key are from before the topic was compacted.
        if (key !== undefined && offset < endOffset) this.#offsets.load(key, offset, !hasValue);
        left -= 1;
        if (left > 0) continue;
        this.#charge();
        await new Promise<void>((resolve) => clock.defer(resolve));
        left = recordsPerTurn;
      }
    }
    if (this.#state.kind === "loading") this.#charge();
  }

  #failed(error: MillraceError, pauseMs: number): void {
    if (this.#isOver) return;
    const { partition, topic } = this.#log;
    this.#context.logger.warn(
      { topic, partition, err: error, retry_ms: pauseMs },
      "the log cannot be read for the index of its keys: it is tried again",
    );
  }

  /** Resolves when the high watermark may have moved, or the index is over. */
  #woken(): Promise<void> {
    return new Promise((resolve) => {
      this.#wakeLoad = resolve;
    });
  }

  /** Ends early with the index. */
  #pause(ms: number): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#context.clock.timer(ms, resolve);
      this.#wakeLoad = () => {
        if (!this.#isOver) return;
        cancel();
        resolve();
      };
    });
  }
}
