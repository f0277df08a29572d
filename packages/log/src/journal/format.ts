/**
 * Bytes of a journal round: everything that one commit makes durable, all or nothing.
 *
 *     round  := header table payload… zeros up to a multiple of 4,096
 *     header := "MJR1" round_bytes(4) directory_id(16) round(8) durable_round(8) entries(4) payload_bytes(4)
 *               crc32c(4, of the header before it and the table)                           52 bytes
 *     entry  := kind(1) 0(3) partition(4) topic_id(16) payload_bytes(4) aux(4) value(8)    40 bytes
 *
 * All numbers are little-endian. Payloads lie one after another in the table's order.
 * `durable_round` is the last round that was fsynced before this one was written: where a round is
 * damaged and a later one says that it was durable, bytes rotted; where none says so, the write was
 * torn.
 */
import { crcOf, readU64, type TopicId, writeU64 } from "@millrace/record";
import { atOnce } from "../files/breathe.ts";

/**
 * Rounds begin at multiples of this, so that a torn round never touches its neighbour's sectors.
 */
export const ROUND_ALIGN_BYTES = 4096;
export const ROUND_HEADER_BYTES = 52;
export const ENTRY_BYTES = 40;

const magic = 0x31524a4d;

/** A change of a partition. Its two numbers in an entry are called `value` and `aux` above. */
export type JournalChange =
  /** The payload is the stored batch. value: base offset. aux: its header CRC. */
  | { readonly kind: "batch"; readonly offset: number; readonly headerCrc: number }
  /** value: first offset that was cut. */
  | { readonly kind: "truncate"; readonly offset: number }
  /** The log began anew, empty. value: its start offset. */
  | { readonly kind: "reset"; readonly offset: number }
  /** value: log start offset. */
  | { readonly kind: "logStart"; readonly offset: number }
  /** value: log end offset when the epoch began. aux: leader epoch. */
  | { readonly kind: "epochStart"; readonly offset: number; readonly leaderEpoch: number }
  /** The partition was deleted. */
  | { readonly kind: "deleted" };

/** A change that this version does not know: a newer one wrote it. */
export interface UnknownChange {
  readonly kind: "unknown";
  readonly code: number;
}

const codes = { batch: 1, truncate: 2, logStart: 3, epochStart: 4, deleted: 5, reset: 6 } as const;

/** A change to journal. */
export type JournalEntry = JournalChange & {
  readonly topicId: TopicId;
  readonly partition: number;
  /** The stored batch, or nothing. */
  readonly payload: readonly Uint8Array[];
  readonly payloadBytes: number;
};

const offsetOf = (change: JournalChange): number => (change.kind === "deleted" ? 0 : change.offset);

const auxOf = (change: JournalChange): number => {
  if (change.kind === "batch") return change.headerCrc;
  return change.kind === "epochStart" ? change.leaderEpoch : 0;
};

const changeOf = (code: number, offset: number, aux: number): JournalChange | UnknownChange => {
  switch (code) {
    case codes.batch:
      return { kind: "batch", offset, headerCrc: aux };
    case codes.truncate:
      return { kind: "truncate", offset };
    case codes.logStart:
      return { kind: "logStart", offset };
    case codes.epochStart:
      return { kind: "epochStart", offset, leaderEpoch: aux };
    case codes.deleted:
      return { kind: "deleted" };
    case codes.reset:
      return { kind: "reset", offset };
    default:
      return { kind: "unknown", code };
  }
};

/**
 * No journal comes to it, at a million rounds a second, in a hundred years. A larger one, wherever
 * it is written, is no round: numbers behind it would soon be equal.
 */
export const roundMax = 2 ** 52;

/** Bytes that a round takes in the journal. */
export const roundBytes = (entries: number, payloadBytes: number): number => {
  const bytes = ROUND_HEADER_BYTES + entries * ENTRY_BYTES + payloadBytes;
  return Math.ceil(bytes / ROUND_ALIGN_BYTES) * ROUND_ALIGN_BYTES;
};

const zeros = Buffer.alloc(ROUND_ALIGN_BYTES);

/** The chunks of a round, `roundBytes` long in all. */
export const encodeRound = (
  directoryId: Uint8Array,
  round: number,
  durableRound: number,
  entries: readonly JournalEntry[],
): Uint8Array[] => {
  const head = Buffer.alloc(ROUND_HEADER_BYTES + entries.length * ENTRY_BYTES);
  const chunks: Uint8Array[] = [head];
  let payloadBytes = 0;
  let at = ROUND_HEADER_BYTES;
  for (const entry of entries) {
    head[at] = codes[entry.kind];
    head.writeUInt32LE(entry.partition, at + 4);
    head.write(entry.topicId, at + 8, 16, "hex");
    head.writeUInt32LE(entry.payloadBytes, at + 24);
    head.writeUInt32LE(auxOf(entry) >>> 0, at + 28);
    writeU64(head, at + 32, offsetOf(entry));
    at += ENTRY_BYTES;
    payloadBytes += entry.payloadBytes;
    for (const chunk of entry.payload) chunks.push(chunk);
  }
  const bytes = roundBytes(entries.length, payloadBytes);
  head.writeUInt32LE(magic, 0);
  head.writeUInt32LE(bytes, 4);
  head.set(directoryId, 8);
  writeU64(head, 24, round);
  writeU64(head, 32, durableRound);
  head.writeUInt32LE(entries.length, 40);
  head.writeUInt32LE(payloadBytes, 44);
  head.writeUInt32LE(crcOfHead(head), 48);
  const padding = bytes - head.length - payloadBytes;
  if (padding > 0) chunks.push(zeros.subarray(0, padding));
  return chunks;
};

/** CRC of header and table without the CRC's own four bytes. */
const crcOfHead = (head: Buffer): number =>
  crcOf(head.subarray(ROUND_HEADER_BYTES), crcOf(head.subarray(0, 48)));

/** An entry as found in a file; the payload stays there. */
export interface FoundEntry {
  readonly change: JournalChange | UnknownChange;
  readonly topicId: TopicId;
  readonly partition: number;
  /** Position of the payload relative to the round's first byte. */
  readonly payloadAt: number;
  readonly payloadBytes: number;
}

/** A round whose header and table are whole. Its payloads are still to be checked. */
export interface FoundRound {
  readonly round: number;
  readonly durableRound: number;
  readonly bytes: number;
  readonly entries: readonly FoundEntry[];
}

/** Entries of a round decoded in one turn of the event loop; some milliseconds. */
const entriesPerStep = 4096;

/**
 * Reads the round at `at` of a journal file of this directory; undefined when there is none whole.
 * In steps: one of small batches has more than a hundred thousand.
 */
export function* decodeRoundSteps(
  file: Buffer,
  at: number,
  directoryId: Uint8Array,
): Generator<undefined, FoundRound | undefined, undefined> {
  if (at + ROUND_HEADER_BYTES > file.length || file.readUInt32LE(at) !== magic) return undefined;
  const bytes = file.readUInt32LE(at + 4);
  const count = file.readUInt32LE(at + 40);
  const payloadBytes = file.readUInt32LE(at + 44);
  const headBytes = ROUND_HEADER_BYTES + count * ENTRY_BYTES;
  if (bytes !== roundBytes(count, payloadBytes) || at + bytes > file.length) return undefined;
  const head = file.subarray(at, at + headBytes);
  if (head.readUInt32LE(48) !== crcOfHead(head)) return undefined;
  if (Buffer.compare(head.subarray(8, 24), directoryId) !== 0) return undefined;
  const round = readU64(head, 24);
  if (round > roundMax) return undefined;
  const entries: FoundEntry[] = [];
  let payloadAt = headBytes;
  for (let entryAt = ROUND_HEADER_BYTES; entryAt < headBytes; entryAt += ENTRY_BYTES) {
    const entry: FoundEntry = {
      change: changeOf(
        head[entryAt] ?? 0,
        readU64(head, entryAt + 32),
        head.readUInt32LE(entryAt + 28),
      ),
      topicId: head.toString("hex", entryAt + 8, entryAt + 24) as TopicId,
      partition: head.readUInt32LE(entryAt + 4),
      payloadAt,
      payloadBytes: head.readUInt32LE(entryAt + 24),
    };
    entries.push(entry);
    payloadAt += entry.payloadBytes;
    if (entries.length % entriesPerStep === 0) yield;
  }
  if (payloadAt !== headBytes + payloadBytes) return undefined;
  return { round, durableRound: readU64(head, 32), bytes, entries };
}

/** The same in one go. */
export const decodeRound = (
  file: Buffer,
  at: number,
  directoryId: Uint8Array,
): FoundRound | undefined => atOnce(decodeRoundSteps(file, at, directoryId));
