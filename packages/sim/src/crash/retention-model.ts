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
  const restBytes = [...model.batches, ...model.removed]
    .filter(({ lastOffset }) => lastOffset >= start)
    .reduce((bytes, { batch }) => bytes + batch.body.length + 64, 0);
  if (sizes.length > 0 && restBytes >= Math.min(...sizes)) return true;
  return (
    ages.length > 0 &&
    [...model.batches, ...model.removed]
      .filter((batch) => batch.baseOffset < start && batch.lastOffset >= model.logStartConfirmed)
      .every((batch) => maxTimestampOf(batch) < oldBefore)
  );
};
