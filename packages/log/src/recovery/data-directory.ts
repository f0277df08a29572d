/** Identity of a data directory and of the partition directories in it. */
import { clone, create } from "@bufbuild/protobuf";
import type { Disk, Env } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  type CleanShutdown,
  CleanShutdownSchema,
  DataDirectorySchema,
  type PartitionMeta,
  PartitionMetaSchema,
} from "@millrace/proto/storage";
import { type TopicId, topicIdBytes } from "@millrace/record";
import type { DirectoryIdentity } from "../api.ts";
import {
  magics,
  readChecksummed,
  readOptional,
  writeChecksummed,
} from "../files/checksummed-file.ts";
import { errno, isMissing, isOfOneName } from "../files/disk-errors.ts";
import { partitionDirectory, paths } from "../files/paths.ts";
import { roundMax } from "../journal/format.ts";
import { deletedSuffix, unlinkIfThere } from "../segment/files.ts";

/** Version of everything that this code writes. */
export const FORMAT_VERSION = 1;

const unusable = (what: string): MillraceError =>
  new MillraceError(ErrorCode.DATA_DIRECTORY_UNUSABLE, what);

export const makeDirectoryIfMissing = async (disk: Disk, path: string): Promise<boolean> => {
  try {
    await disk.makeDirectory(path);
    return true;
  } catch (thrown) {
    if (errno(thrown) === "EEXIST") return false;
    throw thrown;
  }
};

const checkIdentity = (
  found: { formatVersion: number; clusterId: string; brokerId: number },
  identity: DirectoryIdentity,
): void => {
  if (found.formatVersion > FORMAT_VERSION) {
    throw unusable(
      `the data directory has format ${found.formatVersion}, this version reads up to ` +
        `${FORMAT_VERSION}: use a newer version`,
    );
  }
  if (found.clusterId !== identity.clusterId) {
    throw unusable(
      `the data directory belongs to cluster ${found.clusterId}, not ${identity.clusterId}: ` +
        "mount the right one",
    );
  }
  if (found.brokerId !== identity.brokerId) {
    throw unusable(
      `the data directory belongs to broker ${found.brokerId}, not ${identity.brokerId}: ` +
        "mount the right one",
    );
  }
};

/** Checks whose directory it is, or makes an empty one ours. Returns its id, 16 bytes. Throws
 * DATA_DIRECTORY_UNUSABLE before any change. */
export const openDirectory = async (env: Env, identity: DirectoryIdentity): Promise<Uint8Array> => {
  const { disk } = env;
  const found = await readChecksummed(disk, paths.meta, magics.dataDirectory, DataDirectorySchema);
  if (found.kind === "damaged") {
    throw unusable("the data directory's meta file is damaged: restore it from a backup");
  }
  if (found.kind === "ok") {
    checkIdentity(found.message, identity);
    return found.message.directoryId;
  }
  const names = await disk.list(".");
  const logs = names.includes(paths.partitions) && (await disk.list(paths.partitions)).length > 0;
  if (logs) {
    throw unusable(
      "the data directory holds partitions but no meta file: restore it from a backup",
    );
  }
  await makeDirectoryIfMissing(disk, paths.partitions);
  await makeDirectoryIfMissing(disk, paths.journal);
  // Whoever finds the meta file finds these, too.
  await disk.syncDirectory(".");
  const directoryId = env.random.bytes(16);
  const message = create(DataDirectorySchema, {
    formatVersion: FORMAT_VERSION,
    clusterId: identity.clusterId,
    brokerId: identity.brokerId,
    directoryId,
  });
  await writeChecksummed(disk, paths.meta, magics.dataDirectory, DataDirectorySchema, message);
  return directoryId;
};

/** Removes the clean marker, durably, and returns what it said. */
export const takeCleanMarker = async (disk: Disk): Promise<CleanShutdown | undefined> => {
  // One that cannot be read vouches for nothing: the log recovers as after a crash.
  const found = await readOptional(disk, paths.clean, magics.clean, CleanShutdownSchema);
  if (found.kind === "missing") return undefined;
  await disk.unlink(paths.clean);
  await disk.syncDirectory(".");
  return found.kind === "ok" ? found.message : undefined;
};

/**
 * Whether a clean marker vouches for recovery points: for those written right before it, not for
 * older ones that came back, and not when a round was journalled after it.
 */
export const markerHolds = (
  marker: CleanShutdown | undefined,
  points: { readonly coveredRound: number } | undefined,
): boolean => marker !== undefined && points?.coveredRound === Number(marker.nextJournalRound) - 1;

export const writeCleanMarker = (disk: Disk, nextRound: number): Promise<void> =>
  writeChecksummed(
    disk,
    paths.clean,
    magics.clean,
    CleanShutdownSchema,
    create(CleanShutdownSchema, { nextJournalRound: BigInt(nextRound) }),
  );

/** Makes a partition's directory with its meta file, durable. */
export const makePartitionDirectory = async (
  env: Env,
  identity: DirectoryIdentity,
  directoryId: Uint8Array,
  topicId: TopicId,
  topic: string,
  partition: number,
  life: { readonly incarnation: bigint; readonly firstRound: number },
): Promise<void> => {
  const { disk } = env;
  const directory = partitionDirectory(topicId, partition);
  await makeDirectoryIfMissing(disk, directory);
  const message = create(PartitionMetaSchema, {
    formatVersion: FORMAT_VERSION,
    clusterId: identity.clusterId,
    topicId: topicIdBytes(topicId),
    partition,
    topic,
    directoryId,
    incarnation: life.incarnation,
    firstRound: BigInt(life.firstRound),
  });
  const path = `${directory}/meta`;
  await writeChecksummed(disk, path, magics.partitionMeta, PartitionMetaSchema, message);
  await disk.syncDirectory(paths.partitions);
};

/** Whether a partition's directory was made in another data directory than this one. */
export const isForeign = (meta: PartitionMeta, directoryId: Uint8Array): boolean =>
  // Older versions did not say.
  meta.directoryId.length > 0 && Buffer.compare(meta.directoryId, directoryId) !== 0;

/**
 * Makes a partition's directory that comes from a replica or a backup this data directory's own, as
 * a new life: neither recovery points nor the journal up to `firstRound` are about it. Durable when
 * it resolves.
 */
export const adoptPartition = async (
  env: Env,
  directoryId: Uint8Array,
  directory: string,
  meta: PartitionMeta,
  firstRound: number,
): Promise<PartitionMeta> => {
  const adopted = clone(PartitionMetaSchema, meta);
  adopted.directoryId = directoryId;
  adopted.incarnation = Buffer.from(env.random.bytes(8)).readBigUInt64LE();
  adopted.firstRound = BigInt(firstRound);
  const path = `${directory}/meta`;
  await writeChecksummed(env.disk, path, magics.partitionMeta, PartitionMetaSchema, adopted);
  return adopted;
};

/** What a partition directory's meta file says, or why it cannot be believed. */
export const readPartitionMeta = async (
  disk: Disk,
  directory: string,
  topicId: TopicId,
  partition: number,
  identity: DirectoryIdentity,
): Promise<PartitionMeta | string> => {
  const path = `${directory}/meta`;
  const found = await readChecksummed(disk, path, magics.partitionMeta, PartitionMetaSchema);
  if (found.kind !== "ok") return `its meta file is ${found.kind}`;
  const { message } = found;
  if (message.formatVersion > FORMAT_VERSION) return `its format ${message.formatVersion} is newer`;
  const same =
    message.clusterId === identity.clusterId &&
    topicIdBytes(topicId).every((byte, i) => byte === message.topicId[i]) &&
    message.partition === partition;
  if (!same) return "its meta file is another partition's";
  const { firstRound } = message;
  return firstRound > roundMax ? `its meta file names the journal's round ${firstRound}` : message;
};

/**
 * Renames the directory of a partition's life aside, durably: under a name of its own, because an
 * earlier life may still be about to be removed. One that is not there is fine.
 */
export const moveAside = async (
  disk: Disk,
  directory: string,
  incarnation: bigint,
): Promise<string> => {
  const life = incarnation.toString(16).padStart(16, "0");
  const aside = `${directory}.${life}${deletedSuffix}`;
  try {
    await disk.rename(directory, aside);
  } catch (thrown) {
    // The life of several directories is unknown, and the same then.
    if (errno(thrown) === "ENOTEMPTY" || errno(thrown) === "EEXIST") {
      await removeTree(disk, aside);
      await disk.rename(directory, aside);
    } else if (!isMissing(thrown)) throw thrown;
  }
  await disk.syncDirectory(paths.partitions);
  return aside;
};

/** Removes a partition's directory. A crash leaves all of it or nothing under its name. */
export const removePartition = async (
  disk: Disk,
  directory: string,
  incarnation: bigint,
): Promise<void> => removeTree(disk, await moveAside(disk, directory, incarnation));

/** Removes a directory with the files in it. */
export const removeTree = async (disk: Disk, directory: string): Promise<void> => {
  try {
    for (const name of await disk.list(directory))
      await unlinkIfThere(disk, `${directory}/${name}`);
    await disk.removeDirectory(directory);
  } catch (thrown) {
    if (!isMissing(thrown)) throw thrown;
  }
};

/**
 * Removes what an earlier process left half done in a partition's directory, and indexes whose
 * segment is gone: a later segment of the same name must not find them. `names` are those in the
 * directory.
 */
export const removeLeftovers = async (
  disk: Disk,
  directory: string,
  names: ReadonlySet<string>,
): Promise<void> => {
  for (const name of names) {
    const orphan =
      /\.(index|timeindex)$/.test(name) && !names.has(name.replace(/\.[a-z]+$/, ".log"));
    const temporary = name.endsWith(".tmp");
    if (!orphan && !temporary && !name.endsWith(deletedSuffix)) continue;
    try {
      await unlinkIfThere(disk, `${directory}/${name}`);
    } catch (thrown) {
      // Nobody reads it, and who writes it again will tell.
      if (!temporary || !isOfOneName(thrown)) throw thrown;
    }
  }
};
