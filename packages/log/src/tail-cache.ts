/** The newest batches of every partition, in memory, bounded in bytes; the oldest go first. */

export interface CachedBatch {
  readonly baseOffset: number;
  readonly lastOffset: number;
  readonly prefix: Uint8Array;
  readonly body: Uint8Array;
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

const sizeOf = (batch: CachedBatch): number => batch.prefix.length + batch.body.length + 128;

/** One partition's part: a contiguous run of batches that ends at the log end offset. */
export class PartitionTail {
  readonly #batches = new Queue<CachedBatch>();
  readonly #cache: TailCache;
  /** Elements of the cache's order that were queued under an older generation are void. */
  generation = 0;

  constructor(cache: TailCache) {
    this.#cache = cache;
  }

  /** Appends; `batch` follows the last one. */
  push(batch: CachedBatch): void {
    this.#batches.push(batch);
    this.#cache.added(this, sizeOf(batch));
  }

  /** Forgets everything (truncation, deletion). */
  clear(): void {
    for (let i = 0; i < this.#batches.length; i += 1) {
      const batch = this.#batches.at(i);
      if (batch !== undefined) this.#cache.removed(sizeOf(batch));
    }
    this.#batches.clear();
    this.generation += 1;
  }

  /** Drops the oldest batch. Only the cache calls this. */
  evict(): void {
    const batch = this.#batches.shift();
    if (batch !== undefined) this.#cache.removed(sizeOf(batch));
  }

  /** Whole batches from the one that holds `offset`, the first in any case, all below `endOffset`;
   * undefined when the first is not here. */
  read(
    offset: number,
    endOffset: number,
    maxBytes: number,
  ): { chunks: Uint8Array[]; bytes: number; nextOffset: number } | undefined {
    let index = this.#find(offset);
    if (index < 0) return undefined;
    const chunks: Uint8Array[] = [];
    let bytes = 0;
    let nextOffset = offset;
    for (;;) {
      const batch = this.#batches.at(index);
      if (batch === undefined || batch.lastOffset >= endOffset) break;
      const size = batch.prefix.length + batch.body.length;
      if (bytes > 0 && bytes + size > maxBytes) break;
      chunks.push(batch.prefix, batch.body);
      bytes += size;
      nextOffset = batch.lastOffset + 1;
      index += 1;
    }
    return { chunks, bytes, nextOffset };
  }

  /** Index of the batch that holds `offset`, or -1. */
  #find(offset: number): number {
    let low = 0;
    let high = this.#batches.length - 1;
    const first = this.#batches.at(0);
    if (first === undefined || offset < first.baseOffset) return -1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if ((this.#batches.at(middle)?.baseOffset ?? 0) <= offset) low = middle;
      else high = middle - 1;
    }
    return offset <= (this.#batches.at(low)?.lastOffset ?? -1) ? low : -1;
  }
}

export class TailCache {
  readonly bytesMax: number;
  #bytes = 0;
  /** One element per cached batch, oldest first. */
  readonly #order = new Queue<{ owner: PartitionTail; generation: number }>();

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax;
  }

  get bytes(): number {
    return this.#bytes;
  }

  /** A partition's part. */
  partition(): PartitionTail {
    return new PartitionTail(this);
  }

  added(owner: PartitionTail, bytes: number): void {
    this.#bytes += bytes;
    this.#order.push({ owner, generation: owner.generation });
    while (this.#bytes > this.bytesMax) {
      const oldest = this.#order.shift();
      if (oldest === undefined) return;
      if (oldest.owner.generation === oldest.generation) oldest.owner.evict();
    }
  }

  removed(bytes: number): void {
    this.#bytes -= bytes;
  }
}
