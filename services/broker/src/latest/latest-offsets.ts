/**
 * The latest record of each key of one leadership: of what is committed, in order; and of what is
 * appended and not yet committed. Truncation never reaches what is committed, and what is not ends
 * with the leadership, so that nothing is ever taken back.
 */
import { must } from "@millrace/errors";
import type { RecordKeys } from "@millrace/record";
import { Ring } from "../ring.ts";
import { type Place, SortedOffsets } from "./sorted-offsets.ts";

interface WaitingBatch {
  readonly baseOffset: number;
  readonly records: RecordKeys;
}

/** Memory of a key that waits to be committed, besides its bytes: it is in a batch and in a map. */
const waitingOverheadBytes = 128;

export class LatestOffsets {
  readonly #committed = new SortedOffsets();
  /** Offset of the last record of each key that waits. */
  readonly #appended = new Map<string, number>();
  readonly #waiting = new Ring<WaitingBatch>();
  /** Records of the first waiting batch that were taken over. */
  #taken = 0;
  #waitingBytes = 0;
  #waitingRecords = 0;
  #end: number;

  /** Of a log that ends at `endOffset`; `load` tells of the records before that. */
  constructor(endOffset: number) {
    this.#end = endOffset;
  }

  /** Memory, bytes, about. */
  get bytes(): number {
    return this.#committed.bytes + this.#waitingBytes;
  }

  /** Keys with a committed record. */
  get size(): number {
    return this.#committed.size;
  }

  /** Records that were appended, and are not taken over as committed. */
  get waiting(): number {
    return this.#waitingRecords;
  }

  /** Everything before that which came by `append` is known as committed. */
  get committedEnd(): number {
    return this.#end;
  }

  /** A committed record of before. Records may come in any order. */
  load(key: string, offset: number, isTombstone: boolean): void {
    this.#committed.raise(key, offset, isTombstone);
  }

  /** The leader has appended these records. */
  append(baseOffset: number, records: RecordKeys): void {
    this.#waiting.push({ baseOffset, records });
    this.#waitingRecords += records.keys.length;
    let offset = baseOffset;
    for (const key of records.keys) {
      this.#appended.set(key, offset);
      this.#waitingBytes += waitingOverheadBytes + key.length;
      offset += 1;
    }
  }

  /**
   * The log is committed up to `highWatermark`: takes over at most `recordsMax` of the records that
   * waited for it. False when there are more.
   */
  commit(highWatermark: number, recordsMax: number): boolean {
    let left = recordsMax;
    for (let batch = this.#waiting.peek(); batch !== undefined; batch = this.#waiting.peek()) {
      const { baseOffset, records } = batch;
      const { keys } = records;
      if (baseOffset + keys.length > highWatermark) return true;
      const end = Math.min(keys.length, this.#taken + left);
      left -= end - this.#taken;
      this.#waitingRecords -= end - this.#taken;
      for (; this.#taken < end; this.#taken += 1) this.#take(batch, this.#taken);
      this.#end = baseOffset + end;
      if (end < keys.length) return false;
      this.#waiting.shift();
      this.#taken = 0;
    }
    return true;
  }

  /** Offset of the last record of a key, committed or not. */
  lastAppended(key: string): number | undefined {
    return this.#appended.get(key) ?? this.#committed.get(key)?.offset;
  }

  /** The latest committed record of a key. */
  latest(key: string): Place | undefined {
    return this.#committed.get(key);
  }

  /** Committed keys from `from` on, in the order of their bytes, until `visit` returns false. */
  scan(from: string, visit: (key: string, place: Place) => boolean): void {
    this.#committed.scan(from, visit);
  }

  /** A committed record is not in the log any more, and was the latest of its key. */
  forget(key: string, offset: number): void {
    this.#committed.delete(key, offset);
  }

  /** Leaves of committed keys; for `dropBelow`. */
  get leaves(): number {
    return this.#committed.leaves;
  }

  /** Takes the keys out of one leaf whose latest records are below the log's start. */
  dropBelow(logStartOffset: number, leaf: number): void {
    this.#committed.dropBelow(logStartOffset, leaf);
  }

  #take({ baseOffset, records }: WaitingBatch, index: number): void {
    const key = must(records.keys[index], "key of a waiting record");
    const offset = baseOffset + index;
    this.#committed.raise(key, offset, records.isNull[index] === true);
    this.#waitingBytes -= waitingOverheadBytes + key.length;
    if (this.#appended.get(key) === offset) this.#appended.delete(key);
  }
}
