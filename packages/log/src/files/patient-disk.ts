/**
 * A disk that waits out what passes by itself. Too many open files, an interrupted call or a lack
 * of kernel memory says nothing about the disk; taking it for a disk failure would stop a data
 * directory for good. Such an operation is repeated for a while. An fsync never is.
 */
import type { Clock, Disk, DiskFile, OpenMode } from "@millrace/env";
import type { MillraceError } from "@millrace/errors";
import { causeOf, errno, isPassing, isTransient, storageError, syncFailed } from "./disk-errors.ts";

/**
 * Longest wait for one operation, milliseconds. After it the caller gets the operation's own error.
 */
export const patienceMs = 10_000;
const firstPauseMs = 5;
const pauseMsMax = 200;

/** What the rest of the log does when the disk or the process is in trouble. */
export interface DiskTrouble {
  /** The process is short of something: give back what is not in use. */
  onShortage(thrown: unknown): void;
  /**
   * An fsync failed that nobody may repeat: nothing may be claimed to be durable from this moment
   * on.
   */
  onSyncFailure(error: MillraceError): void;
}

interface Patience {
  readonly clock: Clock;
  readonly trouble: () => DiskTrouble | undefined;
}

const patiently = async <T>(patience: Patience, run: () => Promise<T>): Promise<T> => {
  const { clock, trouble } = patience;
  const startedMs = clock.monoMs();
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMsMax, pauseMs * 2)) {
    try {
      return await run();
    } catch (thrown) {
      if (!isTransient(thrown) || clock.monoMs() - startedMs >= patienceMs) throw thrown;
      trouble()?.onShortage(thrown);
      await clock.sleep(pauseMs);
    }
  }
};

/** Failures of names that callers look at, and that say nothing about the disk. */
const aboutNames: ReadonlySet<string> = new Set(["ENOENT", "EEXIST", "ENOTEMPTY", "ENOTDIR"]);

/**
 * An operation that changes something. Where it fails for good, the disk has failed, and not one
 * file.
 */
const changing = async <T>(patience: Patience, path: string, run: () => Promise<T>): Promise<T> => {
  try {
    return await patiently(patience, run);
  } catch (thrown) {
    if (isPassing(thrown) || aboutNames.has(errno(thrown))) throw thrown;
    throw storageError(`${path} cannot be changed`, thrown);
  }
};

class PatientFile implements DiskFile {
  readonly path: string;
  readonly #file: DiskFile;
  readonly #durable: boolean;
  readonly #patience: Patience;

  constructor(file: DiskFile, mode: OpenMode, patience: Patience) {
    this.path = file.path;
    this.#file = file;
    this.#durable = mode === "writeDurably";
    this.#patience = patience;
  }

  get descriptor(): number | undefined {
    return this.#file.descriptor;
  }

  read(target: Uint8Array, targetOffset: number, length: number, position: number) {
    return patiently(this.#patience, () => this.#file.read(target, targetOffset, length, position));
  }

  /** A write may be repeated even where it includes the fsync: it makes every page dirty again. */
  async write(chunks: readonly Uint8Array[], position: number): Promise<void> {
    try {
      await changing(this.#patience, this.path, () => this.#file.write(chunks, position));
    } catch (thrown) {
      throw this.#durable ? this.#syncFailed(thrown) : thrown;
    }
  }

  async sync(): Promise<void> {
    try {
      await this.#file.sync();
    } catch (thrown) {
      throw this.#syncFailed(thrown);
    }
  }

  /** A temporary file is thrown away and written anew; for any other the failure is final. */
  #syncFailed(thrown: unknown): MillraceError {
    const error = syncFailed(this.path, causeOf(thrown));
    if (!this.path.endsWith(".tmp")) this.#patience.trouble()?.onSyncFailure(error);
    return error;
  }

  truncate(sizeBytes: number): Promise<void> {
    return changing(this.#patience, this.path, () => this.#file.truncate(sizeBytes));
  }

  size(): Promise<number> {
    return patiently(this.#patience, () => this.#file.size());
  }

  close(): Promise<void> {
    return this.#file.close();
  }
}

/** `EMFILE` and `ENFILE` come from opening the directory, before anything was fsynced. */
const neverOpened = (thrown: unknown): boolean =>
  isTransient(thrown) && thrown instanceof Error && "code" in thrown
    ? thrown.code === "EMFILE" || thrown.code === "ENFILE"
    : false;

/** A disk with patience. Its fsyncs fail with STORAGE_ERROR, never with an errno that passes. */
export class PatientDisk implements Disk {
  readonly #disk: Disk;
  readonly #patience: Patience;
  #trouble: DiskTrouble | undefined;

  constructor(disk: Disk, clock: Clock) {
    this.#disk = disk;
    this.#patience = { clock, trouble: () => this.#trouble };
  }

  /** Whom to tell. Before there is anybody, operations only fail. */
  attach(trouble: DiskTrouble): void {
    this.#trouble = trouble;
  }

  async open(path: string, mode: OpenMode): Promise<DiskFile> {
    const file = await patiently(this.#patience, () => this.#disk.open(path, mode));
    return new PatientFile(file, mode, this.#patience);
  }

  rename(from: string, to: string): Promise<void> {
    return changing(this.#patience, from, () => this.#disk.rename(from, to));
  }

  unlink(path: string): Promise<void> {
    return changing(this.#patience, path, () => this.#disk.unlink(path));
  }

  makeDirectory(path: string): Promise<void> {
    return changing(this.#patience, path, () => this.#disk.makeDirectory(path));
  }

  removeDirectory(path: string): Promise<void> {
    return changing(this.#patience, path, () => this.#disk.removeDirectory(path));
  }

  list(path: string): Promise<string[]> {
    return patiently(this.#patience, () => this.#disk.list(path));
  }

  fileSize(path: string): Promise<number | undefined> {
    return patiently(this.#patience, () => this.#disk.fileSize(path));
  }

  async syncDirectory(path: string): Promise<void> {
    let failed: MillraceError | undefined;
    await patiently(this.#patience, async () => {
      try {
        await this.#disk.syncDirectory(path);
      } catch (thrown) {
        if (neverOpened(thrown)) throw thrown;
        failed = syncFailed(path, thrown);
      }
    });
    if (failed === undefined) return;
    this.#trouble?.onSyncFailure(failed);
    throw failed;
  }

  space(): Promise<{ freeBytes: number; totalBytes: number }> {
    return patiently(this.#patience, () => this.#disk.space());
  }
}
