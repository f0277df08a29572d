/** Reads beside everything else: the right bytes, or an honest error. */
import { ErrorCode, hasCode } from "@millrace/errors";
import type { PartitionLog } from "@millrace/log";
import { batchesIn, describe, isSame } from "./batches.ts";
import type { Life } from "./life.ts";
import type { PartitionModel } from "./model.ts";
import type { Slot } from "./run.ts";
import { Violation } from "./violation.ts";

/** True when an offset left the log while it was being read; `cuts`: truncations before. */
const wentAway = (
  log: PartitionLog,
  model: PartitionModel,
  offset: number,
  cuts: number,
): boolean => offset < log.logStartOffset || model.truncation !== undefined || model.cuts > cuts;

export const readSomething = async (
  life: Life,
  slot: Slot,
  log: PartitionLog,
  model: PartitionModel,
): Promise<void> => {
  const { random, run } = life;
  const limit = run.on.tailReads && random.chance(0.4) ? "log_end" : "high_watermark";
  const end = limit === "log_end" ? log.logEndOffset : log.highWatermark;
  const offset = random.between(log.logStartOffset, Math.max(end, log.logStartOffset));
  const counted = log.ackedEndOffset;
  const { cuts } = model;
  const removed = model.removed.length;
  const truncating = model.truncation !== undefined;
  const highWatermarkBefore = log.highWatermark;
  try {
    const result = await log.read(offset, random.pick([1, 300, 700, 4000]), limit);
    run.counts.add("reads");
    if (slot.model !== model) return;
    const batches = batchesIn(Buffer.concat(result.chunks));
    const fail = (what: string): never => {
      throw new Violation(`${model.name}: a ${limit} read at ${offset} returned ${what}`);
    };
    const [first] = batches;
    // What is not acknowledged yet is read from the tail cache only.
    const mayBeEmpty =
      offset >= Math.min(end, counted) || truncating || wentAway(log, model, offset, cuts);
    if (first === undefined && !mayBeEmpty) fail(`nothing below ${end}`);
    if (first !== undefined && (first.baseOffset > offset || first.lastOffset < offset)) {
      fail(`${describe(first)} first`);
    }
    let next = first?.baseOffset ?? offset;
    for (const batch of batches) {
      if (batch.baseOffset !== next) fail(`${describe(batch)} where ${next} should be`);
      next = batch.lastOffset + 1;
      if (!model.accounts(batch, removed, isSame)) fail(`a wrong ${describe(batch)}`);
    }
    const most = Math.max(highWatermarkBefore, log.highWatermark);
    if (limit === "high_watermark" && next > Math.max(most, offset)) fail(`what lies past ${most}`);
  } catch (thrown) {
    if (hasCode(thrown, ErrorCode.OFFSET_OUT_OF_RANGE) && wentAway(log, model, offset, cuts))
      return;
    if (hasCode(thrown, ErrorCode.STORAGE_ERROR) && wentAway(log, model, offset, cuts)) return;
    life.judge(slot, model, `a read at ${offset}`, thrown);
  }
};

/** Lookups by time beside everything else: what is told is a record that is there. */
export const timeSomething = async (
  life: Life,
  slot: Slot,
  log: PartitionLog,
  model: PartitionModel,
): Promise<void> => {
  const { random, run } = life;
  const times = model.batches.flatMap(({ timestampsMs }) => timestampsMs);
  if (times.length === 0) return;
  const { cuts } = model;
  const removed = model.removed.length;
  const start = log.logStartOffset;
  const timestampMs = random.pick(times);
  try {
    const largest = random.chance(0.3);
    const told = await (largest ? log.maxTimestamp() : log.offsetForTimestamp(timestampMs));
    run.counts.add("lookups by time");
    if (slot.model !== model || told === undefined) return;
    const candidates = [...model.batches, ...model.removed.slice(removed)];
    const right = candidates.some(
      ({ baseOffset, leaderEpoch, timestampsMs }) =>
        leaderEpoch === told.leaderEpoch &&
        timestampsMs[told.offset - baseOffset] === told.timestampMs,
    );
    const late = largest || told.timestampMs >= timestampMs;
    if (!right || !late) {
      throw new Violation(`${model.name}: time ${timestampMs} is at ${JSON.stringify(told)}`);
    }
  } catch (thrown) {
    const gone = log.logStartOffset > start || model.truncation !== undefined || model.cuts > cuts;
    const code = [ErrorCode.OFFSET_OUT_OF_RANGE, ErrorCode.STORAGE_ERROR].some((c) =>
      hasCode(thrown, c),
    );
    if (gone && code) return;
    life.judge(slot, model, "a lookup by time", thrown);
  }
};
