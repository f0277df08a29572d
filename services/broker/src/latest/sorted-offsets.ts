/**
 * Offsets by key, in the order of the keys' bytes: leaves of a few hundred keys each, under one
 * list. An insertion moves the keys of one leaf; nothing is ever sorted or hashed as a whole, so
 * that no single step is long, however many keys there are.
 */
import { must } from "@millrace/errors";

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

interface Leaf {
  /** In order. */
  keys: string[];
  places: PackedPlace[];
}

/** Keys at which a leaf is split. */
const leafKeysMax = 256;

/**
 * Memory of a key besides its bytes: its string, its slots in the leaf and what the leaf has to
 * spare. Measured with a million keys of 16 bytes: 49 bytes for each in order, 55 in any other.
 */
const keyOverheadBytes = 48;

/** Memory that a key takes, bytes. */
const keyBytes = (key: string): number => keyOverheadBytes + key.length;

/** The first index whose key is not below `key`. */
const lowerBound = (keys: readonly string[], key: string): number => {
  let low = 0;
  let high = keys.length;
  while (low < high) {
    const middle = (low + high) >>> 1;
    if ((keys[middle] ?? "") < key) low = middle + 1;
    else high = middle;
  }
  return low;
};

/** Keys are strings with one character, U+0000 to U+00FF, for each byte (`keyOf`). */
export class SortedOffsets {
  readonly #leaves: Leaf[] = [{ keys: [], places: [] }];
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
    const { keys, places } = this.#leafAt(this.#find(key));
    const at = lowerBound(keys, key);
    return keys[at] === key ? unpack(must(places[at], "place of a key")) : undefined;
  }

  /** Sets the place of a key, unless a later one is known. */
  raise(key: string, offset: number, isTombstone: boolean): void {
    const index = this.#find(key);
    const leaf = this.#leafAt(index);
    const at = lowerBound(leaf.keys, key);
    const place = pack(offset, isTombstone);
    if (leaf.keys[at] === key) {
      if (offsetOf(must(leaf.places[at], "place of a key")) < offset) leaf.places[at] = place;
      return;
    }
    leaf.keys.splice(at, 0, key);
    leaf.places.splice(at, 0, place);
    this.#size += 1;
    this.#bytes += keyBytes(key);
    if (leaf.keys.length > leafKeysMax) this.#split(index, at);
  }

  /** Takes a key out, if its latest record is at this offset. */
  delete(key: string, offset: number): void {
    const index = this.#find(key);
    const { keys, places } = this.#leafAt(index);
    const at = lowerBound(keys, key);
    if (keys[at] !== key || offsetOf(must(places[at], "place of a key")) !== offset) return;
    keys.splice(at, 1);
    places.splice(at, 1);
    this.#size -= 1;
    this.#bytes -= keyBytes(key);
    this.#joinNext(index);
    if (index > 0) this.#joinNext(index - 1);
  }

  /**
   * Keys from `from` on, in order, with their places, until `visit` returns false. Nothing may
   * change meanwhile.
   */
  scan(from: string, visit: (key: string, place: Place) => boolean): void {
    let index = this.#find(from);
    let at = lowerBound(this.#leafAt(index).keys, from);
    for (; index < this.#leaves.length; index += 1, at = 0) {
      const { keys, places } = this.#leafAt(index);
      for (; at < keys.length; at += 1) {
        const place = must(places[at], "place of a key");
        if (!visit(must(keys[at], "key of a leaf"), unpack(place))) return;
      }
    }
  }

  /** Takes the keys out of one leaf whose latest records are below `offset`. */
  dropBelow(offset: number, index: number): void {
    const leaf = this.#leaves[index];
    if (leaf === undefined || leaf.places.every((place) => offsetOf(place) >= offset)) return;
    const { keys, places } = leaf;
    leaf.keys = keys.filter((key, at) => {
      const isKept = offsetOf(must(places[at], "place of a key")) >= offset;
      if (!isKept) this.#bytes -= keyBytes(key);
      return isKept;
    });
    leaf.places = places.filter((place) => offsetOf(place) >= offset);
    this.#size -= keys.length - leaf.keys.length;
    this.#joinNext(index);
    if (index > 0) this.#joinNext(index - 1);
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

  /**
   * Splits a leaf in two halves; where the key at `at` came last of all keys, in a full leaf and a
   * new one, so that keys that come in order fill their leaves.
   */
  #split(index: number, at: number): void {
    const { keys, places } = this.#leafAt(index);
    const isLast = index === this.#leaves.length - 1 && at === keys.length - 1;
    const half = isLast ? at : keys.length >>> 1;
    // Slices, because a list that is cut keeps its memory.
    const left = { keys: keys.slice(0, half), places: places.slice(0, half) };
    const right = { keys: keys.slice(half), places: places.slice(half) };
    this.#leaves.splice(index, 1, left, right);
    this.#lows.splice(index + 1, 0, must(right.keys[0], "first key of a half"));
  }

  /** Joins a leaf with the next one where both have few keys. */
  #joinNext(index: number): void {
    const leaf = this.#leafAt(index);
    const next = this.#leaves[index + 1];
    if (next === undefined) return;
    if (leaf.keys.length + next.keys.length > leafKeysMax / 2) return;
    leaf.keys = [...leaf.keys, ...next.keys];
    leaf.places = [...leaf.places, ...next.places];
    this.#leaves.splice(index + 1, 1);
    this.#lows.splice(index + 1, 1);
  }
}
