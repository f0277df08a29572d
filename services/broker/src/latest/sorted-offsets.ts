/**
 * Offsets by key, in the order of the keys' bytes: leaves of a few hundred keys each, under one
 * list. An insertion moves the keys of one leaf; nothing is ever sorted or hashed as a whole, so
 * that no single step is long, however many keys there are.
 */
import { must } from "@millrace/errors";
import { Leaf } from "./leaf.ts";

/** Where the latest record of a key is. */
export interface Place {
  readonly offset: number;
  /** Its value is null. */
  readonly isTombstone: boolean;
}

/** A place as one number, so that a list of them needs no objects: negative for a tombstone. */
type PackedPlace = number;

const pack = (offset: number, isTombstone: boolean): PackedPlace =>
  isTombstone ? -1 - offset : offset;

const offsetOf = (place: PackedPlace): number => (place < 0 ? -1 - place : place);

const unpack = (place: PackedPlace): Place => ({
  offset: offsetOf(place),
  isTombstone: place < 0,
});

/** Keys are strings with one character, U+0000 to U+00FF, for each byte (`keyOf`). */
export class SortedOffsets {
  readonly #leaves: Leaf[] = [new Leaf()];
  /** First key that may be in each leaf; that of the first leaf is empty. */
  readonly #lows: string[] = [""];
  #size = 0;
  #bytes = 0;

  get size(): number {
    return this.#size;
  }

  /** Memory of all keys, about. */
  get bytes(): number {
    return this.#bytes;
  }

  get leaves(): number {
    return this.#leaves.length;
  }

  get(key: string): Place | undefined {
    const leaf = this.#leafAt(this.#find(key));
    const { at, isThere } = leaf.find(key);
    return isThere ? unpack(leaf.valueAt(at)) : undefined;
  }

  /** Sets the place of a key, unless a later one is known. */
  raise(key: string, offset: number, isTombstone: boolean): void {
    const index = this.#find(key);
    const leaf = this.#leafAt(index);
    const { at, isThere } = leaf.find(key);
    const place = pack(offset, isTombstone);
    if (isThere) {
      if (offsetOf(leaf.valueAt(at)) < offset) leaf.setValue(at, place);
      return;
    }
    this.#size += 1;
    if (leaf.hasRoomFor(key)) this.#insert(leaf, at, key, place);
    else this.#split(index, at, key, place);
  }

  /** Takes a key out, if its latest record is at this offset. */
  delete(key: string, offset: number): void {
    const index = this.#find(key);
    const leaf = this.#leafAt(index);
    const { at, isThere } = leaf.find(key);
    if (!isThere || offsetOf(leaf.valueAt(at)) !== offset) return;
    this.#removeIf(index, (_, one) => one === at);
  }

  /**
   * Keys from `from` on, in order, with their places, until `visit` returns false. Nothing may
   * change meanwhile.
   */
  scan(from: string, visit: (key: string, place: Place) => boolean): void {
    let index = this.#find(from);
    let { at } = this.#leafAt(index).find(from);
    for (; index < this.#leaves.length; index += 1, at = 0) {
      const leaf = this.#leafAt(index);
      for (; at < leaf.length; at += 1) {
        if (!visit(leaf.keyAt(at), unpack(leaf.valueAt(at)))) return;
      }
    }
  }

  /** Takes the keys out of one leaf whose latest records are below `offset`. */
  dropBelow(offset: number, index: number): void {
    if (index >= this.#leaves.length) return;
    this.#removeIf(index, (place) => offsetOf(place) < offset);
  }

  /** The leaf that may have a key: the last one that begins at or before it. */
  #find(key: string): number {
    const lows = this.#lows;
    let low = 1;
    let high = lows.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((lows[middle] ?? "") <= key) low = middle + 1;
      else high = middle;
    }
    return low - 1;
  }

  #leafAt(index: number): Leaf {
    return must(this.#leaves[index], "leaf of a key");
  }

  #insert(leaf: Leaf, at: number, key: string, place: PackedPlace): void {
    const before = leaf.memoryBytes;
    leaf.insert(at, key, place);
    this.#bytes += leaf.memoryBytes - before;
  }

  #removeIf(index: number, isRemoved: (place: PackedPlace, at: number) => boolean): void {
    const leaf = this.#leafAt(index);
    const { length, memoryBytes } = leaf;
    leaf.removeIf(isRemoved);
    if (leaf.length === length) return;
    this.#size -= length - leaf.length;
    this.#bytes += leaf.memoryBytes - memoryBytes;
    this.#joinNext(index);
    if (index > 0) this.#joinNext(index - 1);
  }

  /**
   * Splits a leaf that has no room for a key in two halves, and inserts it; where it comes last of
   * all keys, it gets a leaf of its own, so that keys that come in order fill their leaves.
   */
  #split(index: number, at: number, key: string, place: PackedPlace): void {
    const leaf = this.#leafAt(index);
    const before = leaf.memoryBytes;
    const isLast = index === this.#leaves.length - 1 && at === leaf.length;
    const half = isLast ? at : leaf.length >>> 1;
    const right = leaf.split(half);
    const low = isLast ? key : right.keyAt(0);
    this.#bytes += leaf.memoryBytes - before + right.memoryBytes + low.length;
    this.#leaves.splice(index + 1, 0, right);
    this.#lows.splice(index + 1, 0, low);
    if (at < half || (at === half && !isLast)) this.#insert(leaf, at, key, place);
    else this.#insert(right, at - half, key, place);
  }

  /** Joins a leaf with the next one where both have few keys. */
  #joinNext(index: number): void {
    const leaf = this.#leafAt(index);
    const next = this.#leaves[index + 1];
    if (next === undefined || !leaf.joins(next)) return;
    const before = leaf.memoryBytes + next.memoryBytes + (this.#lows[index + 1] ?? "").length;
    leaf.join(next);
    this.#bytes += leaf.memoryBytes - before;
    this.#leaves.splice(index + 1, 1);
    this.#lows.splice(index + 1, 1);
  }
}
