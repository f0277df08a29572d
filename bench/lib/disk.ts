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

/** Bytes that a process has made the disk read. Memory and page cache do not count. */
export const diskReadBytes = (pid: number): number => {
  const found = /^read_bytes: (\d+)/m.exec(readFileSync(`/proc/${pid}/io`, "utf8"));
  return Number(found?.[1] ?? 0);
};

export const freeBytes = (directory: string): number => {
  const { bavail, bsize } = statfsSync(directory);
  return bavail * bsize;
};
