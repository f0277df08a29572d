/**
 * `npm run build`: the packages for people outside, as plain JavaScript, in `dist/packages`.
 * `npm run pack`: the same, and packed in `dist/packs`, ready for `npm install FILE`.
 */
import { spawnSync } from "node:child_process";
import { mkdirSync, rmSync } from "node:fs";
import { buildClient } from "./client.ts";
import { buildCommand } from "./command.ts";
import { packsDirectory, scratchDirectory } from "./workspace.ts";

interface Packed {
  readonly filename: string;
  readonly size: number;
  readonly unpackedSize: number;
  readonly entryCount: number;
}

const inKib = (bytes: number): string => `${Math.ceil(bytes / 1024)} KiB`;

const pack = (directory: string): void => {
  const args = ["pack", "--json", "--ignore-scripts", "--pack-destination", packsDirectory];
  const done = spawnSync("npm", args, { cwd: directory, encoding: "utf8" });
  if (done.status !== 0) throw new Error(`npm pack: ${done.stderr}`);
  const packed: Packed[] = Object.values(JSON.parse(done.stdout));
  for (const { filename, size, unpackedSize, entryCount } of packed) {
    const sizes = `${inKib(size)}, ${inKib(unpackedSize)} unpacked, ${entryCount} files`;
    console.log(`dist/packs/${filename}: ${sizes}`);
  }
};

const built = [await buildClient(), await buildCommand()];
rmSync(scratchDirectory, { recursive: true, force: true });
if (process.argv.includes("--pack")) {
  rmSync(packsDirectory, { recursive: true, force: true });
  mkdirSync(packsDirectory, { recursive: true });
  for (const directory of built) pack(directory);
}
