/** A place outside of the repository, where packs are installed and run. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import { packsDirectory, version } from "../../tools/pack/workspace.ts";

export const clientPack = join(packsDirectory, `millrace-client-${version}.tgz`);
export const commandPack = join(packsDirectory, `millrace-${version}.tgz`);

export interface Ended {
  readonly code: number | null;
  readonly out: string;
  readonly err: string;
}

export interface Surroundings {
  readonly cwd?: string;
  readonly input?: string;
  readonly env?: Readonly<Record<string, string>>;
}

/** Runs a command to its end, without what this process got from the repository. */
export const run = (
  [command = "", ...args]: readonly string[],
  { cwd, input = "", env = {} }: Surroundings = {},
): Ended => {
  const { NODE_COMPILE_CACHE: _, NODE_TEST_CONTEXT: __, ...own } = process.env;
  const done = spawnSync(command, args, {
    ...(cwd === undefined ? {} : { cwd }),
    input,
    env: { ...own, ...env },
    encoding: "utf8",
    timeout: 60_000,
  });
  return { code: done.status, out: done.stdout, err: done.stderr };
};

/** As `run`, of a command that must succeed. Returns what it printed. */
export const mustRun = (command: readonly string[], surroundings: Surroundings = {}): string => {
  const { code, out, err } = run(command, surroundings);
  assert.equal(code, 0, `${command.join(" ")}: ${code}\n${out}${err}`);
  return out;
};

/** An environment in which `node` is that of the given path. */
export const withNode = (path: string): Record<string, string> => ({
  PATH: `${dirname(path)}${delimiter}${process.env["PATH"]}`,
});

const quiet = ["--no-audit", "--no-fund", "--loglevel=error"];
const npm = ["npm", "install", "--prefer-offline", ...quiet];

/** Installs a pack in an empty directory, as a bare project does. */
export const installIn = (directory: string, pack: string): void => {
  writeFileSync(join(directory, "package.json"), '{"private": true}\n');
  mustRun([...npm, pack], { cwd: directory });
};

/** Installs a pack for all, below a directory. */
export const installBelow = (prefix: string, pack: string): void => {
  mustRun([...npm, "--global", "--prefix", prefix, pack]);
};
