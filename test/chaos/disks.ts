/** A small disk for each broker, which can be filled. Inside of a laboratory, and as root alone. */
import { mkdirSync, mkdtempSync, rmSync, statfsSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { system } from "./laboratory.ts";

/** Room for a run of hours, above what a broker keeps free. */
const diskSize = "1500M";
/** What is left on a disk that is full: less than a broker keeps free. */
const leftBytes = 64 * 1024 * 1024;

/** Mounts a file system at a directory, in an image beside it, which stays. */
export const mountDisk = (directory: string): void => {
  const image = `${directory}.img`;
  mkdirSync(directory, { recursive: true });
  system("truncate", ["-s", diskSize, image]);
  // No blocks are kept for root.
  system("mkfs.ext4", ["-q", "-F", "-m", "0", image]);
  system("mount", ["-o", "loop", image, directory]);
  rmSync(join(directory, "lost+found"), { recursive: true });
};

export const unmountDisk = (directory: string): void => system("umount", [directory]);

/** Why there are none on this machine, or undefined where there are. */
export const disksMissing = (): string | undefined => {
  const trial = mkdtempSync(join(tmpdir(), "millrace-disk-"));
  const directory = join(trial, "disk");
  try {
    mountDisk(directory);
    unmountDisk(directory);
    return undefined;
  } catch (thrown) {
    return `no disk can be mounted: ${thrown instanceof Error ? thrown.message : String(thrown)}`;
  } finally {
    rmSync(trial, { recursive: true });
  }
};

const ballastIn = (directory: string): string => join(directory, "ballast");

export const fillDisk = (directory: string): void => {
  const { bavail, bsize } = statfsSync(directory);
  const bytes = Math.max(1, bavail * bsize - leftBytes);
  system("fallocate", ["-l", String(bytes), ballastIn(directory)]);
};

export const freeDisk = (directory: string): void => {
  rmSync(ballastIn(directory), { force: true });
};
