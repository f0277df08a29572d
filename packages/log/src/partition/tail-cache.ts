/**
 * The newest batches of every partition, in memory, bounded in bytes; the oldest go first. Their
 * bytes are copied into one ring, and go from there to the journal and to their segments: what they
 * came in can be collected at once, and nothing here grows the heap while records come in. A batch
 * that is not in its files yet is held: nothing is copied over it.
 */
import { assert, must } from "@millrace/errors";
import type { HeldBytes } from "../segment/writer.ts";

export interface CachedBatch {
  readonly baseOffset: number;
  readonly lastOffset: number;
  readonly prefix: Uint8Array;
  readonly body: Uint8Array;
}

/** Where a batch lies in the ring. */
class Entry implements HeldBytes {
  readonly owner: PartitionTail;
  readonly generation: number;
  readonly baseOffset: number;
  readonly lastOffset: number;
  /** Never wraps: the place in the ring is `address % bytesMax`. */
  readonly address: number;
  readonly bytes: number;
  readonly #cache: TailCache;
  #holds = 0;

  constructor(cache: TailCache, owner: PartitionTail, batch: CachedBatch, address: number) {
    this.#cache = cache;
    this.owner = owner;
    this.generation = owner.generation;
    this.baseOffset = batch.baseOffset;
    this.lastOffset = batch.lastOffset;
    this.address = address;
    this.bytes = batch.prefix.length + batch.body.length;
  }

  get isHeld(): boolean {
    return this.#holds > 0;
  }

  /** Prefix and body, as they lie in the ring. */
  get chunk(): Uint8Array {
    return this.#cache.view(this);
  }

  hold(): void {
    this.#holds += 1;
  }

  release(): void {
    assert(this.isHeld, "what is released was held");
    this.#cache.check(this);
    this.#holds -= 1;
  }
}

/** First-in first-out without shifting arrays. */
class Queue<T> {
  #items: (T | undefined)[] = [];
  #head = 0;

  get length(): number {
    return this.#items.length - this.#head;
  }

  at(index: number): T | undefined {
    return this.#items[this.#head + index];
  }

  push(item: T): void {
    this.#items.push(item);
  }

  shift(): T | undefined {
    const item = this.#items[this.#head];
    if (item === undefined) return undefined;
    this.#items[this.#head] = undefined;
    this.#head += 1;
    if (this.#head > 1024 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head);
      this.#head = 0;
    }
    return item;
  }

  clear(): void {
    this.#items = [];
    this.#head = 0;
  }
}

/**
 * Left free behind every batch, so that many small ones cannot make the directory much larger than
 * the ring.
 */
const entryBytes = 128;

/** One partition's part: a contiguous run of batches that ends at the log end offset. */
export class PartitionTail {
  readonly #entries = new Queue<Entry>();
  readonly #cache: TailCache;
  /** Entries of the cache's order that were queued under an older generation are void. */
  generation = 0;

  constructor(cache: TailCache) {
    this.#cache = cache;
  }

  /**
   * Appends a copy, and returns it; `batch` follows the last one. One that finds no room empties
   * this part: it is larger than the cache, or the oldest batches are held.
   */
  push(batch: CachedBatch): Entry | undefined {
    const entry = this.#cache.store(this, batch);
    if (entry === undefined) this.clear();
    else this.#entries.push(entry);
    return entry;
  }

  /** Forgets everything (truncation, deletion). */
  clear(): void {
    for (let i = 0; i < this.#entries.length; i += 1) {
      this.#cache.removed(this.#entries.at(i)?.bytes ?? 0);
    }
    this.#entries.clear();
    this.generation += 1;
  }

  /** Drops the oldest batch. Only the cache calls this. */
  evict(): void {
    const entry = this.#entries.shift();
    if (entry !== undefined) this.#cache.removed(entry.bytes);
  }

  /**
   * A copy of whole batches from the one that holds `offset`, the first in any case, all below
   * `endOffset`; undefined when the first is not here.
   */
  read(
    offset: number,
    endOffset: number,
    maxBytes: number,
  ): { chunks: Uint8Array[]; bytes: number; nextOffset: number } | undefined {
    const from = this.#find(offset);
    if (from < 0) return undefined;
    let to = from;
    let bytes = 0;
    let nextOffset = offset;
    for (;;) {
      const entry = this.#entries.at(to);
      if (entry === undefined || entry.lastOffset >= endOffset) break;
      if (bytes > 0 && bytes + entry.bytes > maxBytes) break;
      bytes += entry.bytes;
      nextOffset = entry.lastOffset + 1;
      to += 1;
    }
    if (bytes === 0) return { chunks: [], bytes, nextOffset };
    const copy = Buffer.allocUnsafe(bytes);
    let at = 0;
    for (let i = from; i < to; i += 1) {
      const entry = this.#entries.at(i);
      if (entry !== undefined) at += this.#cache.copy(entry, copy, at);
    }
    return { chunks: [copy], bytes, nextOffset };
  }

  /** Index of the batch that holds `offset`, or -1. */
  #find(offset: number): number {
    let low = 0;
    let high = this.#entries.length - 1;
    const first = this.#entries.at(0);
    if (first === undefined || offset < first.baseOffset) return -1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#entries.at(middle)?.baseOffset ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return offset <= (this.#entries.at(low)?.lastOffset ?? -1) ? low : -1;
  }
}

export class TailCache {
  readonly bytesMax: number;
  #ring: Buffer | undefined;
  /** Address of the next batch. */
  #next = 0;
  #bytes = 0;
  readonly #onSkipped: () => void;
  /** Every batch stored, oldest first: so they lie in the ring. */
  readonly #order = new Queue<Entry>();

  /** `onSkipped`: a batch found no room. */
  constructor(bytesMax: number, onSkipped: () => void = () => {}) {
    this.bytesMax = bytesMax;
    this.#onSkipped = onSkipped;
  }

  /** Bytes of batches that can be read. */
  get bytes(): number {
    return this.#bytes;
  }

  /** A partition's part. */
  partition(): PartitionTail {
    return new PartitionTail(this);
  }

  /**
   * Copies a batch into the ring, over the oldest ones; undefined when it is larger than the ring,
   * or would lie over one that is held.
   */
  store(owner: PartitionTail, batch: CachedBatch): Entry | undefined {
    const { prefix, body } = batch;
    const bytes = prefix.length + body.length;
    const size = bytes + entryBytes;
    const { bytesMax } = this;
    if (size > bytesMax) return undefined;
    // Pages of it that were never written take no memory.
    this.#ring ??= Buffer.allocUnsafeSlow(bytesMax);
    const left = bytesMax - (this.#next % bytesMax);
    const address = size > left ? this.#next + left : this.#next;
    if (!this.#makeRoom(address + size - bytesMax)) return undefined;
    this.#next = address + size;
    const at = address % bytesMax;
    this.#ring.set(prefix, at);
    this.#ring.set(body, at + prefix.length);
    const entry = new Entry(this, owner, batch, address);
    this.#order.push(entry);
    this.#bytes += bytes;
    return entry;
  }

  /** Copies a batch out of the ring; returns how many bytes. */
  copy(entry: Entry, target: Buffer, at: number): number {
    const { address, bytes } = entry;
    this.check(entry);
    const from = address % this.bytesMax;
    return this.#ring?.copy(target, at, from, from + bytes) ?? 0;
  }

  /** A batch as it lies in the ring. */
  view({ address, bytes }: Entry): Uint8Array {
    const from = address % this.bytesMax;
    return must(this.#ring, "ring of a cached batch").subarray(from, from + bytes);
  }

  /** Nothing was copied over a batch. */
  check({ address }: Entry): void {
    assert(address >= this.#next - this.bytesMax, "a cached batch was not overwritten");
  }

  removed(bytes: number): void {
    this.#bytes -= bytes;
  }

  /** Drops every batch below an address; false where one of them is held. */
  #makeRoom(below: number): boolean {
    for (;;) {
      const oldest = this.#order.at(0);
      if (oldest === undefined || oldest.address >= below) return true;
      if (oldest.isHeld) {
        this.#onSkipped();
        return false;
      }
      this.#order.shift();
      if (oldest.owner.generation === oldest.generation) oldest.owner.evict();
    }
  }
}
