/** Open files of segments: a bounded number, the least recently used closed first. */
import type { Disk, DiskFile, Logger } from "@millrace/env";
import { assert, ErrorCode, MillraceError } from "@millrace/errors";
import { isMissing } from "./disk-errors.ts";

/**
 * What a file belongs to. Handles are kept by this object and not by path: a path may name another
 * file tomorrow, and a handle of the old one must not come back then.
 */
export interface FileOwner {
  readonly path: string;
  /** The file is gone, or about to go. */
  readonly dropped: boolean;
}

interface Entry {
  readonly opening: Promise<DiskFile>;
  users: number;
  /** Closed as soon as nobody uses it. */
  forgotten: boolean;
}

/** STORAGE_ERROR of a reader whose segment went away under it. */
export const droppedError = (path: string): MillraceError =>
  new MillraceError(ErrorCode.STORAGE_ERROR, `${path} was dropped: read again`);

export class FileCache {
  readonly #disk: Disk;
  readonly #logger: Logger;
  readonly #filesMax: number;
  /** In order of last use. */
  readonly #entries = new Map<FileOwner, Entry>();
  #closed = false;

  constructor(disk: Disk, logger: Logger, filesMax: number) {
    this.#disk = disk;
    this.#logger = logger;
    this.#filesMax = filesMax;
  }

  get openFiles(): number {
    return this.#entries.size;
  }

  /**
   * Runs `use` with the owner's file, which must exist; it stays open at least that long. Rejects
   * with STORAGE_ERROR once the owner was dropped.
   */
  with<T>(owner: FileOwner, use: (file: DiskFile) => Promise<T>): Promise<T> {
    return this.#with(owner, false, use);
  }

  /** The same for the writer, which makes the file when it is missing. */
  withMade<T>(owner: FileOwner, use: (file: DiskFile) => Promise<T>): Promise<T> {
    return this.#with(owner, true, use);
  }

  /**
   * Before the file of a dropped owner is renamed or unlinked: its handle is closed once nobody
   * uses it.
   */
  forget(owner: FileOwner): void {
    assert(owner.dropped, "only files of dropped owners are forgotten");
    const entry = this.#entries.get(owner);
    if (entry === undefined) return;
    this.#entries.delete(owner);
    entry.forgotten = true;
    if (entry.users === 0) void this.#close(entry);
  }

  /** Closes every file that nobody uses right now: the process is short of descriptors. */
  closeIdle(): void {
    this.#shrinkTo(0);
  }

  async closeAll(): Promise<void> {
    // Nobody would close what is opened from here on, and Node ends the process over that.
    this.#closed = true;
    const entries = [...this.#entries.values()];
    this.#entries.clear();
    for (const entry of entries) {
      await this.#close(entry);
    }
  }

  async #with<T>(owner: FileOwner, make: boolean, use: (file: DiskFile) => Promise<T>): Promise<T> {
    for (;;) {
      const known = this.#entries.get(owner);
      const entry = this.#take(owner, make);
      let file: DiskFile;
      try {
        file = await entry.opening;
      } catch (thrown) {
        entry.users -= 1;
        // A handle that never opened is not kept.
        if (this.#entries.get(owner) === entry) this.#entries.delete(owner);
        // A reader asked first, for a file that was not there yet. The writer makes it.
        if (make && known === entry && isMissing(thrown)) continue;
        throw thrown;
      }
      try {
        return await use(file);
      } finally {
        this.#release(entry);
      }
    }
  }

  #release(entry: Entry): void {
    entry.users -= 1;
    if (entry.users === 0 && entry.forgotten) void this.#close(entry);
    this.#shrinkTo(this.#filesMax);
  }

  #take(owner: FileOwner, make: boolean): Entry {
    if (owner.dropped) throw droppedError(owner.path);
    if (this.#closed) {
      throw new MillraceError(ErrorCode.SHUTTING_DOWN, "the log is closed: retry elsewhere");
    }
    const known = this.#entries.get(owner);
    if (known !== undefined) {
      known.users += 1;
      this.#entries.delete(owner);
      this.#entries.set(owner, known);
      return known;
    }
    const entry: Entry = { opening: this.#open(owner.path, make), users: 1, forgotten: false };
    this.#entries.set(owner, entry);
    return entry;
  }

  async #open(path: string, make: boolean): Promise<DiskFile> {
    try {
      return await this.#disk.open(path, "write");
    } catch (thrown) {
      if (!make || !isMissing(thrown)) throw thrown;
      return this.#disk.open(path, "create");
    }
  }

  #shrinkTo(filesMax: number): void {
    if (this.#entries.size <= filesMax) return;
    for (const [owner, entry] of this.#entries) {
      if (this.#entries.size <= filesMax) return;
      if (entry.users > 0) continue;
      this.#entries.delete(owner);
      void this.#close(entry);
    }
  }

  /**
   * Never rejects. What must last was fsynced before, so a close that fails is told and changes
   * nothing.
   */
  async #close(entry: Entry): Promise<void> {
    let file: DiskFile;
    try {
      file = await entry.opening;
    } catch {
      // Whoever asked for the file is told.
      return;
    }
    try {
      await file.close();
    } catch (thrown) {
      this.#logger.warn({ path: file.path, err: thrown }, "a segment file cannot be closed");
    }
  }
}
