/**
 * A simulated disk: a page cache over what is durable, names apart from contents, and every way in
 * which a crash may leave them. After Pillai et al. (OSDI '14) and TigerBeetle's VOPR: what was not
 * fsynced may survive whole, in parts, torn at a sector, or as zeros; names that were not fsynced
 * may be lost or kept, each on its own. An fsync covers what was written before it was called, and
 * one that fails loses what it covered (Rebello et al., ATC '20).
 */
import type { Disk, DiskFile, OpenMode } from "@millrace/env";
import { Directory, type Node } from "./disk/directory.ts";
import { Inode } from "./disk/inode.ts";
import type { Incarnation } from "./kernel.ts";
import type { SeededRandom } from "./random.ts";

/** What a crash does to what was not durable. */
export type CrashModel =
  /** The process dies, the machine lives: nothing is lost that had reached the page cache. */
  | "process"
  /** Power is cut: anything not fsynced may be lost, torn or kept. */
  | "power";

/** A disk at rest: what is on it, all of it durable. */
export interface DiskImage {
  readonly files: ReadonlyMap<string, Buffer>;
  readonly directories: readonly string[];
}

/** What `SimDisk.fault` is asked about. */
export type DiskOperation =
  | "open"
  | "read"
  | "write"
  | "sync"
  | "truncate"
  | "size"
  | "close"
  | "rename"
  | "unlink"
  | "makeDirectory"
  | "removeDirectory"
  | "list"
  | "fileSize"
  | "syncDirectory"
  | "space";

class DiskFailure extends Error {
  readonly code: string;

  constructor(code: string, path: string) {
    super(`${code}: ${path}`);
    this.code = code;
  }
}

const nameOf = (path: string): string => path.slice(path.lastIndexOf("/") + 1);

const parentOf = (path: string): string => {
  const slash = path.lastIndexOf("/");
  return slash < 0 ? "." : path.slice(0, slash);
};

/** The disk of one machine; it outlives the processes on it. */
export class SimDisk {
  readonly #random: SeededRandom;
  #root = new Directory();
  /** Operations so far; each is a place to crash at. */
  steps = 0;
  /** Called before an operation takes effect, with its number. */
  onStep: (step: number, what: string) => void = () => {};
  /**
   * Fails an operation with this errno name when it returns one. A failed write may have written a
   * beginning; a failed fsync loses what it covered.
   */
  fault: (operation: DiskOperation, path: string) => string | undefined = () => undefined;
  /** Bytes that fit on the disk; more is ENOSPC. */
  quotaBytes = Number.POSITIVE_INFINITY;
  /** Mean duration of an operation, milliseconds. */
  latencyMs = 0.2;
  /** Part of the operations that take about fifty times as long. */
  stallChance = 0;

  constructor(random: SeededRandom) {
    this.#random = random;
  }

  /** A disk that holds an image's files. */
  static of(image: DiskImage, random: SeededRandom): SimDisk {
    const disk = new SimDisk(random);
    for (const path of [...image.directories].sort()) {
      if (path !== ".") disk.#parent(path).setDurably(nameOf(path), new Directory());
    }
    for (const [path, content] of image.files) {
      disk.#parentOf(path).setDurably(nameOf(path), new Inode(content));
    }
    return disk;
  }

  /** The directory of a file, made if the image does not list it. */
  #parentOf(path: string): Directory {
    const parent = parentOf(path);
    if (this.#find(parent) === undefined) {
      this.#parentOf(parent).setDurably(nameOf(parent), new Directory());
    }
    return this.#directory(parent);
  }

  /**
   * A second disk in the same state, durable or not. The two have nothing in common from then on.
   */
  fork(random: SeededRandom): SimDisk {
    const fork = new SimDisk(random);
    fork.#root = this.#root.copy();
    fork.steps = this.steps;
    fork.quotaBytes = this.quotaBytes;
    fork.latencyMs = this.latencyMs;
    fork.stallChance = this.stallChance;
    return fork;
  }

  /** A copy of everything as the next read would see it. */
  image(): DiskImage {
    const files = new Map<string, Buffer>();
    const directories = ["."];
    for (const [path, node] of this.#walk()) {
      if (node instanceof Inode) files.set(path, Buffer.from(node.view()));
      else directories.push(path);
    }
    return { files, directories };
  }

  get usedBytes(): number {
    let bytes = 0;
    for (const [, node] of this.#walk()) if (node instanceof Inode) bytes += node.size;
    return bytes;
  }

  /** The disk as a process sees it. */
  mount(process: Incarnation): Disk {
    const run = <T>(operation: DiskOperation, path: string, effect: () => T): Promise<T> =>
      this.#operate(process, operation, path, effect);
    return {
      open: (path, mode) => run("open", path, () => this.#open(process, path, mode)),
      rename: (from, to) => run("rename", from, () => this.#rename(from, to)),
      unlink: (path) => run("unlink", path, () => this.#unlink(path)),
      makeDirectory: (path) => run("makeDirectory", path, () => this.#makeDirectory(path)),
      removeDirectory: (path) => run("removeDirectory", path, () => this.#removeDirectory(path)),
      list: (path) =>
        run("list", path, () => [...this.#directory(path).entries()].map(([name]) => name)),
      fileSize: (path) => run("fileSize", path, () => this.#file(path)?.size),
      syncDirectory: (path) => this.#syncDirectory(process, path),
      space: () =>
        run("space", ".", () => {
          const totalBytes = Math.min(this.quotaBytes, 2 ** 40);
          return { freeBytes: Math.max(0, totalBytes - this.usedBytes), totalBytes };
        }),
    };
  }

  /** The machine or the process stops; what is left is what the next process finds. */
  crash(model: CrashModel): void {
    if (model === "power") {
      this.#root.losePower(this.#random, new Set());
      return;
    }
    for (const [, node] of this.#walk()) {
      if (node instanceof Inode) node.processDied(this.#random);
    }
  }

  /**
   * Makes durable what processes see now: all names, or the contents of the files whose paths
   * match.
   */
  settle(what: "names" | RegExp): void {
    if (what === "names") this.#root.synced(this.#root.covered);
    for (const [path, node] of this.#walk()) {
      const wanted = what === "names" ? node instanceof Directory : what.test(path);
      if (wanted) node.synced(node.covered);
    }
  }

  /**
   * Flips a bit of what is durable, and of the page cache unless `cacheStaysGood`: then it is found
   * once the page was let go. False when the file has no such byte.
   */
  flipBit(path: string, position: number, bit: number, cacheStaysGood = false): boolean {
    const inode = this.#file(path);
    if (inode === undefined || position >= inode.size) return false;
    inode.flip(position, bit, cacheStaysGood);
    return true;
  }

  /** Paths of all files, sorted. */
  paths(): string[] {
    const paths: string[] = [];
    for (const [path, node] of this.#walk()) if (node instanceof Inode) paths.push(path);
    return paths.sort();
  }

  /** Content of a file as the next read would see it: a view, valid until the next change. */
  content(path: string): Buffer | undefined {
    return this.#file(path)?.view();
  }

  /** Bytes of a file that are on the platter; 0 when there is no such file. */
  durableBytes(path: string): number {
    return this.#file(path)?.durableSize ?? 0;
  }

  #operate<T>(
    process: Incarnation,
    operation: DiskOperation,
    path: string,
    effect: () => T,
    failed: () => void = () => {},
  ): Promise<T> {
    return new Promise((resolve, reject) => {
      const stall = this.stallChance > 0 && this.#random.chance(this.stallChance) ? 50 : 1;
      const delayMs = this.#random.float() * 2 * this.latencyMs * stall;
      process.schedule(delayMs, () => {
        this.steps += 1;
        this.onStep(this.steps, `${operation} ${path}`);
        if (!process.alive) return;
        try {
          const code = this.fault(operation, path);
          if (code !== undefined) {
            failed();
            throw new DiskFailure(code, path);
          }
          resolve(effect());
        } catch (thrown) {
          reject(thrown);
        }
      });
    });
  }

  #open(process: Incarnation, path: string, mode: OpenMode): DiskFile {
    const known = this.#file(path);
    if (mode === "create") {
      const parent = this.#parent(path);
      if (known !== undefined) throw new DiskFailure("EEXIST", path);
      const made = new Inode();
      parent.set(nameOf(path), made);
      return this.#handle(process, path, made, mode);
    }
    if (known === undefined) throw new DiskFailure("ENOENT", path);
    return this.#handle(process, path, known, mode);
  }

  #handle(process: Incarnation, path: string, inode: Inode, mode: OpenMode): DiskFile {
    const random = this.#random;
    const run = <T>(operation: DiskOperation, effect: () => T, failed?: () => void): Promise<T> =>
      this.#operate(process, operation, path, effect, failed);
    // As a kernel does, it takes the bytes while the write is under way, not when it is asked for.
    const writeNow = (chunks: readonly Uint8Array[], position: number): Promise<number> =>
      run(
        "write",
        () => this.#write(path, inode, Buffer.concat(chunks), position),
        () => {
          const bytes = Buffer.concat(chunks);
          const part = random.chance(0.5) ? 0 : random.below(bytes.length + 1);
          if (part > 0) inode.write(position, bytes.subarray(0, part));
        },
      );
    return {
      path,
      read: (target, targetOffset, length, position) =>
        run("read", () => {
          const bytes = inode.view().subarray(position, position + length);
          target.set(bytes, targetOffset);
          return bytes.length;
        }),
      write: async (chunks, position) => {
        if (mode === "read") throw new DiskFailure("EBADF", path);
        const change = await writeNow(chunks, position);
        if (mode !== "writeDurably") return;
        const failed = (): void => inode.dropped(change + 1, random, change);
        await run("sync", () => inode.syncedOne(change), failed);
      },
      sync: () => {
        const { covered } = inode;
        return run(
          "sync",
          () => inode.synced(covered),
          () => inode.dropped(covered, random),
        );
      },
      truncate: (size) => run("truncate", () => inode.resize(size)),
      size: () => run("size", () => inode.size),
      close: () => run("close", () => {}),
    };
  }

  #write(path: string, inode: Inode, bytes: Buffer, position: number): number {
    const growth = Math.max(0, position + bytes.length - inode.size);
    if (growth > 0 && this.quotaBytes < Number.POSITIVE_INFINITY) {
      const room = Math.max(0, this.quotaBytes - this.usedBytes);
      if (growth > room) {
        const fits = bytes.length - (growth - room);
        if (fits > 0) inode.write(position, bytes.subarray(0, fits));
        throw new DiskFailure("ENOSPC", path);
      }
    }
    return inode.write(position, bytes);
  }

  #rename(from: string, to: string): void {
    const source = this.#parent(from);
    const node = source.get(nameOf(from));
    if (node === undefined) throw new DiskFailure("ENOENT", from);
    const target = this.#parent(to);
    const replaced = target.get(nameOf(to));
    if (replaced instanceof Directory && (node instanceof Inode || replaced.size > 0)) {
      throw new DiskFailure(node instanceof Inode ? "EISDIR" : "ENOTEMPTY", to);
    }
    if (source === target) source.rename(nameOf(from), nameOf(to), node);
    else {
      source.remove(nameOf(from));
      target.set(nameOf(to), node);
    }
  }

  #unlink(path: string): void {
    if (this.#file(path) === undefined) throw new DiskFailure("ENOENT", path);
    this.#parent(path).remove(nameOf(path));
  }

  #makeDirectory(path: string): void {
    const parent = this.#parent(path);
    if (parent.get(nameOf(path)) !== undefined) throw new DiskFailure("EEXIST", path);
    parent.set(nameOf(path), new Directory());
  }

  #removeDirectory(path: string): void {
    if (this.#directory(path).size > 0) throw new DiskFailure("ENOTEMPTY", path);
    this.#parent(path).remove(nameOf(path));
  }

  /**
   * Covers the changes before the call, as an fsync of a file does. One that fails loses nothing
   * that the next could not make durable: a journalling file system that cannot write its metadata
   * stops.
   */
  #syncDirectory(process: Incarnation, path: string): Promise<void> {
    const directory = this.#find(path);
    const covered = directory instanceof Directory ? directory.covered : 0;
    return this.#operate(process, "syncDirectory", path, () => {
      if (!(directory instanceof Directory)) throw new DiskFailure("ENOENT", path);
      directory.synced(covered);
    });
  }

  #find(path: string): Node | undefined {
    if (path === ".") return this.#root;
    let node: Node | undefined = this.#root;
    for (const name of path.split("/")) {
      if (!(node instanceof Directory)) return undefined;
      node = node.get(name);
    }
    return node;
  }

  #file(path: string): Inode | undefined {
    const node = this.#find(path);
    return node instanceof Inode ? node : undefined;
  }

  #directory(path: string): Directory {
    const node = this.#find(path);
    if (!(node instanceof Directory)) throw new DiskFailure("ENOENT", path);
    return node;
  }

  #parent(path: string): Directory {
    return this.#directory(parentOf(path));
  }

  *#walk(): Iterable<[string, Node]> {
    const queue: [string, Directory][] = [["", this.#root]];
    for (let next = queue.pop(); next !== undefined; next = queue.pop()) {
      const [prefix, directory] = next;
      for (const [name, node] of directory.entries()) {
        yield [`${prefix}${name}`, node];
        if (node instanceof Directory) queue.push([`${prefix}${name}/`, node]);
      }
    }
  }
}
