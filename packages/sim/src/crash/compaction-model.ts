/** What compaction may have left of a log, and what it must not have taken. */
import { type DecodedRecord, decodeRecords, parseBody } from "@millrace/record";
import { type FoundBatch, isSame, type ModelBatch, stampOf } from "./batches.ts";

/** A record, by what compaction looks at. */
interface KeyedRecord {
  readonly offset: number;
  readonly key: string;
  readonly isTombstone: boolean;
  readonly content: string;
}

/** What a log promised, as far as compaction is concerned. */
export interface CompactedLog {
  readonly batches: readonly ModelBatch[];
  /** The highest that the high watermark ever was. */
  readonly highWatermarkMax: number;
  /** Tombstones may go after a while. */
  readonly tombstonesGo: boolean;
}

const textOf = (bytes: Uint8Array | undefined): string =>
  bytes === undefined ? "null" : Buffer.from(bytes).toString();

const keyed = (baseOffset: number, record: DecodedRecord): KeyedRecord => ({
  offset: baseOffset + record.offsetDelta,
  key: textOf(record.key),
  isTombstone: record.value === undefined,
  content: `${textOf(record.key)}=${textOf(record.value)}@${record.timestampMs}`,
});

const known = new WeakMap<ModelBatch["batch"], readonly KeyedRecord[]>();

const recordsOf = ({ batch, baseOffset }: ModelBatch): readonly KeyedRecord[] => {
  const before = known.get(batch);
  if (before?.[0]?.offset === baseOffset) return before;
  const { info } = batch;
  const records = decodeRecords(info.records, info.baseTimestampMs).map((record) =>
    keyed(baseOffset, record),
  );
  known.set(batch, records);
  return records;
};

export const foundRecords = ({ body, baseOffset }: FoundBatch): readonly KeyedRecord[] => {
  const info = parseBody(body);
  return decodeRecords(info.records, info.baseTimestampMs).map((record) =>
    keyed(baseOffset, record),
  );
};

/** Whether a record may be missing: a later one of its key was readable, or it says nothing. */
export const mayBeGone = (log: CompactedLog, record: KeyedRecord): boolean => {
  if (record.offset >= log.highWatermarkMax) return false;
  if (record.isTombstone && log.tombstonesGo) return true;
  return log.batches.some(
    (batch) =>
      batch.lastOffset > record.offset &&
      recordsOf(batch).some(
        ({ key, offset }) =>
          key === record.key && offset > record.offset && offset < log.highWatermarkMax,
      ),
  );
};

/** Why a batch that was found is not what compaction may leave of the log; undefined if it is. */
export const problemOfCleaned = (log: CompactedLog, found: FoundBatch): string | undefined => {
  const { appendTimeMs, baseOffset, lastOffset, leaderEpoch } = found;
  const of = log.batches.filter(
    (batch) => batch.baseOffset >= baseOffset && batch.lastOffset <= lastOffset,
  );
  const [first] = of;
  const last = of.at(-1);
  if (first?.baseOffset !== baseOffset || last?.lastOffset !== lastOffset) return "other bounds";
  if (of.length === 1 && isSame(found, first)) return undefined;
  if (of.some((batch) => batch.leaderEpoch !== leaderEpoch)) return "another epoch";
  if (last.appendTimeMs !== appendTimeMs) return "another append time";
  const left = foundRecords(found);
  const before = of.flatMap(recordsOf);
  const { producerId, producerEpoch, baseSequence } = parseBody(found.body);
  const stamp = stampOf(first.batch);
  const isStamped = producerId >= 0;
  if (left.length > 0 && isStamped !== (stamp !== undefined)) return "another producer";
  if (isStamped) {
    const same =
      stamp?.producerId === producerId &&
      stamp.producerEpoch === producerEpoch &&
      stamp.baseSequence === baseSequence;
    if (!same || of.length > 1) return "another producer";
  }
  for (const { content, offset } of left) {
    if (before.find((record) => record.offset === offset)?.content !== content) {
      return `another record ${offset}`;
    }
  }
  const gone = before.filter(({ offset }) => !left.some((record) => record.offset === offset));
  const wrong = gone.find((record) => !mayBeGone(log, record));
  return wrong && `no record ${wrong.offset} (${wrong.key}), which is the latest of its key`;
};

/**
 * Why the log as a whole says something else of its keys than it did: each has its latest record,
 * or none at all where that is a tombstone.
 */
export const problemOfKeys = (
  log: CompactedLog,
  logStart: number,
  end: number,
  found: readonly FoundBatch[],
): string | undefined => {
  const latest = new Map<string, KeyedRecord>();
  const inLog = ({ offset }: KeyedRecord): boolean => offset >= logStart && offset < end;
  for (const record of log.batches.flatMap(recordsOf).filter(inLog)) latest.set(record.key, record);
  const told = new Map<string, KeyedRecord>();
  for (const record of found.flatMap(foundRecords).filter(inLog)) told.set(record.key, record);
  for (const [key, { content, isTombstone, offset }] of latest) {
    const other = told.get(key);
    if (other?.offset === offset && other.content === content) continue;
    if (other === undefined && isTombstone) continue;
    return `${key} is ${other?.content ?? "gone"}, its latest record is ${content} at ${offset}`;
  }
  return undefined;
};

/** The records that must be there, and those that may be, with their times. */
export const timesOf = (log: CompactedLog) =>
  log.batches.flatMap((batch) =>
    recordsOf(batch).map((record, i) => ({
      offset: record.offset,
      leaderEpoch: batch.leaderEpoch,
      timestampMs: batch.timestampsMs[i] ?? 0,
      mayBeGone: mayBeGone(log, record),
    })),
  );
