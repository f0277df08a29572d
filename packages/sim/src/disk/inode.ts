/**
 * The content of one file: what is on the platter, the page cache over it, and what lies between
 * the two.
 */
import type { SeededRandom } from "../random.ts";
import { Bytes } from "./bytes.ts";

/** A change that is not durable: a write, or a new size. */
type Change =
  | { readonly sequence: number; readonly position: number; readonly bytes: Uint8Array }
  | { readonly sequence: number; readonly size: number };

type Write = Extract<Change, { readonly position: number }>;

const isWrite = (change: Change): change is Write => "position" in change;

const apply = (content: Bytes, change: Change): void => {
  if (isWrite(change)) content.write(change.position, change.bytes);
  else content.resize(change.size);
};

/** The parts of a write that another one does not cover. */
const without = (write: Write, cover: Write): Write[] => {
  const { sequence, position, bytes } = write;
  const end = position + bytes.length;
  const coverEnd = cover.position + cover.bytes.length;
  if (end <= cover.position || coverEnd <= position) return [write];
  const parts: Write[] = [];
  if (position < cover.position) {
    parts.push({ sequence, position, bytes: bytes.subarray(0, cover.position - position) });
  }
  if (coverEnd < end) {
    parts.push({ sequence, position: coverEnd, bytes: bytes.subarray(coverEnd - position) });
  }
  return parts;
};

export class Inode {
  #durable: Bytes;
  #cached: Bytes;
  #changes: Change[] = [];
  #sequence = 0;
  /** The page cache shows what will never reach the platter, or hides what rotted on it. */
  #deceptive = false;

  constructor(content: Uint8Array = new Uint8Array()) {
    this.#durable = new Bytes(content);
    this.#cached = new Bytes(content);
  }

  get size(): number {
    return this.#cached.length;
  }

  get durableSize(): number {
    return this.#durable.length;
  }

  /** The content as the next read would see it: a view, valid until the next change. */
  view(): Buffer {
    return this.#cached.view();
  }

  copy(): Inode {
    const copy = new Inode();
    copy.#durable = this.#durable.copy();
    copy.#cached = this.#cached.copy();
    copy.#changes = [...this.#changes];
    copy.#sequence = this.#sequence;
    copy.#deceptive = this.#deceptive;
    return copy;
  }

  /** Takes the bytes over: the caller must not change them. Returns the number of the change. */
  write(position: number, bytes: Uint8Array): number {
    return this.#change({ sequence: this.#sequence++, position, bytes });
  }

  resize(size: number): void {
    this.#change({ sequence: this.#sequence++, size });
  }

  /** What an fsync that begins now covers: every change with a smaller number. */
  get covered(): number {
    return this.#sequence;
  }

  /** An fsync succeeded: the changes below `covered` are durable. */
  synced(covered: number): void {
    const later = this.#changes.findIndex(({ sequence }) => sequence >= covered);
    const count = later < 0 ? this.#changes.length : later;
    for (const change of this.#changes.splice(0, count)) apply(this.#durable, change);
  }

  /**
   * One write that was durable when it returned (O_DSYNC): what was written to the same place
   * before it is past.
   */
  syncedOne(number: number): void {
    const at = this.#changes.findIndex(({ sequence }) => sequence === number);
    const change = this.#changes[at];
    if (change === undefined || !isWrite(change)) return;
    const earlier = this.#changes.slice(0, at);
    if (!earlier.every(isWrite)) {
      this.synced(number + 1);
      return;
    }
    apply(this.#durable, change);
    const left = earlier.flatMap((write) => without(write, change));
    this.#changes = [...left, ...this.#changes.slice(at + 1)];
  }

  /**
   * An fsync failed. The kernel marks the pages clean all the same: the page cache goes on showing
   * them, a later fsync has nothing to do for them, and most of them never reach the platter.
   */
  dropped(covered: number, random: SeededRandom, from = 0): void {
    const kept: Change[] = [];
    for (const change of this.#changes) {
      if (change.sequence >= covered || change.sequence < from) kept.push(change);
      else if (random.chance(0.2)) apply(this.#durable, change);
      else if (isWrite(change) && random.chance(0.5)) {
        const end = change.position + change.bytes.length;
        if (end > this.#durable.length) this.#durable.resize(end);
      }
    }
    this.#changes = kept;
    this.#deceptive = true;
    if (random.chance(0.2)) this.evict();
  }

  /** The page cache is read anew from the platter. */
  evict(): void {
    this.#cached = this.#durable.copy();
    for (const change of this.#changes) apply(this.#cached, change);
    this.#deceptive = false;
  }

  /** Nobody has the file open any more: what the page cache alone knows may go at any time. */
  processDied(random: SeededRandom): void {
    if (this.#deceptive && random.chance(0.5)) this.evict();
  }

  /** Flips a bit on the platter; in the page cache, too, unless `cacheStaysGood`. */
  flip(position: number, bit: number, cacheStaysGood = false): void {
    this.#durable.flip(position, bit);
    if (cacheStaysGood) this.#deceptive = true;
    else this.#cached.flip(position, bit);
  }

  /**
   * Power is cut: of the changes since the last fsync all, some, parts or none reach the platter.
   */
  losePower(random: SeededRandom): void {
    const changes = this.#changes;
    this.#changes = [];
    const fate = random.below(4);
    const keepUpTo = random.below(changes.length + 1);
    for (const [i, change] of changes.entries()) {
      const keep = fate === 0 ? true : fate === 1 ? i < keepUpTo : fate === 2 && random.chance(0.5);
      if (keep) apply(this.#durable, change);
      else if (isWrite(change) && fate === 1 && i === keepUpTo) this.#tear(change, random);
    }
    this.evict();
  }

  #change(change: Change): number {
    apply(this.#cached, change);
    this.#changes.push(change);
    return change.sequence;
  }

  /** A part of a write, in whole sectors, the rest as it was, zeros or junk. */
  #tear(write: Write, random: SeededRandom): void {
    const sector = random.chance(0.5) ? 512 : 4096;
    const { position, bytes } = write;
    const end = position + bytes.length;
    const sectors = Math.ceil(end / sector) - Math.floor(position / sector);
    const upTo = (Math.floor(position / sector) + random.below(sectors + 1)) * sector;
    const kept = Math.max(0, Math.min(upTo - position, bytes.length));
    this.#durable.write(position, bytes.subarray(0, kept));
    if (random.chance(0.5)) return;
    const rest = bytes.length - kept;
    const filler = random.chance(0.5) ? new Uint8Array(rest) : random.bytes(rest);
    // A sector that is written over with what it holds stays as it is.
    for (let at = position + kept; at < end; ) {
      const to = Math.min(end, (Math.floor(at / sector) + 1) * sector);
      const part = bytes.subarray(at - position, to - position);
      const held = this.#durable.view().subarray(at, to);
      if (Buffer.compare(part, held) !== 0) {
        this.#durable.write(at, filler.subarray(at - position - kept, to - position - kept));
      }
      at = to;
    }
  }
}
