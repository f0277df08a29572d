/** The `leader-epochs` file of a partition. */
import { create } from "@bufbuild/protobuf";
import { type LeaderEpochs, LeaderEpochsSchema } from "@millrace/proto/storage";
import type { SegmentContext } from "../context.ts";
import { magics, readChecksummed, writeChecksummed } from "../files/checksummed-file.ts";
import { isOfOneName, isPassing } from "../files/disk-errors.ts";
import { unlinkIfThere } from "../segment/files.ts";
import type { EpochEntry } from "./leader-epochs.ts";

const pathOf = (directory: string): string => `${directory}/leader-epochs`;

export const epochsMessage = (entries: readonly EpochEntry[]): LeaderEpochs =>
  create(LeaderEpochsSchema, {
    entries: entries.map(({ leaderEpoch, startOffset }) => ({
      leaderEpoch,
      startOffset: BigInt(startOffset),
    })),
  });

export const epochsOf = ({ entries }: LeaderEpochs): readonly EpochEntry[] =>
  entries.map(({ leaderEpoch, startOffset }) => ({
    leaderEpoch,
    startOffset: Number(startOffset),
  }));

/** Writes the file. Its name is durable once the caller has fsynced the directory. */
export const writeEpochs = (
  context: SegmentContext,
  directory: string,
  entries: readonly EpochEntry[],
): Promise<void> => {
  const message = epochsMessage(entries);
  const path = pathOf(directory);
  const { disk } = context.env;
  return writeChecksummed(disk, path, magics.leaderEpochs, LeaderEpochsSchema, message, false);
};

/** The epochs that the file holds; undefined when it is missing, damaged or cannot be read. */
export const readEpochs = async (
  context: SegmentContext,
  directory: string,
): Promise<readonly EpochEntry[] | undefined> => {
  const path = pathOf(directory);
  const { disk } = context.env;
  try {
    const file = await readChecksummed(disk, path, magics.leaderEpochs, LeaderEpochsSchema);
    return file.kind === "ok" ? epochsOf(file.message) : undefined;
  } catch (thrown) {
    if (isPassing(thrown)) throw thrown;
    return undefined;
  }
};

/** Removes the file, if there is one. False where its name cannot be used for that, either. */
export const removeEpochs = async (
  context: SegmentContext,
  directory: string,
): Promise<boolean> => {
  try {
    await unlinkIfThere(context.env.disk, pathOf(directory));
    return true;
  } catch (thrown) {
    if (!isOfOneName(thrown)) throw thrown;
    return false;
  }
};

/** Whether there is such a file, readable or not. */
export const hasEpochs = async (context: SegmentContext, directory: string): Promise<boolean> =>
  (await context.env.disk.fileSize(pathOf(directory))) !== undefined;
