/** Which records stay: decisions without I/O. */
import type { RecordWalk } from "@millrace/record";
import type { ScannedBatch } from "../segment/batch-scanner.ts";
import type { KeyHash } from "./key-hash.ts";
import type { OffsetMap } from "./offset-map.ts";
import type { Superseded } from "./superseded.ts";

/** What is known of the keys of a log. */
export interface KnownKeys {
  readonly map: OffsetMap;
  readonly hash: KeyHash;
  readonly superseded: Superseded;
  /** `map` and `superseded` know every record from this offset, and before `endOffset`. */
  readonly fromOffset: number;
  readonly endOffset: number;
}

/**
 * Whether a record stays: the latest of its key. The map may not reach to it: then it knows no
 * later one. Records without a key go, as in Kafka. A tombstone is a record like others until
 * `tombstonesGo`.
 */
export const staysIn = (
  { fromOffset, hash, map, superseded }: KnownKeys,
  recordSet: Uint8Array,
  record: RecordWalk,
  offset: number,
  tombstonesGo: boolean,
): boolean => {
  if (record.keyStart < 0) return false;
  const known = offset >= fromOffset ? superseded.has(offset) : undefined;
  if (known === true) return false;
  if (known === undefined) {
    hash.take(recordSet, record.keyStart, record.keyEnd);
    if (offset < map.get(hash)) return false;
  }
  return record.hasValue || !tombstonesGo;
};

/** What is known of a batch without a look at its records: whether all stay, or none. */
export const fateOf = (
  { fromOffset, superseded }: KnownKeys,
  { header, info, lastOffset }: ScannedBatch,
  tombstonesGo: boolean,
): "all" | "none" | undefined => {
  const { baseOffset } = header;
  // Offsets without a record may be many.
  const isFull = lastOffset - baseOffset === info.recordCount - 1;
  if (baseOffset < fromOffset || !isFull) return undefined;
  const going = superseded.countIn(baseOffset, lastOffset);
  if (going === info.recordCount) return "none";
  return going === 0 && !tombstonesGo ? "all" : undefined;
};
