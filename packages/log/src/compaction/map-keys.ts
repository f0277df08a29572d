/** Finds the last offset of every key in the part of a log that was not cleaned yet. */
import { RecordWalk } from "@millrace/record";
import { inSteps } from "../files/breathe.ts";
import type { Segment } from "../segment/segment.ts";
import type { KeyHash } from "./key-hash.ts";
import type { OffsetMap } from "./offset-map.ts";
import { type Cleaning, isLeftAlone, readBatches, recordSetOf } from "./read-batches.ts";

/** Records looked at in one turn of the event loop; some milliseconds. */
const recordsPerStep = 2048;

/**
 * Notes the keys of `segments` from `fromOffset` on. Returns the offset that it came to: the map
 * may be full before the end.
 */
export const mapKeys = async (
  cleaning: Cleaning,
  segments: readonly Segment[],
  fromOffset: number,
  map: OffsetMap,
  hash: KeyHash,
): Promise<number> => {
  const { clock } = cleaning.context.env;
  let endOffset = fromOffset;
  let isFull = false;
  for (const segment of segments) {
    await readBatches(cleaning, segment, async (batch) => {
      const { header, info, lastOffset } = batch;
      if (lastOffset < fromOffset) return true;
      if (info.recordCount > 0 && !isLeftAlone(batch)) {
        const set = recordSetOf(cleaning, batch);
        const records = set instanceof Promise ? await set : set;
        const walk = new RecordWalk(records, info.baseTimestampMs);
        const noted = noteKeys(records, walk, header.baseOffset, fromOffset, map, hash);
        const fullAt = await inSteps(clock, noted);
        isFull = fullAt !== undefined;
        if (isFull) endOffset = fullAt ?? endOffset;
      }
      if (!isFull) endOffset = lastOffset + 1;
      return !isFull;
    });
    if (isFull) break;
  }
  return endOffset;
};

/** In steps. The offset of the record that the map had no room for; undefined where it had. */
function* noteKeys(
  records: Uint8Array,
  walk: RecordWalk,
  baseOffset: number,
  fromOffset: number,
  map: OffsetMap,
  hash: KeyHash,
): Generator<undefined, number | undefined, undefined> {
  let looked = 0;
  while (walk.next()) {
    looked += 1;
    if (looked % recordsPerStep === 0) yield undefined;
    const offset = baseOffset + walk.offsetDelta;
    if (walk.keyStart < 0 || offset < fromOffset) continue;
    hash.take(records, walk.keyStart, walk.keyEnd);
    if (!map.put(hash, offset)) return offset;
  }
  return undefined;
}
