/** Control operations, as brokers and operators issue them. */
import { ErrorCode, hasCode } from "@millrace/errors";
import type { PartitionLog } from "@millrace/log";
import type { Life } from "./life.ts";
import { tookEffect } from "./lost-producers.ts";
import type { PartitionModel } from "./model.ts";
import type { Slot } from "./run.ts";
import { changedConfig } from "./settings.ts";
import { Violation } from "./violation.ts";

/** A higher leader epoch begins. */
export const lead = async (
  life: Life,
  slot: Slot,
  log: PartitionLog,
  model: PartitionModel,
): Promise<void> => {
  const epoch = Math.max(slot.lastEpoch, log.leaderEpoch) + 1;
  life.tell(model, `becomeLeader ${epoch} at ${log.logEndOffset}`);
  const leading = log.becomeLeader(epoch);
  // Taken at once, so the truncation is over, and whoever waits for it is told later.
  if (model.truncation !== undefined && log.leaderEpoch === epoch)
    tookEffect(life.run, slot, model);
  // In memory it begins at once, unless it was refused.
  if (log.leaderEpoch === epoch) {
    slot.lastEpoch = epoch;
    model.epochs.begin(epoch, model.endOffset);
  }
  try {
    await leading;
    model.epochs.confirm(epoch);
    life.run.counts.add("leader epochs");
  } catch (thrown) {
    life.judge(slot, model, "becomeLeader", thrown);
  }
};

/**
 * As a broker does it: to what counts, or, for a while, somewhat behind it; once in a while too
 * far.
 */
export const raiseHighWatermark = (life: Life, log: PartitionLog, model: PartitionModel): void => {
  if (model.truncation !== undefined) return;
  const { random } = life;
  const counted = Math.min(log.ackedEndOffset, model.ackedEnd);
  if (counted === model.endOffset && random.chance(0.2)) log.updateHighWatermark(counted + 7);
  const ends = model.batches
    .map(({ lastOffset }) => lastOffset + 1)
    .filter((end) => end <= counted);
  const end = ends[Math.max(0, ends.length - 1 - random.below(4))];
  if (end !== undefined) log.updateHighWatermark(end);
  const { highWatermark } = log;
  if (highWatermark > Math.max(counted, model.highWatermark)) {
    throw new Violation(`${model.name}: high watermark ${highWatermark} is past ${counted}`);
  }
  model.highWatermark = Math.max(model.highWatermark, highWatermark);
  model.highWatermarkMax = Math.max(model.highWatermarkMax, highWatermark);
  life.tell(model, `high watermark ${highWatermark}`);
};

export const flush = async (
  life: Life,
  slot: Slot,
  log: PartitionLog,
  model: PartitionModel,
): Promise<void> => {
  const { cuts, endOffset, highWatermark } = model;
  // None at all: one that begins while the flush is under way may be epoch 0.
  const epoch = model.epochs.epochs.at(-1)?.epoch ?? -1;
  const truncating = model.truncation !== undefined;
  try {
    await log.flush();
  } catch (thrown) {
    life.judge(slot, model, "flush", thrown);
    return;
  }
  life.run.counts.add("flushes");
  life.tell(model, `flushed to ${endOffset}`);
  if (truncating || model.truncation !== undefined || model.cuts !== cuts) return;
  model.durableEnd = Math.max(model.durableEnd, endOffset);
  model.highWatermarkDurable = Math.max(model.highWatermarkDurable, highWatermark);
  model.epochs.confirmUpTo(epoch);
};

/** Where a truncation may go to, or undefined. */
const cutFor = (
  life: Life,
  slot: Slot,
  log: PartitionLog,
  model: PartitionModel,
): number | undefined => {
  const { random, run } = life;
  const retains = slot.configs.some(
    (c) => c.retentionEnabled && (c.retentionMs >= 0 || c.retentionBytes >= 0),
  );
  // What is readable is what compaction relies on.
  const allows = run.on.truncationBelowHighWatermark && !slot.compacted;
  const below = allows && !retains && random.chance(0.2);
  const least = Math.max(model.logStartAsked, log.logStartOffset, below ? 0 : model.highWatermark);
  const starts = new Set(model.epochs.epochs.map(({ startOffset }) => startOffset));
  const bases = model.batches
    .map(({ baseOffset }) => baseOffset)
    .filter((base) => base >= least && (run.on.truncationToEpochStart || !starts.has(base)));
  if (run.on.truncationAtEnd && random.chance(0.15)) return model.endOffset;
  return bases[Math.max(0, bases.length - 1 - random.below(random.pick([3, 12])))];
};

export const truncate = async (
  life: Life,
  slot: Slot,
  log: PartitionLog,
  model: PartitionModel,
): Promise<void> => {
  const { run, random } = life;
  if (!run.on.truncation || model.truncation !== undefined) return;
  const cut = cutFor(life, slot, log, model);
  if (cut === undefined) return;
  const batch = model.batchAt(cut);
  const atEnd = cut === model.endOffset;
  const inside = batch !== undefined && cut === batch.baseOffset && random.chance(0.3);
  life.tell(model, `truncateTo ${cut} of ${model.endOffset}`);
  model.truncation = { offset: cut };
  try {
    await log.truncateTo(inside ? batch.lastOffset : cut);
    life.tell(model, `truncated to ${cut}`);
    if (model.truncation !== undefined) tookEffect(run, slot, model);
    if (!run.on.olderEpochs) await lead(life, slot, log, model);
    run.counts.add(atEnd ? "truncations at the end" : "truncations");
  } catch (thrown) {
    // Where the partition goes on, it had no effect; otherwise nothing is known of it.
    const { state, logEndOffset, leaderEpoch } = log;
    // One at the end takes an epoch alone.
    const same = logEndOffset === model.endOffset && leaderEpoch === model.epochs.latest;
    const without = state.kind === "online" && same;
    if (without || hasCode(thrown, ErrorCode.LEADER_NOT_AVAILABLE)) model.truncation = undefined;
    life.judge(slot, model, "truncateTo", thrown);
  }
};

/** Where a log may begin anew: within what it was, at its end, or behind it. */
const startFor = ({ random }: Life, log: PartitionLog, model: PartitionModel): number => {
  const end = model.endOffset;
  const bases = model.batches.map(({ baseOffset }) => baseOffset);
  const starts = [0, end, end + random.below(30), log.logStartOffset, random.between(0, end)];
  return random.pick([...starts, random.pick([end, ...bases])]);
};

/** The follower begins anew. */
export const reset = async (
  life: Life,
  slot: Slot,
  log: PartitionLog,
  model: PartitionModel,
): Promise<void> => {
  const { run } = life;
  if (model.truncation !== undefined) return;
  const offset = startFor(life, log, model);
  life.tell(model, `resetTo ${offset} of ${log.logStartOffset} to ${model.endOffset}`);
  model.truncation = { offset, isReset: true };
  try {
    await log.resetTo(offset);
    life.tell(model, `reset to ${offset}`);
    if (model.truncation !== undefined) {
      tookEffect(run, slot, model);
      checkEmpty(log, model, offset);
    }
    if (!run.on.olderEpochs) await lead(life, slot, log, model);
    run.counts.add("resets");
  } catch (thrown) {
    if (hasCode(thrown, ErrorCode.LEADER_NOT_AVAILABLE)) model.truncation = undefined;
    life.judge(slot, model, "resetTo", thrown);
  }
};

const checkEmpty = (log: PartitionLog, { name }: PartitionModel, offset: number): void => {
  const { ackedEndOffset, highWatermark, logEndOffset, logStartOffset } = log;
  const offsets = [logStartOffset, highWatermark, ackedEndOffset, logEndOffset];
  const { leaderEpoch, segmentCount, sizeBytes, state } = log;
  const isEmpty = leaderEpoch === 0 && segmentCount === 1 && sizeBytes === 0;
  if (state.kind === "offline" || (isEmpty && offsets.every((one) => one === offset))) return;
  const what = `${offsets.join()}, epoch ${leaderEpoch}, ${segmentCount} segments of ${sizeBytes}`;
  throw new Violation(`${name}: was reset to ${offset}, and has ${what}`);
};

export const deleteRecords = async (
  life: Life,
  slot: Slot,
  log: PartitionLog,
  model: PartitionModel,
): Promise<void> => {
  const { random, run } = life;
  if (!run.on.deleteRecords || model.truncation !== undefined) return;
  const room = model.highWatermark - log.logStartOffset;
  if (room <= 0) return;
  const offset =
    log.logStartOffset + random.between(1, random.chance(0.2) ? room : Math.ceil(room / 2));
  model.logStartAsked = Math.max(model.logStartAsked, offset);
  life.tell(model, `advanceLogStart ${offset}`);
  try {
    await log.advanceLogStart(offset);
    if (slot.model === model && log.logStartOffset < offset) {
      throw new Violation(
        `${model.name}: log start is ${log.logStartOffset} after a move to ${offset}`,
      );
    }
    model.logStartConfirmed = Math.max(model.logStartConfirmed, offset);
    life.tell(model, `log start ${offset}`);
    run.counts.add("log start moves");
  } catch (thrown) {
    life.judge(slot, model, "advanceLogStart", thrown);
  }
};

export const retain = async (
  life: Life,
  slot: Slot,
  log: PartitionLog,
  model: PartitionModel,
): Promise<void> => {
  try {
    const gone = await log.runRetention();
    life.run.counts.add("segments deleted", gone);
  } catch (thrown) {
    life.judge(slot, model, "runRetention", thrown);
  }
};

/** Everything that counts is made readable and durable, and the log cleaned. */
export const compact = async (
  life: Life,
  slot: Slot,
  log: PartitionLog,
  model: PartitionModel,
): Promise<void> => {
  raiseHighWatermark(life, log, model);
  if (life.random.chance(0.7)) await flush(life, slot, log, model);
  try {
    const cleaned = await log.runCompaction();
    life.tell(model, `compaction: ${cleaned}`);
    if (cleaned) life.run.counts.add("logs cleaned");
  } catch (thrown) {
    life.judge(slot, model, "runCompaction", thrown);
  }
};

export const reconfigure = (
  life: Life,
  slot: Slot,
  log: PartitionLog,
  model: PartitionModel,
): void => {
  if (!life.run.on.configChange) return;
  slot.config = changedConfig(slot.config, life.random, life.run.on);
  if (slot.compacted) {
    slot.config = { ...slot.config, compactionEnabled: life.random.chance(0.7) };
  }
  slot.configs.push(slot.config);
  life.tell(model, `config ${JSON.stringify(slot.config)}`);
  log.updateConfig(slot.config);
  life.run.counts.add("changes of settings");
};

/** Deletes the partition. */
export const remove = async (
  life: Life,
  slot: Slot,
  _log: PartitionLog,
  model: PartitionModel,
): Promise<void> => {
  if (!life.run.on.deletion) return;
  life.tell(model, "delete");
  model.deleting = true;
  try {
    await life.manager.delete(slot.topicId, slot.partition);
    slot.model = undefined;
    slot.log = undefined;
    life.run.counts.add("partitions deleted");
  } catch (thrown) {
    life.judge(slot, model, "delete", thrown);
  }
};
