/** A cleaned segment takes the place of the one that it was made from. */
import type { LogContext } from "../context.ts";
import { isPassing, storageError } from "../files/disk-errors.ts";
import type { Partition } from "../partition/partition.ts";
import { persistIndex, unlinkIfThere } from "../segment/files.ts";
import type { Segment } from "../segment/segment.ts";

/**
 * Renames the file `from`, which is fsynced, over that of `old`. A crash leaves one or the other,
 * and never with the index of another: that of `old` is gone, durably, before. Readers that have
 * the old file read on in it; those that come later find the new one. As file work of the
 * partition.
 */
export const swapFiles = async (
  context: LogContext,
  partition: Partition,
  old: Segment,
  cleaned: Segment,
  from: string,
  take: () => void,
): Promise<void> => {
  const { committer, env, files, indexes, writes } = context;
  const { disk } = env;
  for (const path of old.index.paths) await unlinkIfThere(disk, path);
  partition.names.changed();
  await partition.files.syncNames();
  // Kept open: a reader that opened it again would get the new one, with the rows of the old.
  await files.with(old, async () => {
    try {
      await disk.rename(from, old.path);
    } catch (thrown) {
      // Nobody knows which of the two has the name.
      if (!isPassing(thrown)) committer.fail(storageError(`${from} cannot be renamed`, thrown));
      throw thrown;
    }
    partition.names.changed();
    take();
    old.drop();
    indexes.forget(old);
    files.forget(old);
  });
  await writes.discard(old);
  await partition.files.syncNames();
  const { cleaned: state, lastPoint, life, logStartOffset } = partition;
  const journalRound = lastPoint?.journalRound ?? 0n;
  state.wrote(cleaned, { journalRound, logStartOffset });
  await state.write(disk, partition.directory, life.incarnation);
  await writeIndex(context, partition, cleaned);
};

/** Rather than to keep the rows of all segments in memory. A checkpoint does what fails here. */
const writeIndex = async (
  context: LogContext,
  partition: Partition,
  cleaned: Segment,
): Promise<void> => {
  try {
    await persistIndex(context, partition, cleaned, true);
  } catch (thrown) {
    const { path } = cleaned;
    context.env.logger.debug({ err: thrown, path }, "the index of a cleaned segment waits");
  }
};
