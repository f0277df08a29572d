/**
 * A simulated disk: a page cache over what is durable, names apart from contents, and every way in which a crash may
 * leave them. After Pillai et al. (OSDI '14) and the VOPR: what was not fsynced may survive whole, in parts, torn at a
 * sector, or as zeros; names that were not fsynced may be lost or kept, each on its own.
 */
import type { Disk, DiskFile, OpenMode } from "@millrace/env";
import type { Incarnation } from "./kernel.ts";
import type { SeededRandom } from "./random.ts";

interface Write {
  readonly position: number;
  readonly bytes: Buffer;
}

/** A change of content that is not durable: a write, or a new size. */
type Change = Write | { readonly size: number };

interface Inode {
  durable: Buffer;
  cached: Buffer;
  changes: Change[];
}

/** A change of names that is not durable. */
type NameChange =
  | { readonly kind: "link"; readonly path: string; readonly inode: Inode }
  | { readonly kind: "unlink"; readonly path: string }
  | { readonly kind: "rename"; readonly from: string; readonly to: string; readonly inode: Inode }
  | { readonly kind: "makeDirectory"; readonly path: string }
  | { readonly kind: "removeDirectory"; readonly path: string };

/** What a crash does to what was not durable. */
export type CrashModel =
  /** The process dies, the machine lives: nothing is lost. */
  | "process"
  /** Power is cut: anything not fsynced may be lost, torn or kept. */
  | "power";

/** A disk at rest: what is on it, all of it durable. */
export interface DiskImage {
  readonly files: ReadonlyMap<string, Buffer>;
  readonly directories: readonly string[];
}

class DiskFailure extends Error {
  readonly code: string;

  constructor(code: string, path: string) {
    super(`${code}: ${path}`);
    this.code = code;
  }
}

const parentOf = (path: string): string => {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "." : path.slice(0, slash);
};

const isWrite = (change: Change): change is Write => "bytes" in change;

const applied = (content: Buffer, change: Change): Buffer => {
  if (!isWrite(change)) {
    if (change.size <= content.length) return Buffer.from(content.subarray(0, change.size));
    return Buffer.concat([content, Buffer.alloc(change.size - content.length)]);
  }
  const end = change.position + change.bytes.length;
  const grown =
    end > content.length ? Buffer.concat([content, Buffer.alloc(end - content.length)]) : content;
  change.bytes.copy(grown, change.position);
  return grown;
};

/** The disk of one machine; it outlives the processes on it. */
export class SimDisk {
  readonly #random: SeededRandom;
  #files = new Map<string, Inode>();
  #directories = new Set<string>(["."]);
  #durableFiles = new Map<string, Inode>();
  #durableDirectories = new Set<string>(["."]);
  #nameChanges: NameChange[] = [];
  /** Operations so far; each is a place to crash at. */
  steps = 0;
  /** Called before an operation takes effect, with its number. */
  onStep: (step: number, what: string) => void = () => {};
  /** Fails an operation with this errno name when it returns one. */
  fault: (operation: string, path: string) => string | undefined = () => undefined;
  quotaBytes = Number.POSITIVE_INFINITY;
  /** Mean duration of an operation, milliseconds. */
  latencyMs = 0.2;

  constructor(random: SeededRandom) {
    this.#random = random;
  }

  /** A disk that holds an image's files. */
  static of(image: DiskImage, random: SeededRandom): SimDisk {
    const disk = new SimDisk(random);
    disk.#directories = new Set(image.directories);
    disk.#durableDirectories = new Set(image.directories);
    for (const [path, content] of image.files) {
      const inode = { durable: Buffer.from(content), cached: Buffer.from(content), changes: [] };
      disk.#files.set(path, inode);
      disk.#durableFiles.set(path, inode);
    }
    return disk;
  }

  /** A copy of everything as the next read would see it. */
  image(): DiskImage {
    const files = new Map<string, Buffer>();
    for (const path of this.paths()) files.set(path, Buffer.from(this.content(path) ?? []));
    return { files, directories: [...this.#directories] };
  }

  get usedBytes(): number {
    let bytes = 0;
    for (const inode of this.#files.values()) bytes += inode.cached.length;
    return bytes;
  }

  /** The disk as a process sees it. */
  mount(process: Incarnation): Disk {
    const run = <T>(operation: string, path: string, effect: () => T): Promise<T> =>
      this.#operate(process, operation, path, effect);
    return {
      open: (path, mode) => run("open", path, () => this.#open(process, path, mode)),
      rename: (from, to) => run("rename", from, () => this.#rename(from, to)),
      unlink: (path) => run("unlink", path, () => this.#unlink(path)),
      makeDirectory: (path) => run("makeDirectory", path, () => this.#makeDirectory(path)),
      removeDirectory: (path) => run("removeDirectory", path, () => this.#removeDirectory(path)),
      list: (path) => run("list", path, () => this.#list(path)),
      fileSize: (path) => run("fileSize", path, () => this.#files.get(path)?.cached.length),
      syncDirectory: (path) => run("syncDirectory", path, () => this.#syncDirectory(path)),
      space: () =>
        run("space", ".", () => ({
          freeBytes: Math.max(0, Math.min(this.quotaBytes, 2 ** 40) - this.usedBytes),
          totalBytes: Math.min(this.quotaBytes, 2 ** 40),
        })),
    };
  }

  /** The machine stops; what is left is what the next process finds. */
  crash(model: CrashModel): void {
    if (model === "process") return;
    const changes = this.#nameChanges;
    this.#nameChanges = [];
    // Mostly all or nothing or a beginning, sometimes any of them.
    const keepUpTo = this.#random.chance(0.3)
      ? changes.length
      : this.#random.below(changes.length + 1);
    const anyOrder = this.#random.chance(0.4);
    for (const [i, change] of changes.entries()) {
      const keep = anyOrder ? this.#random.chance(0.5) : i < keepUpTo;
      if (keep) this.#makeNameDurable(change);
    }
    this.#files = new Map(this.#durableFiles);
    this.#directories = new Set(this.#durableDirectories);
    for (const [path] of this.#files) {
      if (!this.#directories.has(parentOf(path))) this.#files.delete(path);
    }
    this.#durableFiles = new Map(this.#files);
    for (const inode of new Set(this.#files.values())) this.#loseUnsynced(inode);
  }

  /** Flips a bit of what is durable; false when the file has no such byte. */
  flipBit(path: string, position: number, bit: number): boolean {
    const inode = this.#files.get(path);
    if (inode === undefined || position >= inode.cached.length) return false;
    const flip = (content: Buffer): void => {
      content[position] = (content[position] ?? 0) ^ (1 << bit);
    };
    flip(inode.cached);
    if (position < inode.durable.length) flip(inode.durable);
    return true;
  }

  /** Paths of all files. */
  paths(): string[] {
    return [...this.#files.keys()].sort();
  }

  /** Content of a file as the next read would see it. */
  content(path: string): Buffer | undefined {
    return this.#files.get(path)?.cached;
  }

  #operate<T>(process: Incarnation, operation: string, path: string, effect: () => T): Promise<T> {
    return new Promise((resolve, reject) => {
      const delayMs = this.#random.float() * 2 * this.latencyMs;
      process.schedule(delayMs, () => {
        this.steps += 1;
        this.onStep(this.steps, `${operation} ${path}`);
        if (!process.alive) return;
        try {
          const code = this.fault(operation, path);
          if (code !== undefined) throw new DiskFailure(code, path);
          resolve(effect());
        } catch (thrown) {
          reject(thrown);
        }
      });
    });
  }

  #open(process: Incarnation, path: string, mode: OpenMode): DiskFile {
    let inode = this.#files.get(path);
    if (mode === "create") {
      if (inode !== undefined) throw new DiskFailure("EEXIST", path);
      if (!this.#directories.has(parentOf(path))) throw new DiskFailure("ENOENT", path);
      inode = { durable: Buffer.alloc(0), cached: Buffer.alloc(0), changes: [] };
      this.#files.set(path, inode);
      this.#nameChanges.push({ kind: "link", path, inode });
    }
    if (inode === undefined) throw new DiskFailure("ENOENT", path);
    return this.#handle(process, path, inode, mode);
  }

  #handle(process: Incarnation, path: string, inode: Inode, mode: OpenMode): DiskFile {
    const run = <T>(operation: string, effect: () => T): Promise<T> =>
      this.#operate(process, operation, path, effect);
    const sync = (): Promise<void> =>
      run("sync", () => {
        inode.durable = Buffer.from(inode.cached);
        inode.changes = [];
      });
    return {
      path,
      read: (target, targetOffset, length, position) =>
        run("read", () => {
          const bytes = inode.cached.subarray(position, position + length);
          target.set(bytes, targetOffset);
          return bytes.length;
        }),
      write: (chunks, position) => {
        if (mode === "read") throw new DiskFailure("EBADF", path);
        const bytes = Buffer.concat(chunks);
        const written = run("write", () => this.#write(path, inode, bytes, position));
        return mode === "writeDurably" ? written.then(sync) : written;
      },
      sync,
      truncate: (size) => run("truncate", () => this.#change(inode, { size })),
      size: () => run("size", () => inode.cached.length),
      close: () => run("close", () => {}),
    };
  }

  #write(path: string, inode: Inode, bytes: Buffer, position: number): void {
    const growth = Math.max(0, position + bytes.length - inode.cached.length);
    const room = Math.max(0, this.quotaBytes - this.usedBytes);
    if (growth > room) {
      const fits = bytes.length - (growth - room);
      if (fits > 0) this.#change(inode, { position, bytes: bytes.subarray(0, fits) });
      throw new DiskFailure("ENOSPC", path);
    }
    this.#change(inode, { position, bytes });
  }

  #change(inode: Inode, change: Change): void {
    inode.cached = applied(inode.cached, change);
    inode.changes.push(change);
  }

  #rename(from: string, to: string): void {
    const inode = this.#files.get(from);
    if (inode !== undefined) {
      this.#files.delete(from);
      this.#files.set(to, inode);
      this.#nameChanges.push({ kind: "rename", from, to, inode });
      return;
    }
    if (!this.#directories.has(from)) throw new DiskFailure("ENOENT", from);
    this.#renameDirectory(from, to);
  }

  /** Directories are renamed with everything in them, durably at once: the log fsyncs right after. */
  #renameDirectory(from: string, to: string): void {
    const moved = (path: string): string =>
      path === from || path.startsWith(`${from}/`) ? to + path.slice(from.length) : path;
    const files = (map: Map<string, Inode>) =>
      new Map([...map].map(([path, inode]) => [moved(path), inode] as const));
    this.#files = files(this.#files);
    this.#durableFiles = files(this.#durableFiles);
    this.#directories = new Set([...this.#directories].map(moved));
    this.#durableDirectories = new Set([...this.#durableDirectories].map(moved));
    this.#nameChanges = this.#nameChanges.map((change) =>
      change.kind === "rename"
        ? { ...change, from: moved(change.from), to: moved(change.to) }
        : { ...change, path: moved(change.path) },
    );
  }

  #unlink(path: string): void {
    if (!this.#files.delete(path)) throw new DiskFailure("ENOENT", path);
    this.#nameChanges.push({ kind: "unlink", path });
  }

  #makeDirectory(path: string): void {
    if (this.#directories.has(path)) throw new DiskFailure("EEXIST", path);
    if (!this.#directories.has(parentOf(path))) throw new DiskFailure("ENOENT", path);
    this.#directories.add(path);
    this.#nameChanges.push({ kind: "makeDirectory", path });
  }

  #removeDirectory(path: string): void {
    if (!this.#directories.has(path)) throw new DiskFailure("ENOENT", path);
    if (this.#list(path).length > 0) throw new DiskFailure("ENOTEMPTY", path);
    this.#directories.delete(path);
    this.#nameChanges.push({ kind: "removeDirectory", path });
  }

  #list(path: string): string[] {
    if (!this.#directories.has(path)) throw new DiskFailure("ENOENT", path);
    const names: string[] = [];
    for (const entry of [...this.#files.keys(), ...this.#directories]) {
      if (entry !== "." && parentOf(entry) === path)
        names.push(entry.slice(entry.lastIndexOf("/") + 1));
    }
    return names;
  }

  #syncDirectory(path: string): void {
    const kept: NameChange[] = [];
    for (const change of this.#nameChanges) {
      const place = change.kind === "rename" ? change.to : change.path;
      if (parentOf(place) === path) this.#makeNameDurable(change);
      else kept.push(change);
    }
    this.#nameChanges = kept;
  }

  #makeNameDurable(change: NameChange): void {
    if (change.kind === "link") this.#durableFiles.set(change.path, change.inode);
    else if (change.kind === "unlink") this.#durableFiles.delete(change.path);
    else if (change.kind === "rename") {
      this.#durableFiles.delete(change.from);
      this.#durableFiles.set(change.to, change.inode);
    } else if (change.kind === "makeDirectory") this.#durableDirectories.add(change.path);
    else this.#durableDirectories.delete(change.path);
  }

  /** Of the changes since the last fsync all, some, parts or none reach the disk. */
  #loseUnsynced(inode: Inode): void {
    const random = this.#random;
    const { changes } = inode;
    inode.changes = [];
    let content: Buffer = Buffer.from(inode.durable);
    const fate = random.below(4);
    const keepUpTo = random.below(changes.length + 1);
    for (const [i, change] of changes.entries()) {
      const keep = fate === 0 ? true : fate === 1 ? i < keepUpTo : fate === 2 && random.chance(0.5);
      if (keep) content = applied(content, change);
      else if (isWrite(change) && fate === 1 && i === keepUpTo) {
        content = applied(content, this.#torn(change));
      }
    }
    inode.durable = content;
    inode.cached = Buffer.from(content);
  }

  /** A part of a write, in whole sectors, the rest as it was, zeros or junk. */
  #torn(write: Write): Write {
    const random = this.#random;
    const sector = random.chance(0.5) ? 512 : 4096;
    const end = write.position + write.bytes.length;
    const sectors = Math.ceil(end / sector) - Math.floor(write.position / sector);
    const upTo = (Math.floor(write.position / sector) + random.below(sectors + 1)) * sector;
    const bytes = Math.max(0, Math.min(upTo - write.position, write.bytes.length));
    const kept = Buffer.from(write.bytes.subarray(0, bytes));
    if (random.chance(0.5)) return { position: write.position, bytes: kept };
    const rest = write.bytes.length - bytes;
    const filler = random.chance(0.5) ? Buffer.alloc(rest) : Buffer.from(random.bytes(rest));
    return { position: write.position, bytes: Buffer.concat([kept, filler]) };
  }
}
