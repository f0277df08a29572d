/**
 * What damage leaves of a partition: an operator must find everything that was acknowledged, but
 * for what rotted.
 */
import type { SimDisk } from "../disk.ts";
import { describe } from "./batches.ts";
import type { PartitionModel } from "./model.ts";
import { Violation } from "./violation.ts";

/** Throws a Violation when more batches are in no file than bits have rotted. */
export const verifyEvidence = (disk: SimDisk, directory: string, model: PartitionModel): void => {
  if (model.truncation !== undefined || model.deleting) return;
  const contents = disk
    .paths()
    .filter((path) => path.startsWith(`partitions/${directory}/`) || path.startsWith("journal/"))
    .flatMap((path) => disk.content(path) ?? []);
  const must = model.mustEnd();
  const missing = model.batches.filter(
    ({ lastOffset, batch }) =>
      lastOffset >= model.logStartAsked &&
      lastOffset < must &&
      !contents.some((content) => content.includes(batch.body)),
  );
  if (missing.length <= model.rots) return;
  throw new Violation(
    `${model.name}: is offline after ${model.rots} bits rotted, and ${missing.length} batches are in no file, ` +
      `among them ${describe(missing[0])}`,
  );
};
