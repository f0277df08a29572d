/**
 * The records that GetLatest answered with last, of all partitions of a broker. They are copied
 * into one ring, the newest over the oldest, and found through a table, so that nothing is evicted,
 * and nothing is left to the garbage collector. A committed record never changes: none is ever
 * taken out, and the index knows whether it is still the latest of its key.
 */
import { fromBinary, toBinary } from "@bufbuild/protobuf";
import { type FetchedRecord, FetchedRecordSchema } from "@millrace/proto/broker";

/** The table has a slot for so many bytes of the ring: several offsets share it, one has it. */
const bytesPerSlot = 256;
/** Records larger than this part of the ring stay out. */
const partMax = 1 / 64;

interface Room {
  readonly ring: Buffer;
  /** Of each slot: whose record at which offset it is, and where. */
  readonly owners: Float64Array;
  readonly offsets: Float64Array;
  readonly addresses: Float64Array;
  readonly lengths: Uint32Array;
}

const roomOf = (bytesMax: number): Room => {
  const slots = Math.ceil(bytesMax / bytesPerSlot);
  return {
    // Pages of it that were never written take no memory.
    ring: Buffer.allocUnsafeSlow(bytesMax),
    owners: new Float64Array(slots),
    offsets: new Float64Array(slots),
    addresses: new Float64Array(slots),
    lengths: new Uint32Array(slots),
  };
};

export class RecordCache {
  readonly #bytesMax: number;
  #room: Room | undefined;
  /** Address of the next record. Never wraps: the place in the ring is `address % bytesMax`. */
  #next = 0;
  #owners = 0;

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** A name for somebody's offsets, which nobody had before. */
  newOwner(): number {
    this.#owners += 1;
    return this.#owners;
  }

  /** The owner's record at an offset, with memory of its own. */
  get(owner: number, offset: number): FetchedRecord | undefined {
    const room = this.#room;
    if (room === undefined) return undefined;
    const slot = slotOf(room, owner, offset);
    if (room.owners[slot] !== owner || room.offsets[slot] !== offset) return undefined;
    const address = room.addresses[slot] ?? 0;
    if (address + this.#bytesMax < this.#next) return undefined;
    const at = address % this.#bytesMax;
    const bytes = new Uint8Array(room.ring.subarray(at, at + (room.lengths[slot] ?? 0)));
    // One that is asked for again goes before those that are not.
    if (address + this.#bytesMax / 2 < this.#next) this.#store(owner, offset, bytes);
    return fromBinary(FetchedRecordSchema, bytes);
  }

  put(owner: number, offset: number, record: FetchedRecord): void {
    const bytes = toBinary(FetchedRecordSchema, record);
    if (bytes.length <= this.#bytesMax * partMax) this.#store(owner, offset, bytes);
  }

  #store(owner: number, offset: number, bytes: Uint8Array): void {
    this.#room ??= roomOf(this.#bytesMax);
    const room = this.#room;
    const left = this.#bytesMax - (this.#next % this.#bytesMax);
    const address = bytes.length > left ? this.#next + left : this.#next;
    this.#next = address + bytes.length;
    room.ring.set(bytes, address % this.#bytesMax);
    const slot = slotOf(room, owner, offset);
    room.owners[slot] = owner;
    room.offsets[slot] = offset;
    room.addresses[slot] = address;
    room.lengths[slot] = bytes.length;
  }
}

const slotOf = ({ lengths }: Room, owner: number, offset: number): number =>
  (owner * 7_919 + offset) % lengths.length;
