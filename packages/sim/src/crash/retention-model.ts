/** How far retention may have moved a log start. */
import type { LogConfig } from "@millrace/log";
import type { ModelBatch } from "./batches.ts";
import type { PartitionModel } from "./model.ts";

/** The times that a clock showed which lasted, the first and the last. */
export interface WallSpan {
  readonly firstMs: number;
  readonly lastMs: number;
}

/** Records that are ahead of the clock by more than this do not say how old they are. */
const aheadMs = 3_600_000;

/** Largest timestamp of a batch's records. */
const maxTimestampOf = ({ timestampsMs }: ModelBatch): number => Math.max(...timestampsMs);

/** What the log had last at every offset. What was cut off and appended over did not go by age. */
const latest = ({ batches, removed }: PartitionModel): readonly ModelBatch[] => {
  const all = [...removed, ...batches];
  return all.filter(
    ({ baseOffset, lastOffset }, i) =>
      !all.slice(i + 1).some((l) => l.baseOffset <= lastOffset && l.lastOffset >= baseOffset),
  );
};

/** True when a batch's age lets it go; `batches` are all that go, and it is one of them. */
const isOld = (
  batch: ModelBatch,
  batches: readonly ModelBatch[],
  ageMs: number,
  walls: readonly WallSpan[],
): boolean =>
  walls.some(({ firstMs, lastMs }) => {
    if (maxTimestampOf(batch) < lastMs - ageMs) return true;
    // Where a segment has records ahead of the clock, the append time of its last batch counts.
    const ahead = batches.some((other) => maxTimestampOf(other) > firstMs + aheadMs);
    const last = batches.slice(batches.indexOf(batch));
    return ahead && last.some(({ appendTimeMs }) => appendTimeMs < lastMs - ageMs);
  });

/** True when the rules of one of the settings let everything below `start` go. */
export const retentionAllows = (
  model: PartitionModel,
  configs: readonly LogConfig[],
  start: number,
  walls: readonly WallSpan[],
): boolean => {
  const enabled = configs.filter(({ retentionEnabled }) => retentionEnabled);
  const ages = enabled.flatMap(({ retentionMs }) => (retentionMs >= 0 ? [retentionMs] : []));
  const sizes = enabled.flatMap(({ retentionBytes }) =>
    retentionBytes >= 0 ? [retentionBytes] : [],
  );
  const all = [...model.batches, ...model.removed];
  const bytesAfter = (offset: number): number =>
    all
      .filter(({ baseOffset }) => baseOffset > offset)
      .reduce((bytes, { batch }) => bytes + batch.body.length + 64, 0);
  // What was asked to go may have gone, and says nothing of what retention may take after it.
  const from = Math.max(model.logStartConfirmed, model.logStartAsked);
  const gone = latest(model)
    .filter(({ baseOffset, lastOffset }) => baseOffset < start && lastOffset >= from)
    .sort((a, b) => a.baseOffset - b.baseOffset);
  // A batch goes for its age, or because enough of the log follows it.
  return gone.every((batch) => {
    const old = ages.length > 0 && isOld(batch, gone, Math.min(...ages), walls);
    return old || (sizes.length > 0 && bytesAfter(batch.lastOffset) >= Math.min(...sizes));
  });
};
