/** What compaction leaves of the records of one batch. */
import {
  type BodyInfo,
  RecordWalk,
  recordBytesWithDelta,
  writeRecordWithDelta,
} from "@millrace/record";

/** Records looked at in one turn of the event loop, less than a millisecond. */
const recordsPerStep = 512;

export interface KeptRecords {
  /** A RecordSet, not compressed. */
  readonly records: Buffer;
  readonly recordCount: number;
  readonly maxTimestampMs: number;
}

/** Bytes that stay as they are, or a record that must say its offset from now on. */
interface Run {
  readonly from: number;
  to: number;
  /** -1: the bytes stay as they are. */
  readonly offsetDelta: number;
}

/**
 * The records for which `stays` holds, in steps; "all" or "none" where that says it. Each keeps its
 * offset and its bytes; one that left its offset to its place in the batch says it from now on.
 */
export function* keptRecords(
  recordSet: Uint8Array,
  { baseTimestampMs }: Pick<BodyInfo, "baseTimestampMs">,
  stays: (record: RecordWalk) => boolean,
): Generator<undefined, KeptRecords | "all" | "none", undefined> {
  const record = new RecordWalk(recordSet, baseTimestampMs);
  const runs: Run[] = [];
  let looked = 0;
  let recordCount = 0;
  let bytes = 0;
  let maxTimestampMs = 0;
  while (record.next()) {
    looked += 1;
    if (looked % recordsPerStep === 0) yield undefined;
    if (!stays(record)) continue;
    recordCount += 1;
    maxTimestampMs = Math.max(maxTimestampMs, record.timestampMs);
    bytes += note(runs, record);
  }
  if (recordCount === looked) return "all";
  if (recordCount === 0) return "none";
  return { records: copied(recordSet, runs, bytes), recordCount, maxTimestampMs };
}

/** Returns the bytes that the record will take. */
const note = (runs: Run[], record: RecordWalk): number => {
  const { bodyStart, end, isDeltaWritten, offsetDelta, start } = record;
  if (!isDeltaWritten) {
    runs.push({ from: bodyStart, to: end, offsetDelta });
    return recordBytesWithDelta(end - bodyStart, offsetDelta);
  }
  const last = runs.at(-1);
  if (last?.offsetDelta === -1 && last.to === start) last.to = end;
  else runs.push({ from: start, to: end, offsetDelta: -1 });
  return end - start;
};

const copied = (recordSet: Uint8Array, runs: readonly Run[], bytes: number): Buffer => {
  const records = Buffer.allocUnsafe(bytes);
  let at = 0;
  for (const { from, to, offsetDelta } of runs) {
    const part = recordSet.subarray(from, to);
    if (offsetDelta >= 0) at = writeRecordWithDelta(records, at, part, offsetDelta);
    else {
      records.set(part, at);
      at += part.length;
    }
  }
  return records;
};
