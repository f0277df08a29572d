/** What stays known of batches below the log start that only the journal has. */
import { readStored } from "@millrace/record";
import type { Partition } from "../partition/partition.ts";
import type { JournalReader, PlannedBatch } from "./journal-reader.ts";
import type { RecoveredProducers } from "./producers.ts";

/**
 * A batch below the log start is gone, but its producer and its epoch are not forgotten. Where its
 * records rotted in the journal, the header still has its own checksum.
 */
export const rememberDeleted = async (
  journal: JournalReader,
  { epochs, producers }: Partition,
  recovered: RecoveredProducers,
  entry: PlannedBatch,
): Promise<void> => {
  const bytes = await journal.payload(entry);
  const header = readStored(bytes, 0);
  const known = !("fault" in header) && header.headerCrc === entry.headerCrc;
  if (known) epochs.remember(header.leaderEpoch, entry.offset);
  if (entry.offset < recovered.snapshotOffset) return;
  if (known && entry.sound) {
    const { info, lastOffset } = await journal.batch(entry);
    await recovered.remember(entry.offset, lastOffset + 1);
    producers.latest.record(info, entry.offset, header.appendTimeMs);
  } else await recovered.forgetSequences();
};
