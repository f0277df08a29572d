/** Finds the last offset of every key in the part of a log that was not cleaned yet. */
import { RecordWalk } from "@millrace/record";
import { inSteps } from "../files/breathe.ts";
import type { Mapped, SegmentFile } from "./pass.ts";
import { type Cleaning, isLeftAlone, readBatches, recordSetOf } from "./read-batches.ts";
import type { KnownKeys } from "./rules.ts";

/** Records looked at in one turn of the event loop, less than a millisecond. */
const recordsPerStep = 512;

type Notes = Omit<KnownKeys, "endOffset">;

/**
 * Notes the keys of a segment from `notes.fromOffset` on; the map had come to `begunAt`.
 * It may be full before the end.
 */
export const mapKeys = async (
  cleaning: Cleaning,
  segment: SegmentFile,
  notes: Notes,
  begunAt: number,
): Promise<Mapped> => {
  let endOffset = begunAt;
  let isFull = false;
  await readBatches(cleaning, segment, async (batch) => {
    const { header, info, lastOffset } = batch;
    if (lastOffset < notes.fromOffset) return true;
    if (info.recordCount > 0 && !isLeftAlone(batch)) {
      const set = recordSetOf(cleaning, batch);
      const records = set instanceof Promise ? await set : set;
      const walk = new RecordWalk(records, info.baseTimestampMs);
      const fullAt = await inSteps(
        cleaning.clock,
        noteKeys(records, walk, header.baseOffset, notes),
      );
      isFull = fullAt !== undefined;
      if (isFull) endOffset = fullAt ?? endOffset;
    }
    if (!isFull) endOffset = lastOffset + 1;
    return !isFull;
  });
  return { endOffset, isFull };
};

/** In steps. The offset of the record that the map had no room for; undefined where it had. */
function* noteKeys(
  records: Uint8Array,
  walk: RecordWalk,
  baseOffset: number,
  { fromOffset, hash, map, superseded }: Notes,
): Generator<undefined, number | undefined, undefined> {
  let looked = 0;
  while (walk.next()) {
    looked += 1;
    if (looked % recordsPerStep === 0) yield undefined;
    const offset = baseOffset + walk.offsetDelta;
    if (offset < fromOffset) continue;
    superseded.look(offset);
    if (walk.keyStart < 0) {
      superseded.add(offset);
      continue;
    }
    hash.take(records, walk.keyStart, walk.keyEnd);
    const before = map.put(hash, offset);
    if (before === undefined) return offset;
    if (before >= 0) superseded.add(before);
  }
  return undefined;
}
