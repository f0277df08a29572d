/** What the operating system's errors mean to the log. */
import { ErrorCode, hasCode, MillraceError } from "@millrace/errors";

/** Errno name of a disk failure, or "". */
export const errno = (thrown: unknown): string =>
  thrown instanceof Error && "code" in thrown && typeof thrown.code === "string" ? thrown.code : "";

/** No room on the disk, or in the quota. */
export const isFull = (thrown: unknown): boolean =>
  errno(thrown) === "ENOSPC" || errno(thrown) === "EDQUOT" || hasCode(thrown, ErrorCode.DISK_FULL);

const transient: ReadonlySet<string> = new Set(["EMFILE", "ENFILE", "EINTR", "EAGAIN", "ENOMEM"]);

/**
 * A shortage of the process or the kernel, or an interrupted call. It says nothing about the disk.
 */
export const isTransient = (thrown: unknown): boolean => transient.has(errno(thrown));

/** Failures that go away by themselves: the same operation may succeed later. */
export const isPassing = (thrown: unknown): boolean =>
  isFull(thrown) || isTransient(thrown) || hasCode(thrown, ErrorCode.ADMISSION_REJECTED);

export const isMissing = (thrown: unknown): boolean => errno(thrown) === "ENOENT";

/** A mistake in the program, as opposed to a failure of the disk or a refusal. */
export const isProgrammingError = (thrown: unknown): boolean =>
  errno(thrown) === "" && !(thrown instanceof MillraceError);

const ofNames: ReadonlySet<string> = new Set([
  "EACCES",
  "EEXIST",
  "EISDIR",
  "ELOOP",
  "ENAMETOOLONG",
  "ENOTDIR",
  "EPERM",
]);

/**
 * A failure that one name explains: what lies there, or who may touch it. It says nothing about the
 * disk, unlike EIO or EROFS.
 */
export const isOfOneName = (thrown: unknown): boolean => ofNames.has(errno(causeOf(thrown)));

const textOf = (thrown: unknown): string =>
  thrown instanceof Error ? thrown.message : String(thrown);

/** DISK_FULL or ADMISSION_REJECTED, both retriable, for a caller whose work has to wait. */
export const passingError = (what: string, thrown: unknown): MillraceError =>
  thrown instanceof MillraceError
    ? thrown
    : new MillraceError(
        isFull(thrown) ? ErrorCode.DISK_FULL : ErrorCode.ADMISSION_REJECTED,
        `${what}: ${textOf(thrown)}: retry`,
        { cause: thrown },
      );

/** STORAGE_ERROR that says what was being done. */
export const storageError = (what: string, thrown: unknown): MillraceError => {
  if (thrown instanceof MillraceError) return thrown;
  const advice = isProgrammingError(thrown)
    ? "this is a mistake in the server: report it, then restart"
    : "check the disk, then restart";
  const message = `${what}: ${textOf(thrown)}: ${advice}`;
  return new MillraceError(ErrorCode.STORAGE_ERROR, message, { cause: thrown });
};

/**
 * A failed fsync, whatever the reason. The kernel may have dropped the pages and marked them clean:
 * the bytes are not durable, and an fsync that succeeds later proves nothing.
 */
export const syncFailed = (path: string, thrown: unknown): MillraceError =>
  storageError(`${path} cannot be fsynced`, thrown);

/** What an fsync failed with. A file that is thrown away afterwards may be written again later. */
export const causeOf = (thrown: unknown): unknown =>
  thrown instanceof MillraceError && thrown.cause !== undefined ? thrown.cause : thrown;
