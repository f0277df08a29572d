/** What the disk has, gave, and must forget (Linux). */
import { spawnSync } from "node:child_process";
import { accessSync, constants, readFileSync, statfsSync, writeFileSync } from "node:fs";

const switchPath = "/proc/sys/vm/drop_caches";

/** Why the page cache cannot be dropped here; undefined when it can. */
export const dropObstacle = (): string | undefined => {
  try {
    accessSync(switchPath, constants.W_OK);
    return undefined;
  } catch {
    return `the page cache cannot be dropped: ${switchPath} is not writable (root on Linux)`;
  }
};

/** Drops what is clean; so everything is written first. */
export const dropPageCache = (): void => {
  spawnSync("sync");
  writeFileSync(switchPath, "1\n");
};

const ioCount = (pid: number, name: string): number => {
  const found = new RegExp(`^${name}: (\\d+)`, "m").exec(readFileSync(`/proc/${pid}/io`, "utf8"));
  return Number(found?.[1] ?? 0);
};

/** Bytes that a process has made the disk read. Memory and page cache do not count. */
export const diskReadBytes = (pid: number): number => ioCount(pid, "read_bytes");

/** Bytes that a process has made dirty in the page cache, or written past it. */
export const diskWriteBytes = (pid: number): number => ioCount(pid, "write_bytes");

export const freeBytes = (directory: string): number => {
  const { bavail, bsize } = statfsSync(directory);
  return bavail * bsize;
};
