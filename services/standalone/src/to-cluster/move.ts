/** Makes a standalone server's data directory that of a broker of a cluster. */
import { closeSync, existsSync, fsyncSync, openSync, renameSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import type { Clock, Random } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { MetadataStore } from "@millrace/metadata";
import { openSqliteStore } from "@millrace/metadata/node";
import { lockDirectory } from "@millrace/server/node";
import { type Copied, copyMetadata } from "./copy.ts";

const fileName = "metadata.sqlite";
/** A standalone server that starts without its metadata refuses the logs: they have a cluster. */
const movedName = "metadata-moved.sqlite";

export interface MoveOptions {
  /** The data directory; no server may run on it. */
  readonly directory: string;
  readonly store: MetadataStore;
  readonly clock: Clock;
  readonly random: Random;
}

const fsyncDirectory = (path: string): void => {
  const fd = openSync(path, "r");
  try {
    fsyncSync(fd);
  } finally {
    closeSync(fd);
  }
};

/** Takes the metadata from the directory. */
const take = (directory: string): void => {
  const path = join(directory, fileName);
  const log = `${path}-wal`;
  // SQLite would play it into the file that the next server makes.
  if (existsSync(log) && statSync(log).size > 0) {
    const what = "is not empty although nothing uses it: run the command again";
    throw new MillraceError(ErrorCode.DATA_DIRECTORY_UNUSABLE, `${log} ${what}`);
  }
  renameSync(path, join(directory, movedName));
  for (const rest of [log, `${path}-shm`]) rmSync(rest, { force: true });
  fsyncDirectory(directory);
};

/**
 * Copies the metadata into the cluster's store, and takes them from the directory, so that no
 * standalone server starts on it any more. The logs stay as they are. Can be repeated after a
 * failure.
 *
 * Throws DATA_DIRECTORY_LOCKED while a server runs, DATA_DIRECTORY_UNUSABLE for a directory without
 * a standalone server's metadata, and what `copyMetadata` throws.
 */
export const moveToCluster = async (options: MoveOptions): Promise<Copied> => {
  const { directory, store, clock, random } = options;
  const path = join(directory, fileName);
  if (!existsSync(path)) {
    const isMoved = existsSync(join(directory, movedName));
    const what = isMoved ? "was moved to a cluster before" : "has no metadata.sqlite";
    const hint = isMoved ? "start a broker on it" : "name that of a standalone server";
    throw new MillraceError(ErrorCode.DATA_DIRECTORY_UNUSABLE, `${directory} ${what}: ${hint}`);
  }
  const unlock = lockDirectory(directory);
  try {
    const from = openSqliteStore({ path, clock, random });
    let copied: Copied;
    try {
      copied = await copyMetadata(from, store, random);
    } finally {
      await from.close();
    }
    take(directory);
    return copied;
  } finally {
    unlock();
  }
};
