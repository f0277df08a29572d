/**
 * The last offset of every key, by the key's hash: 24 bytes for each, within a bound. The table is
 * cut into shards, which grow one at a time: to grow one table of a hundred MiB would hold the
 * event loop for a second.
 */
import { assert } from "@millrace/errors";
import type { KeyHash } from "./key-hash.ts";

const shardCount = 256;
/** Four words of the hash, and the offset. */
const entryBytes = 24;
/** Entries of a shard at first. */
const firstEntries = 16;
/** Part of a shard that may be in use. */
const loadMax = 0.85;

/** Memory of the smallest map, bytes. */
export const mapBytesMin = shardCount * firstEntries * entryBytes;

interface Shard {
  /** Four words for each entry. */
  hashes: Uint32Array;
  /** One more than the offset; 0: the entry is free. */
  offsets: Float64Array;
  count: number;
}

const shardOf = (entries: number): Shard => ({
  hashes: new Uint32Array(entries * 4),
  offsets: new Float64Array(entries),
  count: 0,
});

export class OffsetMap {
  readonly #shards: Shard[];
  readonly #entriesMax: number;
  #size = 0;
  #entries = 0;

  /** `bytesMax`: of the memory; a little more than `mapBytesMin` is taken anyway. */
  constructor(bytesMax: number) {
    assert(bytesMax >= mapBytesMin, "a map has room for some keys");
    this.#entriesMax = Math.floor(bytesMax / entryBytes / shardCount);
    this.#shards = Array.from({ length: shardCount }, () => shardOf(firstEntries));
    this.#entries = shardCount * firstEntries;
  }

  /** Keys. */
  get size(): number {
    return this.#size;
  }

  /** Memory in use. */
  get bytes(): number {
    return this.#entries * entryBytes;
  }

  /**
   * Notes an offset of the key that was hashed last. Returns the one before, -1 for none;
   * undefined, without effect, where it is full.
   */
  put(hash: KeyHash, offset: number): number | undefined {
    const index = hash.a % shardCount;
    let shard = this.#shardAt(index);
    let at = placeIn(shard, hash);
    const before = (shard.offsets[at] ?? 0) - 1;
    if (before < 0) {
      if (shard.count + 1 > shard.offsets.length * loadMax) {
        if (!this.#grow(index)) return undefined;
        shard = this.#shardAt(index);
        at = placeIn(shard, hash);
      }
      fill(shard, at, hash);
      shard.count += 1;
      this.#size += 1;
    }
    shard.offsets[at] = offset + 1;
    return before;
  }

  /** The offset that was noted last for the key that was hashed last; -1 for none. */
  get(hash: KeyHash): number {
    const shard = this.#shardAt(hash.a % shardCount);
    return (shard.offsets[placeIn(shard, hash)] ?? 0) - 1;
  }

  #shardAt(index: number): Shard {
    const shard = this.#shards[index];
    assert(shard !== undefined, "every hash has a shard");
    return shard;
  }

  #grow(index: number): boolean {
    const small = this.#shardAt(index);
    const { length } = small.offsets;
    const wanted = Math.min(length * 2, this.#entriesMax);
    if (wanted <= length) return false;
    const large = shardOf(wanted);
    const key = { a: 0, b: 0, c: 0, d: 0 };
    for (let at = 0; at < length; at += 1) {
      const offset = small.offsets[at] ?? 0;
      if (offset === 0) continue;
      key.a = small.hashes[4 * at] ?? 0;
      key.b = small.hashes[4 * at + 1] ?? 0;
      key.c = small.hashes[4 * at + 2] ?? 0;
      key.d = small.hashes[4 * at + 3] ?? 0;
      const to = placeIn(large, key);
      fill(large, to, key);
      large.offsets[to] = offset;
    }
    large.count = small.count;
    this.#shards[index] = large;
    this.#entries += wanted - length;
    return true;
  }
}

type Words = Pick<KeyHash, "a" | "b" | "c" | "d">;

const fill = ({ hashes }: Shard, at: number, { a, b, c, d }: Words): void => {
  hashes[4 * at] = a;
  hashes[4 * at + 1] = b;
  hashes[4 * at + 2] = c;
  hashes[4 * at + 3] = d;
};

/** The entry of a key, or the free one where it belongs. There is always one. */
const placeIn = ({ hashes, offsets }: Shard, { a, b, c, d }: Words): number => {
  const { length } = offsets;
  let at = Math.floor((b / 0x1_0000_0000) * length);
  for (;;) {
    if ((offsets[at] ?? 0) === 0) return at;
    const first = 4 * at;
    const same =
      hashes[first] === a &&
      hashes[first + 1] === b &&
      hashes[first + 2] === c &&
      hashes[first + 3] === d;
    if (same) return at;
    at = at + 1 === length ? 0 : at + 1;
  }
};
