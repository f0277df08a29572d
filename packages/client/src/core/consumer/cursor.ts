/** State of one partition that is being read: position, buffer and grants. */
import type { MillraceError } from "@millrace/errors";
import { readStored } from "@millrace/record";
import type { ConsumedRecord } from "../types.ts";

/** A fetched message: whole stored batches, not decoded yet. */
export interface Chunk {
  readonly buffer: Buffer;
  /** Where the next batch begins; moves as batches are opened. */
  at: number;
  readonly nextOffset: number;
  readonly highWatermark: number;
}

/** A decoded batch. The application may have taken some of its records. */
export interface OpenBatch {
  readonly records: readonly ConsumedRecord[];
  /** Where to go on once all records are taken. */
  readonly nextOffset: number;
  readonly highWatermark: number;
  /** Stored bytes, which count as buffered until all records are taken. */
  readonly bytes: number;
}

/** What became of a stored batch. */
export interface DecodedBatch {
  /** Those at or after the position, and before the end. */
  readonly records: readonly ConsumedRecord[];
  /** Where the next batch begins in the chunk. */
  readonly nextAt: number;
  readonly leaderEpoch: number;
}

/** The hold that a fetch stream has on a cursor. */
export interface Attachment {
  /** The cursor may have room again: grant the server more bytes. */
  grant(): void;
  /** Why the stream gives nothing, if so. */
  trouble(nowMs: number): MillraceError | undefined;
  /** Stops reading. Nothing arrives for the cursor afterwards. */
  detach(): void;
}

/** Whether the cursor is being fetched. */
export type CursorState =
  /** No stream reads the cursor. It is new, finished, or waits for the next attempt. */
  | { readonly name: "detached" }
  | { readonly name: "attached"; readonly attachment: Attachment }
  /** Fetching stopped with an error. The iteration after the error was thrown attaches it again. */
  | { readonly name: "failed"; readonly error: MillraceError }
  /** Replaced by a seek, or no longer assigned. */
  | { readonly name: "dropped" };

/** News of a partition from its leader. */
export interface Fetched {
  readonly batches: readonly Buffer[];
  readonly nextOffset: number | undefined;
  readonly highWatermark: number | undefined;
}

const detached: CursorState = { name: "detached" };

/** What tells the cursors of a consumer apart. */
export const cursorKey = (topic: string, partition: number): string => `${partition}/${topic}`;

/** State of one assigned partition. A seek replaces it by a new one. */
export class Cursor {
  readonly topic: string;
  readonly partition: number;
  /** The topic that the offsets belong to; a recreated topic has another id. */
  topicId: Uint8Array;
  state: CursorState = detached;
  paused = false;
  /** Of a group: not begun yet, or about to be given back. Nothing is fetched or handed out. */
  held = false;
  /** Upper bound of buffered and granted bytes together. */
  capacityBytes = 0;
  highWatermark = 0;
  /** Failed attempts to fetch since the last success. */
  failures = 0;
  /** Why the last of them failed. */
  lastError: MillraceError | undefined;
  /** Moves to another place by `onOutOfRange` since the last success. */
  restarts = 0;
  #position: number;
  #fetchOffset: number;
  #endOffset: number;
  #chunks: Chunk[] = [];
  #open: OpenBatch | undefined;
  /** Records of the open batch that were taken. */
  #taken = 0;
  #bufferedBytes = 0;
  /** Granted to the server and not received yet. */
  #grantedBytes = 0;
  /** Leader epoch in the last batch that was opened. */
  #openedEpoch: number | undefined;

  /** `endOffset` is where an iteration with `untilEnd` stops; Infinity without one. */
  constructor(topic: string, partition: number, from: StartingPoint) {
    this.topic = topic;
    this.partition = partition;
    this.topicId = from.topicId;
    this.#position = from.offset;
    this.#fetchOffset = from.offset;
    this.#endOffset = from.endOffset;
  }

  /** Next offset to hand to the application. */
  get position(): number {
    return this.#position;
  }

  /** Next offset to fetch. */
  get fetchOffset(): number {
    return this.#fetchOffset;
  }

  get endOffset(): number {
    return this.#endOffset;
  }

  /** Bytes fetched and not taken by the application. */
  get bufferedBytes(): number {
    return this.#bufferedBytes;
  }

  /** True once everything before the end was handed out. A position past the end is an error. */
  get finished(): boolean {
    return this.#position === this.#endOffset;
  }

  /**
   * True when nothing before the end is left to fetch, provided the end is ahead of the position.
   */
  get fetchedToEnd(): boolean {
    return this.#fetchOffset >= this.#endOffset && this.#position <= this.#endOffset;
  }

  /** True when nothing is buffered. */
  get drained(): boolean {
    return this.#open === undefined && this.#chunks.length === 0;
  }

  /** True while records are neither asked for nor handed out. */
  get isStopped(): boolean {
    return this.paused || this.held;
  }

  /** True when the application may get something, if only an error. */
  get ready(): boolean {
    if (this.isStopped || this.state.name === "dropped") return false;
    if (this.drained) return this.state.name === "failed";
    return !this.finished;
  }

  get openBatch(): OpenBatch | undefined {
    return this.#open;
  }

  /** The chunk with the next batch to decode. */
  get chunk(): Chunk | undefined {
    return this.#chunks[0];
  }

  /**
   * Leader epoch in the last batch before `fetchOffset`; undefined while unknown. Not that of the
   * partition: batches keep the epoch they were appended in, so a leader that has taken over since
   * would seem to have cut the log (KIP-320).
   */
  get lastFetchedEpoch(): number | undefined {
    const chunk = this.#chunks.at(-1);
    if (chunk === undefined) return this.#openedEpoch;
    let epoch: number | undefined;
    for (let at = chunk.at; at < chunk.buffer.length; ) {
      const batch = readStored(chunk.buffer, at);
      if ("fault" in batch) return undefined;
      epoch = batch.leaderEpoch;
      at = batch.bodyEnd;
    }
    return epoch;
  }

  /** Bytes to grant now: 0 while the server still has half of what this cursor may hold. */
  grantDue(): number {
    if (this.isStopped) return 0;
    const held = this.#bufferedBytes + this.#grantedBytes;
    return held * 2 <= this.capacityBytes ? this.capacityBytes - held : 0;
  }

  /** As `grantDue`; the bytes count as granted from now on. */
  takeGrant(): number {
    const bytes = this.grantDue();
    this.#grantedBytes += bytes;
    return bytes;
  }

  attach(attachment: Attachment): void {
    this.state = { name: "attached", attachment };
    this.#grantedBytes = 0;
  }

  /** Why nothing arrives although something could. */
  heldUpBy(nowMs: number): MillraceError | undefined {
    if (this.isStopped || this.fetchedToEnd) return undefined;
    const { state } = this;
    if (state.name === "attached" && this.failures === 0) return state.attachment.trouble(nowMs);
    return state.name === "attached" || state.name === "detached" ? this.lastError : undefined;
  }

  /** The stream no longer reads the cursor. */
  becomeDetached(): void {
    if (this.state.name !== "dropped") this.state = detached;
  }

  /** Stops fetching. What is buffered stays. */
  stopFetching(): void {
    const { state } = this;
    if (state.name !== "attached") return;
    this.state = detached;
    state.attachment.detach();
  }

  fail(error: MillraceError): void {
    if (this.state.name !== "dropped") this.state = { name: "failed", error };
  }

  /** Ends the cursor for good. */
  drop(): void {
    this.stopFetching();
    this.state = { name: "dropped" };
    this.#chunks = [];
    this.#open = undefined;
    this.#bufferedBytes = 0;
  }

  /** Adds what the leader sent. */
  receive({ batches, nextOffset = this.#fetchOffset, ...news }: Fetched): void {
    this.failures = 0;
    this.lastError = undefined;
    this.restarts = 0;
    if (news.highWatermark !== undefined) this.highWatermark = news.highWatermark;
    for (const buffer of batches) {
      this.#chunks.push({ buffer, at: 0, nextOffset, highWatermark: this.highWatermark });
      this.#bufferedBytes += buffer.length;
      this.#grantedBytes = Math.max(0, this.#grantedBytes - buffer.length);
    }
    this.#fetchOffset = nextOffset;
    if (this.drained) this.#moveTo(nextOffset);
  }

  /** Moves a drained cursor to another place. Buffered records would belong to the old place. */
  restart({ topicId, offset, endOffset }: StartingPoint): void {
    this.topicId = topicId;
    this.#openedEpoch = undefined;
    this.#position = offset;
    this.#fetchOffset = offset;
    this.#endOffset = endOffset;
  }

  /** The log was cut below the end: an iteration must not wait for the missing records. */
  lowerEnd(offset: number): void {
    this.#endOffset = Math.min(this.#endOffset, Math.max(offset, this.#position));
  }

  /** Opens the decoded next batch of the first chunk. */
  open(chunk: Chunk, { records, nextAt, leaderEpoch }: DecodedBatch): void {
    const bytes = nextAt - chunk.at;
    chunk.at = nextAt;
    this.#openedEpoch = leaderEpoch;
    const last = nextAt >= chunk.buffer.length;
    if (last) this.#chunks.shift();
    const end = records.at(-1);
    const reached = end === undefined ? this.#position : Number(end.offset) + 1;
    // Offsets after the last record may be empty (compaction, control batches). The message says so
    // for its last batch only.
    const nextOffset =
      last && this.#chunks.length === 0 ? Math.max(reached, chunk.nextOffset) : reached;
    this.#open = { records, nextOffset, highWatermark: chunk.highWatermark, bytes };
    this.#taken = 0;
    if (records.length === 0) this.#closeBatch();
  }

  /** What `takeRecord` hands out next. */
  get nextRecord(): ConsumedRecord | undefined {
    return this.isStopped ? undefined : this.#open?.records[this.#taken];
  }

  /** Hands out the next record. Undefined when no batch is open, or the cursor is paused. */
  takeRecord(): ConsumedRecord | undefined {
    const batch = this.#open;
    if (batch === undefined || this.isStopped) return undefined;
    const record = batch.records[this.#taken];
    if (record === undefined) return undefined;
    this.#taken += 1;
    if (this.#taken === batch.records.length) this.#closeBatch();
    else this.#position = Number(record.offset) + 1;
    return record;
  }

  /** Hands out the remaining records of the open batch. Empty where `takeRecord` is undefined. */
  takeRest(): readonly ConsumedRecord[] {
    const batch = this.#open;
    if (batch === undefined || this.isStopped) return [];
    const { records } = batch;
    const rest = this.#taken === 0 ? records : records.slice(this.#taken);
    this.#closeBatch();
    return rest;
  }

  #closeBatch(): void {
    const batch = this.#open;
    if (batch === undefined) return;
    this.#open = undefined;
    this.#bufferedBytes -= batch.bytes;
    this.#moveTo(batch.nextOffset);
    if (this.state.name === "attached") this.state.attachment.grant();
  }

  /** Moves the position forward, at most to the end. */
  #moveTo(offset: number): void {
    this.#position = Math.max(this.#position, Math.min(offset, this.#endOffset));
  }
}

/** Where a cursor begins to read, and where an iteration with `untilEnd` stops. */
export interface StartingPoint {
  readonly topicId: Uint8Array;
  readonly offset: number;
  /** Infinity: there is no end. */
  readonly endOffset: number;
}
