/** Prepares and locks the data directory. */
import { accessSync, constants, existsSync, mkdirSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { ErrorCode, MillraceError } from "@millrace/errors";

const unusable = (path: string, what: string): MillraceError =>
  new MillraceError(ErrorCode.DATA_DIRECTORY_UNUSABLE, `${path}: ${what}`);

/** Names at the top of a directory that a server of ours has used. */
const ownNames: ReadonlySet<string> = new Set(["lock", "meta", "journal", "partitions"]);

/** What file systems and their tools leave in a new volume. */
const isOfVolume = (name: string): boolean => name.startsWith(".") || name === "lost+found";

/**
 * Creates the directory if it is missing. Throws DATA_DIRECTORY_UNUSABLE, also for one with other
 * things in it.
 */
export const prepareDirectory = (path: string): void => {
  try {
    mkdirSync(path, { recursive: true, mode: 0o750 });
    if (!statSync(path).isDirectory())
      throw unusable(path, "is not a directory: choose another path");
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
    const names = readdirSync(path).filter((name) => !isOfVolume(name));
    if (names.length > 0 && !names.some((name) => ownNames.has(name))) {
      const [first] = names.sort();
      throw unusable(
        path,
        `has ${first} in it, and is no data directory: choose an empty or a new --data-dir`,
      );
    }
  } catch (thrown) {
    if (thrown instanceof MillraceError) throw thrown;
    const text = thrown instanceof Error ? thrown.message : String(thrown);
    throw unusable(path, `cannot be written: ${text}: mount it writable, or choose another path`);
  }
};

/**
 * Locks the directory against other processes until `release` or the end of the process. The kernel
 * keeps the lock, on an SQLite file in an exclusive transaction: a file with a process id would
 * survive a kill -9. Throws DATA_DIRECTORY_LOCKED.
 */
export const lockDirectory = (path: string): (() => void) => {
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(join(path, "lock"), { timeout: 0 });
    database.exec("PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE;");
    const held = database;
    return () => held.close();
  } catch (thrown) {
    database?.close();
    const text = thrown instanceof Error ? thrown.message : String(thrown);
    if (!/locked|busy/i.test(text)) {
      throw unusable(path, `cannot be locked: ${text}: mount it writable`);
    }
    throw new MillraceError(
      ErrorCode.DATA_DIRECTORY_LOCKED,
      `${path} is used by another process: stop it, or choose another --data-dir`,
    );
  }
};

/** Whether a server uses the directory. Changes nothing in it. */
export const isLocked = (path: string): boolean => {
  const file = join(path, "lock");
  if (!existsSync(file)) return false;
  let database: DatabaseSync | undefined;
  try {
    database = new DatabaseSync(file, { readOnly: true, timeout: 0 });
    database.prepare("SELECT count(*) FROM sqlite_schema").get();
    return false;
  } catch (thrown) {
    return /locked|busy/i.test(thrown instanceof Error ? thrown.message : String(thrown));
  } finally {
    database?.close();
  }
};
