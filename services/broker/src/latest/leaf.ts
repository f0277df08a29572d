/**
 * Some hundred keys in order, with a number for each, in one piece of memory: to the garbage
 * collector it is a handful of objects, however many keys there are. A key is a string with one
 * character, U+0000 to U+00FF, for each byte (`keyOf`).
 */
import { assert } from "@millrace/errors";

/** Keys of a leaf at most. */
const leafKeysMax = 256;
/** Bytes of the keys of a leaf at most, unless it is one key: an insertion moves them. */
const leafBytesMax = 64 * 1024;
/** Least room for keys of a leaf that has any. */
const keysMin = 8;
const bytesMin = 64;
/** Bytes of a key's number, and of the position at which the key ends. */
const slotBytes = 8 + 4;
/**
 * Memory of a leaf besides its buffer: itself, its views and what the allocator adds. Measured with
 * a million keys of 16 bytes.
 */
const leafOverheadBytes = 640;

interface Room {
  readonly keysMax: number;
  readonly bytesMax: number;
  readonly values: Float64Array;
  /** Where each key ends in `bytes`: it begins where the one before it ends. */
  readonly ends: Uint32Array;
  readonly bytes: Buffer;
}

const roomFor = (keysMax: number, bytesMax: number): Room => {
  const memory = new ArrayBuffer(keysMax * slotBytes + bytesMax);
  return {
    keysMax,
    bytesMax,
    values: new Float64Array(memory, 0, keysMax),
    ends: new Uint32Array(memory, keysMax * 8, keysMax),
    bytes: Buffer.from(memory, keysMax * slotBytes, bytesMax),
  };
};

/** Where a key is in a leaf, or would be. */
export interface Spot {
  readonly at: number;
  readonly isThere: boolean;
}

export class Leaf {
  #room: Room;
  #length = 0;

  /** With room for so many keys of so many bytes together; more is made when it is needed. */
  constructor(keys = 0, bytes = 0) {
    this.#room = roomFor(keys, bytes);
  }

  get length(): number {
    return this.#length;
  }

  /** Memory, bytes, about. */
  get memoryBytes(): number {
    const { bytesMax, keysMax } = this.#room;
    return keysMax === 0 ? 0 : leafOverheadBytes + keysMax * slotBytes + bytesMax;
  }

  /** The first key that is not below `key`, and whether it is that one. */
  find(key: string): Spot {
    let low = 0;
    let high = this.#length;
    // A key between two that begin alike begins so, too: those bytes are not compared again.
    let likeLow = 0;
    let likeHigh = 0;
    let isThere = false;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const like = this.#alike(middle, key, Math.min(likeLow, likeHigh));
      const order = this.#order(middle, key, like);
      if (order < 0) {
        low = middle + 1;
        likeLow = like;
      } else {
        high = middle;
        likeHigh = like;
        isThere = order === 0;
      }
    }
    return { at: low, isThere };
  }

  keyAt(at: number): string {
    return this.#room.bytes.toString("latin1", this.#startOf(at), this.#endOf(at));
  }

  valueAt(at: number): number {
    assert(at < this.#length, "a leaf has the key that is asked for");
    return this.#room.values[at] ?? 0;
  }

  setValue(at: number, value: number): void {
    assert(at < this.#length, "a leaf has the key that is changed");
    this.#room.values[at] = value;
  }

  /** False: it must be split before the key is inserted. */
  hasRoomFor(key: string): boolean {
    if (this.#length >= leafKeysMax) return false;
    return this.#length < 2 || this.#used + key.length <= leafBytesMax;
  }

  /** Whether both are small enough for one. */
  joins(next: Leaf): boolean {
    if (this.#length === 0 || next.#length === 0) return true;
    const keys = this.#length + next.#length;
    return keys <= leafKeysMax / 2 && this.#used + next.#used <= leafBytesMax / 2;
  }

  /** `at` is where `find` says that the key would be. */
  insert(at: number, key: string, value: number): void {
    assert(at <= this.#length && this.#length < leafKeysMax, "a leaf has room for a key");
    const count = this.#length;
    const start = this.#startOf(at);
    const used = this.#used;
    this.#grow(count + 1, used + key.length);
    const { bytes, ends, values } = this.#room;
    bytes.copyWithin(start + key.length, start, used);
    bytes.write(key, start, "latin1");
    values.copyWithin(at + 1, at, count);
    values[at] = value;
    for (let i = count; i > at; i -= 1) ends[i] = (ends[i - 1] ?? 0) + key.length;
    ends[at] = start + key.length;
    this.#length = count + 1;
  }

  /** Takes keys out. */
  removeIf(isRemoved: (value: number, at: number) => boolean): void {
    const { bytes, ends, values } = this.#room;
    let kept = 0;
    let keptBytes = 0;
    let start = 0;
    for (let at = 0; at < this.#length; at += 1) {
      const end = ends[at] ?? 0;
      const value = values[at] ?? 0;
      if (!isRemoved(value, at)) {
        if (kept < at) bytes.copyWithin(keptBytes, start, end);
        keptBytes += end - start;
        ends[kept] = keptBytes;
        values[kept] = value;
        kept += 1;
      }
      start = end;
    }
    this.#length = kept;
    this.#shrink();
  }

  /** Cuts the keys from `at` on off, as a leaf of their own. */
  split(at: number): Leaf {
    const from = this.#startOf(at);
    const right = new Leaf(leafKeysMax, roomier(this.#used - from));
    right.#take(this, at);
    this.#length = at;
    this.#shrink();
    return right;
  }

  /** Adds the keys of the leaf behind it. */
  join(next: Leaf): void {
    this.#grow(this.#length + next.#length, this.#used + next.#used);
    this.#take(next, 0);
  }

  /** Copies the keys of another leaf from `from` on behind its own. */
  #take(other: Leaf, from: number): void {
    const { bytes, ends, values } = this.#room;
    const start = other.#startOf(from);
    const used = this.#used;
    other.#room.bytes.copy(bytes, used, start, other.#used);
    for (let i = from, to = this.#length; i < other.#length; i += 1, to += 1) {
      ends[to] = used + other.#endOf(i) - start;
      values[to] = other.#room.values[i] ?? 0;
    }
    this.#length += other.#length - from;
  }

  get #used(): number {
    return this.#startOf(this.#length);
  }

  #startOf(at: number): number {
    return at === 0 ? 0 : this.#endOf(at - 1);
  }

  #endOf(at: number): number {
    return this.#room.ends[at] ?? 0;
  }

  /** Bytes with which a key of the leaf and another begin alike; `from` of them are known. */
  #alike(at: number, key: string, from: number): number {
    const { bytes } = this.#room;
    const start = this.#startOf(at);
    const most = Math.min(this.#endOf(at) - start, key.length);
    let like = from;
    while (like < most && bytes[start + like] === key.charCodeAt(like)) like += 1;
    return like;
  }

  /** Below 0: the key of the leaf comes before the other. `like` is what `#alike` said. */
  #order(at: number, key: string, like: number): number {
    const start = this.#startOf(at);
    const length = this.#endOf(at) - start;
    if (like === length || like === key.length) return length - key.length;
    return (this.#room.bytes[start + like] ?? 0) - key.charCodeAt(like);
  }

  #grow(keys: number, bytes: number): void {
    const { bytesMax, keysMax } = this.#room;
    if (keys <= keysMax && bytes <= bytesMax) return;
    const more = Math.max(keys, Math.min(Math.max(2 * keysMax, keysMin), leafKeysMax));
    this.#move(keys <= keysMax ? keysMax : more, bytes <= bytesMax ? bytesMax : roomier(bytes));
  }

  /** Gives memory back once three quarters of that of the keys are free. */
  #shrink(): void {
    const { bytesMax } = this.#room;
    const used = this.#used;
    if (this.#length === 0) this.#room = roomFor(0, 0);
    else if (bytesMax > 2 * bytesMin && used <= bytesMax / 4) {
      this.#move(Math.max(keysMin, this.#length), roomier(used));
    }
  }

  #move(keys: number, bytes: number): void {
    const { bytes: from, ends, values } = this.#room;
    const used = this.#used;
    this.#room = roomFor(keys, bytes);
    from.copy(this.#room.bytes, 0, 0, used);
    this.#room.ends.set(ends.subarray(0, this.#length));
    this.#room.values.set(values.subarray(0, this.#length));
  }
}

/** A quarter more, so that not every key moves all. */
const roomier = (bytes: number): number => bytes + (bytes >> 2) + bytesMin;
