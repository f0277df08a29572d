/** Which records stay: decisions without I/O. */
import type { RecordWalk } from "@millrace/record";
import type { KeyHash } from "./key-hash.ts";
import type { OffsetMap } from "./offset-map.ts";

/** What is known of the keys of a log. */
export interface KnownKeys {
  readonly map: OffsetMap;
  readonly hash: KeyHash;
  /** The map has the keys of every record before this offset that was not cleaned before. */
  readonly endOffset: number;
}

/**
 * Whether a record stays: the latest of its key. The map may not reach to it: then it knows no
 * later one. Records without a key go, as in Kafka. A tombstone is a record like others until
 * `tombstonesGo`.
 */
export const staysIn = (
  { map, hash }: KnownKeys,
  recordSet: Uint8Array,
  record: RecordWalk,
  offset: number,
  tombstonesGo: boolean,
): boolean => {
  if (record.keyStart < 0) return false;
  hash.take(recordSet, record.keyStart, record.keyEnd);
  if (offset < map.get(hash)) return false;
  return record.hasValue || !tombstonesGo;
};
