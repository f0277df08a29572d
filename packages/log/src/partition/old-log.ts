/** Files of a log that began anew: what they say is void. */
import type { Disk } from "@millrace/env";
import { parseSegmentName } from "../files/paths.ts";
import { unlinkIfThere } from "../segment/files.ts";
import { cleanerCheckpointName } from "./cleaned-log.ts";
import { parseProducersName } from "./producer-snapshots.ts";

/** Names of batches, their indexes, leader epochs, producers, and what was cleaned. */
const isOfLog = (name: string): boolean =>
  name === "leader-epochs" ||
  name === cleanerCheckpointName ||
  parseProducersName(name) !== undefined ||
  parseSegmentName(name.replace(/\.(index|timeindex)$/, ".log")) !== undefined;

/**
 * Removes every file that tells of the old log. Durable once the caller has fsynced the directory;
 * until a recovery point covers it, the journal says it again.
 */
export const removeOldLog = async (disk: Disk, directory: string): Promise<void> => {
  for (const name of await disk.list(directory)) {
    if (isOfLog(name)) await unlinkIfThere(disk, `${directory}/${name}`);
  }
};
