/**
 * What damage leaves of a partition: an operator must find everything that was acknowledged, but
 * for what rotted.
 */
import type { SimDisk } from "../disk.ts";
import { describe } from "./batches.ts";
import type { PartitionModel } from "./model.ts";
import { Violation } from "./violation.ts";

/**
 * Throws a Violation when more batches are in no file than can have rotted. `mayBeGone`: retention
 * may have let go everything below an offset.
 */
export const verifyEvidence = (
  disk: SimDisk,
  directory: string,
  model: PartitionModel,
  mayBeGone: (offset: number) => boolean,
): void => {
  // Of a log that is compacted no file need have everything.
  if (model.truncation !== undefined || model.deleting || model.compacted) return;
  // Where the partition's own directory takes no salvage, it lies beside all of them.
  const places = [`partitions/${directory}/`, `${directory}-salvaged-`, "journal/"];
  const contents = disk
    .paths()
    .filter((path) => places.some((place) => path.startsWith(place)))
    .flatMap((path) => disk.content(path) ?? []);
  const must = model.mustEnd();
  const missing = model.batches.filter(
    ({ lastOffset, batch }) =>
      lastOffset >= model.logStartAsked &&
      lastOffset < must &&
      !mayBeGone(lastOffset + 1) &&
      !contents.some((content) => content.includes(batch.body)),
  );
  if (missing.length <= model.batchesRotted) return;
  throw new Violation(
    `${model.name}: is offline, ${model.batchesRotted} batches may have rotted, and ${missing.length} are in no file, ` +
      `among them ${describe(missing[0])}`,
  );
};
