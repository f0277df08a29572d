/** Prepares and locks the data directory. */
import { accessSync, constants, mkdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { ErrorCode, MillraceError } from "@millrace/errors";

const unusable = (path: string, what: string): MillraceError =>
  new MillraceError(ErrorCode.DATA_DIRECTORY_UNUSABLE, `${path}: ${what}`);

/** Creates the directory if it is missing. Throws DATA_DIRECTORY_UNUSABLE. */
export const prepareDirectory = (path: string): void => {
  try {
    mkdirSync(path, { recursive: true, mode: 0o750 });
    if (!statSync(path).isDirectory())
      throw unusable(path, "is not a directory: choose another path");
    accessSync(path, constants.R_OK | constants.W_OK | constants.X_OK);
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
