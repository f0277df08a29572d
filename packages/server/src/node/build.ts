/** Which build this is. */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";

export interface Build {
  readonly version: string;
  readonly commit: string;
}

/** What `tools/pack` builds into the package; in a clone there is none of it. */
declare const MILLRACE_BUILD: Build;

/** Undefined in a clone, where the sources run. */
export const build: Build | undefined =
  typeof MILLRACE_BUILD === "undefined" ? undefined : MILLRACE_BUILD;

const describe = ["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"];

/** Version and commit of the clone that these sources lie in. */
export const buildOfClone = async (): Promise<Build> => {
  const manifest = await readFile(new URL("../../package.json", import.meta.url), "utf8");
  const { version }: Build = JSON.parse(manifest);
  const cwd = fileURLToPath(new URL(".", import.meta.url));
  const commit = await promisify(execFile)("git", describe, { cwd }).then(
    ({ stdout }) => stdout.trim(),
    // There is no git, or these sources are in none of its repositories.
    () => "unknown commit",
  );
  return { version, commit };
};
