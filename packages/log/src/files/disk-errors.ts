/** What the operating system's errors mean to the log. */
import { ErrorCode, MillraceError } from "@millrace/errors";

/** Errno name of a disk failure, or "". */
export const errno = (thrown: unknown): string =>
  thrown instanceof Error && "code" in thrown && typeof thrown.code === "string" ? thrown.code : "";

/** No room: the only failure of a write that goes away by itself. */
export const isFull = (thrown: unknown): boolean =>
  errno(thrown) === "ENOSPC" || errno(thrown) === "EDQUOT";

export const isMissing = (thrown: unknown): boolean => errno(thrown) === "ENOENT";

/** STORAGE_ERROR that says what was being done. */
export const storageError = (what: string, thrown: unknown): MillraceError =>
  thrown instanceof MillraceError
    ? thrown
    : new MillraceError(
        ErrorCode.STORAGE_ERROR,
        `${what}: ${thrown instanceof Error ? thrown.message : String(thrown)}: check the disk, then restart`,
        { cause: thrown },
      );
