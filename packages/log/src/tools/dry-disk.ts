/**
 * A disk that looks like another one and never changes it: what is written, cut, renamed and
 * removed is kept in memory. A start can be tried on it.
 */
import type { Disk, DiskFile, OpenMode } from "@millrace/env";
import { parentOf } from "../files/checksummed-file.ts";
import { isMissing } from "../files/disk-errors.ts";
import { deletedSuffix } from "../segment/files.ts";

class DryFailure extends Error {
  readonly code: string;

  constructor(code: string, path: string) {
    super(`${code}: ${path}`);
    this.code = code;
  }
}

interface Extent {
  readonly position: number;
  readonly bytes: Buffer;
}

/** What a file holds: the first bytes of one on the disk, and what was written over them. */
class DryContent {
  /** Path on the disk; undefined for a file that is only here. */
  readonly source: string | undefined;
  #sourceBytes: number;
  #sizeBytes: number;
  #extents: Extent[] = [];

  constructor(source: string | undefined, sizeBytes: number) {
    this.source = source;
    this.#sourceBytes = sizeBytes;
    this.#sizeBytes = sizeBytes;
  }

  get sizeBytes(): number {
    return this.#sizeBytes;
  }

  /** Fills `target` from `position` on; `source` is the open file on the disk. */
  async read(source: DiskFile | undefined, target: Buffer, position: number): Promise<number> {
    const bytes = Math.max(0, Math.min(target.length, this.#sizeBytes - position));
    const view = target.subarray(0, bytes).fill(0);
    const kept = Math.min(bytes, this.#sourceBytes - position);
    if (kept > 0) await source?.read(view, 0, kept, position);
    for (const extent of this.#extents) {
      const from = Math.max(position, extent.position);
      const end = Math.min(position + bytes, extent.position + extent.bytes.length);
      if (from >= end) continue;
      extent.bytes.copy(view, from - position, from - extent.position, end - extent.position);
    }
    return bytes;
  }

  /** Keeps what differs: recovery writes again what it finds. */
  async write(source: DiskFile | undefined, bytes: Buffer, position: number): Promise<void> {
    const present = Buffer.alloc(bytes.length);
    const read = await this.read(source, present, position);
    if (read < bytes.length || !present.equals(bytes)) this.#extents.push({ position, bytes });
    this.#sizeBytes = Math.max(this.#sizeBytes, position + bytes.length);
  }

  truncate(sizeBytes: number): void {
    this.#sourceBytes = Math.min(this.#sourceBytes, sizeBytes);
    this.#sizeBytes = sizeBytes;
    this.#extents = this.#extents
      .filter(({ position }) => position < sizeBytes)
      .map(({ position, bytes }) => ({ position, bytes: bytes.subarray(0, sizeBytes - position) }));
  }
}

const openDry = (path: string, content: DryContent, source: DiskFile | undefined): DiskFile => ({
  path,
  read: (target, targetOffset, length, position) => {
    const { buffer, byteOffset } = target;
    return content.read(source, Buffer.from(buffer, byteOffset + targetOffset, length), position);
  },
  write: (chunks, position) => content.write(source, Buffer.concat(chunks), position),
  sync: async () => {},
  truncate: async (sizeBytes) => content.truncate(sizeBytes),
  size: async () => content.sizeBytes,
  close: async () => source?.close(),
});

/** What stands under a name, where it is not what the disk has there. */
type Entry = DryContent | "directory" | "gone";

const nameOf = (path: string): string => path.slice(path.lastIndexOf("/") + 1);

export class DryDisk implements Disk {
  readonly #disk: Disk;
  /** By the directory, then by the name. */
  readonly #changed = new Map<string, Map<string, Entry>>();
  /** Names that were listed, by the directory. */
  readonly #listed: Map<string, ReadonlySet<string>>;
  /** Paths that were listed, and are gone from the disk: somebody else is at work there. */
  readonly vanished: Set<string>;

  /** `from`: another view of the same disk, which keeps its changes, and shares what vanishes. */
  constructor(disk: Disk, from?: DryDisk) {
    this.#disk = disk;
    this.#listed = from === undefined ? new Map() : from.#listed;
    this.vanished = from === undefined ? new Set() : from.vanished;
  }

  async open(path: string, mode: OpenMode): Promise<DiskFile> {
    if (mode === "create") {
      if ((await this.fileSize(path)) !== undefined) throw new DryFailure("EEXIST", path);
      const made = new DryContent(undefined, 0);
      this.#set(path, made);
      return openDry(path, made, undefined);
    }
    const changed = this.#get(path);
    if (changed !== undefined) return this.#openChanged(path, changed);
    const source = await this.#watch(path, this.#disk.open(path, "read"));
    if (mode === "read") return source;
    const content = new DryContent(path, await source.size());
    this.#set(path, content);
    return openDry(path, content, source);
  }

  async rename(from: string, to: string): Promise<void> {
    const changed = this.#get(from);
    if (changed === "gone") throw new DryFailure("ENOENT", from);
    const bytes = changed === undefined ? await this.fileSize(from) : undefined;
    // What was in a directory is of no interest any more.
    const found = bytes === undefined ? "directory" : new DryContent(from, bytes);
    if (changed === undefined && bytes === undefined) await this.list(from);
    this.#set(from, "gone");
    this.#set(to, changed ?? found);
  }

  async unlink(path: string): Promise<void> {
    if ((await this.fileSize(path)) === undefined) throw new DryFailure("ENOENT", path);
    this.#set(path, "gone");
  }

  async makeDirectory(path: string): Promise<void> {
    this.#set(path, "directory");
  }

  async removeDirectory(path: string): Promise<void> {
    this.#set(path, "gone");
  }

  async list(path: string): Promise<string[]> {
    const entry = this.#get(path);
    if (entry === "gone") throw new DryFailure("ENOENT", path);
    const names = new Set(entry === undefined ? await this.#listDisk(path) : []);
    for (const [name, changed] of this.#changed.get(path) ?? []) {
      if (changed === "gone") names.delete(name);
      else names.add(name);
    }
    return [...names];
  }

  async fileSize(path: string): Promise<number | undefined> {
    const entry = this.#get(path);
    if (entry instanceof DryContent) return entry.sizeBytes;
    if (entry !== undefined) return undefined;
    const bytes = await this.#disk.fileSize(path);
    if (bytes === undefined) await this.#look(path);
    return bytes;
  }

  /** Whether the file of this path is the one on the disk, changed or not. */
  keeps(path: string): boolean {
    const entry = this.#get(path);
    return entry === undefined || (entry instanceof DryContent && entry.source === path);
  }

  async syncDirectory(): Promise<void> {}

  space(): Promise<{ freeBytes: number; totalBytes: number }> {
    return this.#disk.space();
  }

  async #openChanged(path: string, entry: Entry): Promise<DiskFile> {
    if (!(entry instanceof DryContent)) {
      throw new DryFailure(entry === "gone" ? "ENOENT" : "EISDIR", path);
    }
    const { source } = entry;
    const opening = source === undefined ? undefined : this.#disk.open(source, "read");
    return openDry(path, entry, opening && (await this.#watch(source ?? path, opening)));
  }

  async #watch<T>(path: string, work: Promise<T>): Promise<T> {
    try {
      return await work;
    } catch (thrown) {
      if (isMissing(thrown)) await this.#look(path);
      throw thrown;
    }
  }

  async #listDisk(path: string): Promise<readonly string[]> {
    const names = new Set(await this.#watch(path, this.#disk.list(path)));
    for (const name of this.#listed.get(path) ?? []) {
      if (!names.has(name)) this.#hasVanished(`${path}/${name}`);
    }
    this.#listed.set(path, names);
    return [...names];
  }

  /** Nothing is there under this name: was there? */
  async #look(path: string): Promise<void> {
    const parent = parentOf(path);
    if (this.#listed.get(parent)?.has(nameOf(path)) !== true) return;
    const names = await this.#disk.list(parent).catch((thrown: unknown): string[] => {
      if (isMissing(thrown)) return [];
      throw thrown;
    });
    if (!names.includes(nameOf(path))) this.#hasVanished(path);
  }

  /** What was given up already may go at any time: nobody reads it. */
  #hasVanished(path: string): void {
    if (!path.endsWith(deletedSuffix) && !path.endsWith(".tmp")) this.vanished.add(path);
  }

  #get(path: string): Entry | undefined {
    return this.#changed.get(parentOf(path))?.get(nameOf(path));
  }

  #set(path: string, entry: Entry): void {
    const parent = parentOf(path);
    const names = this.#changed.get(parent) ?? new Map<string, Entry>();
    this.#changed.set(parent, names);
    names.set(nameOf(path), entry);
  }
}
