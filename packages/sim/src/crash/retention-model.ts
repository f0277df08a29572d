/** How far retention may have moved a log start. */
import type { LogConfig } from "@millrace/log";
import type { ModelBatch } from "./batches.ts";
import type { PartitionModel } from "./model.ts";

/** Largest timestamp of a batch's records. */
const maxTimestampOf = ({ timestampsMs }: ModelBatch): number => Math.max(...timestampsMs);

/**
 * True when the rules of one of the settings let everything below `start` go; `wallMs` is the
 * latest time that a clock lastingly showed.
 */
export const retentionAllows = (
  model: PartitionModel,
  configs: readonly LogConfig[],
  start: number,
  wallMs: number,
): boolean => {
  const enabled = configs.filter(({ retentionEnabled }) => retentionEnabled);
  const ages = enabled.flatMap(({ retentionMs }) => (retentionMs >= 0 ? [retentionMs] : []));
  const sizes = enabled.flatMap(({ retentionBytes }) =>
    retentionBytes >= 0 ? [retentionBytes] : [],
  );
  const oldBefore = wallMs - Math.min(...ages);
  const all = [...model.batches, ...model.removed];
  const bytesAfter = (offset: number): number =>
    all
      .filter(({ baseOffset }) => baseOffset > offset)
      .reduce((bytes, { batch }) => bytes + batch.body.length + 64, 0);
  // Where the log goes on after a truncation, the batches from before it keep nothing.
  const end = model.endOffset;
  const there = [...model.batches, ...model.removed.filter(({ lastOffset }) => lastOffset >= end)];
  // A batch goes for its age, or because enough of the log follows it.
  return there
    .filter(
      ({ baseOffset, lastOffset }) => baseOffset < start && lastOffset >= model.logStartConfirmed,
    )
    .every((batch) => {
      const old = ages.length > 0 && maxTimestampOf(batch) < oldBefore;
      return old || (sizes.length > 0 && bytesAfter(batch.lastOffset) >= Math.min(...sizes));
    });
};
