/** Writes what is left of one segment to a file of its own. */
import { encodeBody } from "@millrace/record";
import { inSteps } from "../files/breathe.ts";
import type { ScannedBatch } from "../segment/batch-scanner.ts";
import { type BatchPlace, emptyBody } from "../segment/empty-batch.ts";
import type { CleanedFile } from "./cleaned-file.ts";
import { type KeptRecords, keptRecords } from "./kept-records.ts";
import type { SegmentFile, SegmentRules } from "./pass.ts";
import { type Cleaning, isLeftAlone, readBatches, recordSetOf } from "./read-batches.ts";
import { fateOf, type KnownKeys, staysIn } from "./rules.ts";

/** Returns whether anything of the segment is gone. */
export const cleanSegment = async (
  cleaning: Cleaning,
  segment: SegmentFile,
  keys: KnownKeys,
  { tombstonesGo, producersAt }: SegmentRules,
  output: CleanedFile,
): Promise<boolean> => {
  const { clock } = cleaning;
  let changed = false;

  const keptOf = async (batch: ScannedBatch): Promise<KeptRecords | "all" | "none"> => {
    const { header, info } = batch;
    if (isLeftAlone(batch) || header.baseOffset >= keys.endOffset) return "all";
    if (info.recordCount === 0) return "none";
    const fate = fateOf(keys, batch, tombstonesGo);
    if (fate !== undefined) return fate;
    const set = recordSetOf(cleaning, batch);
    const records = set instanceof Promise ? await set : set;
    return inSteps(
      clock,
      keptRecords(records, info, (record) =>
        staysIn(keys, records, record, header.baseOffset + record.offsetDelta, tombstonesGo),
      ),
    );
  };

  await readBatches(cleaning, segment, async (batch, stored) => {
    const { info } = batch;
    const place = placeOf(batch);
    const before = output.segment.sizeBytes;
    const kept = await keptOf(batch);
    if (kept === "all") await output.keep(place, stored, info.maxTimestampMs);
    else if (kept !== "none") {
      await output.change(place, await bodyOf(cleaning, batch, kept), kept.maxTimestampMs);
      changed = true;
    } else {
      if (info.recordCount > 0) changed = true;
      const producer = info.producerId >= 0 && producersAt.has(place.baseOffset) ? info : undefined;
      if (producer === undefined) await output.leaveOut(place);
      else await output.change(place, emptyBody(place, producer), 0);
    }
    await cleaning.throttle.took(output.segment.sizeBytes - before);
    return true;
  });
  await output.finish();
  cleaning.counts.writtenBytes += output.writtenBytes;
  return changed || output.segment.sizeBytes !== segment.sizeBytes;
};

const placeOf = ({ header, lastOffset }: ScannedBatch): BatchPlace => {
  const { baseOffset, leaderEpoch, appendTimeMs } = header;
  return { baseOffset, lastOffset, leaderEpoch, appendTimeMs };
};

/** The body of a batch with some of its records, compressed as before. */
const bodyOf = async (
  { compressor }: Cleaning,
  { info }: ScannedBatch,
  { records, recordCount, maxTimestampMs }: KeptRecords,
): Promise<Buffer> => {
  const { compression, baseTimestampMs, lastOffsetDelta } = info;
  const packed = compression === "none" ? records : await compressor.compress(compression, records);
  const producer = info.producerId < 0 ? undefined : info;
  return encodeBody(
    { compression, recordCount, baseTimestampMs, maxTimestampMs, lastOffsetDelta, producer },
    packed,
  );
};
