/** `Disk` on a directory of the real file system. */
import { constants, read, writev } from "node:fs";
import * as fs from "node:fs/promises";
import { join } from "node:path";
import type { Disk, DiskFile, OpenMode } from "../env.ts";

/** Most buffers in one `writev` (IOV_MAX of Linux). */
const chunksPerCallMax = 1024;

const flagsOf = (mode: OpenMode): number => {
  if (mode === "read") return constants.O_RDONLY;
  if (mode === "write") return constants.O_RDWR;
  // Equals a write and an fdatasync, with one trip to the thread pool less.
  if (mode === "writeDurably") return constants.O_RDWR | constants.O_DSYNC;
  return constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
};

/** `chunks` without their first `bytes` bytes. */
const after = (chunks: readonly Uint8Array[], bytes: number): Uint8Array[] => {
  const rest: Uint8Array[] = [];
  let skip = bytes;
  for (const chunk of chunks) {
    if (skip >= chunk.length) {
      skip -= chunk.length;
    } else {
      rest.push(skip === 0 ? chunk : chunk.subarray(skip));
      skip = 0;
    }
  }
  return rest;
};

/** The callback form costs the event loop less than the method of the handle. */
const writeAt = (fd: number, chunks: readonly Uint8Array[], position: number): Promise<number> =>
  new Promise((resolve, reject) => {
    writev(fd, chunks, position, (error, bytesWritten) => {
      if (error === null) resolve(bytesWritten);
      else reject(error);
    });
  });

const writeAll = async (
  fd: number,
  chunks: readonly Uint8Array[],
  position: number,
): Promise<void> => {
  let at = position;
  let rest = chunks;
  while (rest.length > 0) {
    const now = rest.slice(0, chunksPerCallMax);
    const bytes = now.reduce((sum, chunk) => sum + chunk.length, 0);
    const bytesWritten = await writeAt(fd, now, at);
    at += bytesWritten;
    rest =
      bytesWritten === bytes
        ? rest.slice(now.length)
        : [...after(now, bytesWritten), ...rest.slice(now.length)];
  }
};

/** `read` of a file. One call may read less than there is. */
const readAll = async (
  readSome: (done: number) => Promise<number>,
  length: number,
): Promise<number> => {
  let done = 0;
  while (done < length) {
    const bytesRead = await readSome(done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return done;
};

/**
 * A file that another thread of this process has open, by its `descriptor`. It must stay open until
 * every call has ended.
 */
export const fileOfDescriptor = (fd: number): Pick<DiskFile, "descriptor" | "read" | "write"> => ({
  descriptor: fd,
  read: (target, targetOffset, length, position) => {
    const readSome = (done: number): Promise<number> =>
      new Promise((resolve, reject) => {
        const [to, bytes, from] = [targetOffset + done, length - done, position + done];
        read(fd, target, to, bytes, from, (error, bytesRead) => {
          if (error === null) resolve(bytesRead);
          else reject(error);
        });
      });
    return readAll(readSome, length);
  },
  write: (chunks, position) => writeAll(fd, chunks, position),
});

class NodeFile implements DiskFile {
  readonly path: string;
  readonly #handle: fs.FileHandle;
  /**
   * The handle does not know about these writes: closing it must wait, or its descriptor could be
   * reused under them.
   */
  #writes = 0;
  #onWritten: (() => void) | undefined;

  constructor(path: string, handle: fs.FileHandle) {
    this.path = path;
    this.#handle = handle;
  }

  get descriptor(): number {
    return this.#handle.fd;
  }

  read(
    target: Uint8Array,
    targetOffset: number,
    length: number,
    position: number,
  ): Promise<number> {
    const readSome = async (done: number): Promise<number> => {
      const [to, bytes, from] = [targetOffset + done, length - done, position + done];
      return (await this.#handle.read(target, to, bytes, from)).bytesRead;
    };
    return readAll(readSome, length);
  }

  async write(chunks: readonly Uint8Array[], position: number): Promise<void> {
    this.#writes += 1;
    try {
      await writeAll(this.#handle.fd, chunks, position);
    } finally {
      this.#writes -= 1;
      if (this.#writes === 0) this.#onWritten?.();
    }
  }

  sync(): Promise<void> {
    return this.#handle.datasync();
  }

  truncate(sizeBytes: number): Promise<void> {
    return this.#handle.truncate(sizeBytes);
  }

  async size(): Promise<number> {
    return (await this.#handle.stat()).size;
  }

  async close(): Promise<void> {
    if (this.#writes > 0) {
      await new Promise<void>((resolve) => {
        this.#onWritten = resolve;
      });
    }
    await this.#handle.close();
  }
}

const codeOf = (thrown: unknown): unknown =>
  thrown instanceof Error && "code" in thrown ? thrown.code : undefined;

const isMissing = (thrown: unknown): boolean => codeOf(thrown) === "ENOENT";

/**
 * The directory `root`, which must exist, as a disk. Failures are those of Node, with their `code`,
 * and come at once: what passes by itself, such as EMFILE, is for the caller to wait out.
 */
export const nodeDisk = (root: string): Disk => ({
  open: async (path, mode) =>
    new NodeFile(path, await fs.open(join(root, path), flagsOf(mode), 0o640)),
  rename: (from, to) => fs.rename(join(root, from), join(root, to)),
  unlink: (path) => fs.unlink(join(root, path)),
  makeDirectory: async (path) => {
    await fs.mkdir(join(root, path), { mode: 0o750 });
  },
  removeDirectory: (path) => fs.rmdir(join(root, path)),
  list: (path) => fs.readdir(join(root, path)),
  fileSize: async (path) => {
    try {
      const stat = await fs.stat(join(root, path));
      return stat.isFile() ? stat.size : undefined;
    } catch (thrown) {
      if (isMissing(thrown)) return undefined;
      throw thrown;
    }
  },
  syncDirectory: async (path) => {
    const handle = await fs.open(join(root, path), constants.O_RDONLY);
    try {
      await handle.sync();
    } finally {
      await handle.close();
    }
  },
  space: async () => {
    const stat = await fs.statfs(join(root, "."));
    return { freeBytes: stat.bavail * stat.bsize, totalBytes: stat.blocks * stat.bsize };
  },
});
