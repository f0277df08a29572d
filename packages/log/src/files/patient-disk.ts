/**
 * A disk that waits out what passes by itself. Too many open files, an interrupted call or a lack of
 * kernel memory says nothing about the disk; taking it for a disk failure would stop a data directory
 * for good. Such an operation is repeated for a while. An fsync never is.
 */
import type { Clock, Disk, DiskFile, OpenMode } from "@millrace/env";
import { isTransient, syncFailed } from "./disk-errors.ts";

/** Longest wait for one operation, milliseconds. After it the caller gets the operation's own error. */
export const patienceMs = 10_000;
const firstPauseMs = 5;
const pauseMsMax = 200;

export interface PatientDiskOptions {
  readonly clock: Clock;
  /** The process is short of something: give back what is not in use. */
  readonly onShortage: (thrown: unknown) => void;
}

const patiently = async <T>(options: PatientDiskOptions, run: () => Promise<T>): Promise<T> => {
  const { clock, onShortage } = options;
  const startedMs = clock.monoMs();
  for (let pauseMs = firstPauseMs; ; pauseMs = Math.min(pauseMsMax, pauseMs * 2)) {
    try {
      return await run();
    } catch (thrown) {
      if (!isTransient(thrown) || clock.monoMs() - startedMs >= patienceMs) throw thrown;
      onShortage(thrown);
      await clock.sleep(pauseMs);
    }
  }
};

class PatientFile implements DiskFile {
  readonly path: string;
  readonly #file: DiskFile;
  readonly #durable: boolean;
  readonly #options: PatientDiskOptions;

  constructor(file: DiskFile, mode: OpenMode, options: PatientDiskOptions) {
    this.path = file.path;
    this.#file = file;
    this.#durable = mode === "writeDurably";
    this.#options = options;
  }

  read(target: Uint8Array, targetOffset: number, length: number, position: number) {
    return patiently(this.#options, () => this.#file.read(target, targetOffset, length, position));
  }

  /** A write may be repeated even where it includes the fsync: it makes every page dirty again. */
  async write(chunks: readonly Uint8Array[], position: number): Promise<void> {
    try {
      await patiently(this.#options, () => this.#file.write(chunks, position));
    } catch (thrown) {
      throw this.#durable ? syncFailed(this.path, thrown) : thrown;
    }
  }

  async sync(): Promise<void> {
    try {
      await this.#file.sync();
    } catch (thrown) {
      throw syncFailed(this.path, thrown);
    }
  }

  truncate(sizeBytes: number): Promise<void> {
    return patiently(this.#options, () => this.#file.truncate(sizeBytes));
  }

  size(): Promise<number> {
    return patiently(this.#options, () => this.#file.size());
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

const syncDirectory = async (
  disk: Disk,
  options: PatientDiskOptions,
  path: string,
): Promise<void> => {
  let failed: unknown;
  await patiently(options, async () => {
    try {
      await disk.syncDirectory(path);
    } catch (thrown) {
      if (neverOpened(thrown)) throw thrown;
      failed = syncFailed(path, thrown);
    }
  });
  if (failed !== undefined) throw failed;
};

/** `disk` with patience. Its fsyncs fail with STORAGE_ERROR, never with an errno that passes. */
export const patientDisk = (disk: Disk, options: PatientDiskOptions): Disk => ({
  open: async (path, mode) =>
    new PatientFile(await patiently(options, () => disk.open(path, mode)), mode, options),
  rename: (from, to) => patiently(options, () => disk.rename(from, to)),
  unlink: (path) => patiently(options, () => disk.unlink(path)),
  makeDirectory: (path) => patiently(options, () => disk.makeDirectory(path)),
  removeDirectory: (path) => patiently(options, () => disk.removeDirectory(path)),
  list: (path) => patiently(options, () => disk.list(path)),
  fileSize: (path) => patiently(options, () => disk.fileSize(path)),
  syncDirectory: (path) => syncDirectory(disk, options, path),
  space: () => patiently(options, () => disk.space()),
});
