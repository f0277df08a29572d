/** Open files of segments: a bounded number, the least recently used closed first. */
import type { Disk, DiskFile } from "@millrace/env";
import { isMissing } from "./disk-errors.ts";

interface Entry {
  readonly opening: Promise<DiskFile>;
  users: number;
  /** Closed as soon as nobody uses it. */
  forgotten: boolean;
}

export class FileCache {
  readonly #disk: Disk;
  readonly #filesMax: number;
  /** In order of last use. */
  readonly #entries = new Map<string, Entry>();

  constructor(disk: Disk, filesMax: number) {
    this.#disk = disk;
    this.#filesMax = filesMax;
  }

  get openFiles(): number {
    return this.#entries.size;
  }

  /** Runs `use` with the file, made if `create` and missing. The file stays open at least that long. */
  async with<T>(path: string, create: boolean, use: (file: DiskFile) => Promise<T>): Promise<T> {
    const entry = this.#take(path, create);
    try {
      return await use(await entry.opening);
    } catch (thrown) {
      if (this.#entries.get(path) === entry) await this.#dropFailed(path, entry);
      throw thrown;
    } finally {
      entry.users -= 1;
      if (entry.users === 0 && entry.forgotten) this.#close(entry);
      this.#shrink();
    }
  }

  /** Before a file is renamed or unlinked: nobody gets this handle any more. */
  forget(path: string): void {
    const entry = this.#entries.get(path);
    if (entry === undefined) return;
    this.#entries.delete(path);
    entry.forgotten = true;
    if (entry.users === 0) this.#close(entry);
  }

  async closeAll(): Promise<void> {
    const entries = [...this.#entries.values()];
    this.#entries.clear();
    for (const entry of entries) {
      const file = await entry.opening.catch(() => undefined);
      await file?.close();
    }
  }

  #take(path: string, create: boolean): Entry {
    const known = this.#entries.get(path);
    if (known !== undefined) {
      known.users += 1;
      this.#entries.delete(path);
      this.#entries.set(path, known);
      return known;
    }
    const entry: Entry = { opening: this.#open(path, create), users: 1, forgotten: false };
    entry.opening.catch(() => {});
    this.#entries.set(path, entry);
    return entry;
  }

  async #open(path: string, create: boolean): Promise<DiskFile> {
    try {
      return await this.#disk.open(path, "write");
    } catch (thrown) {
      if (!create || !isMissing(thrown)) throw thrown;
      return this.#disk.open(path, "create");
    }
  }

  /** A handle that never opened is not kept. */
  async #dropFailed(path: string, entry: Entry): Promise<void> {
    const opened = await entry.opening.then(
      () => true,
      () => false,
    );
    if (!opened && this.#entries.get(path) === entry) this.#entries.delete(path);
  }

  #shrink(): void {
    if (this.#entries.size <= this.#filesMax) return;
    for (const [path, entry] of this.#entries) {
      if (this.#entries.size <= this.#filesMax) return;
      if (entry.users > 0) continue;
      this.#entries.delete(path);
      this.#close(entry);
    }
  }

  #close(entry: Entry): void {
    entry.opening.then((file) => file.close()).catch(() => {});
  }
}
