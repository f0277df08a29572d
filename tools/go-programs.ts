/** Programs that are built with Go, once, into a cache outside of the clone. */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";

/** What `go version` says, or undefined where there is no Go. */
export const goVersion = (): string | undefined => {
  const done = spawnSync("go", ["version"], { encoding: "utf8" });
  return done.status === 0 ? done.stdout.trim() : undefined;
};

const cacheRoot = (): string =>
  join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "millrace");

/**
 * Where the programs of a module and this Go are kept: others where one of these files of the
 * module is another. Throws where there is no Go.
 */
export const programsDirectory = (
  name: string,
  module: string,
  files: readonly string[] = ["go.mod", "go.sum"],
): string => {
  const version = goVersion();
  if (version === undefined) {
    throw new Error(`${name} cannot be built: there is no Go: install Go 1.26 or newer (go.dev)`);
  }
  const hash = createHash("sha256").update(version);
  for (const file of files) hash.update(readFileSync(join(module, file)));
  return join(cacheRoot(), `${name}-${hash.digest("hex").slice(0, 16)}`);
};

/** Another build may have been faster; its programs are the same. */
const moveInto = (from: string, into: string): void => {
  if (!existsSync(into)) renameSync(from, into);
};

/**
 * Builds what is missing of a directory: programs by the Go package that each is made from. Each
 * one is there as a whole, or not at all.
 */
export const buildMissing = (
  directory: string,
  module: string,
  programs: Readonly<Record<string, string>>,
  flags: readonly string[] = [],
): void => {
  const missing = Object.entries(programs).filter(([name]) => !existsSync(join(directory, name)));
  if (missing.length === 0) return;
  mkdirSync(directory, { recursive: true });
  const staging = mkdtempSync(join(dirname(directory), "build-"));
  try {
    for (const [name, source] of missing) {
      console.error(`Building ${name} (once)…`);
      const built = join(staging, name);
      const done = spawnSync("go", ["build", "-trimpath", ...flags, "-o", built, source], {
        cwd: module,
        stdio: ["ignore", 2, 2],
        env: { ...process.env, GOTOOLCHAIN: "local", CGO_ENABLED: "0" },
      });
      if (done.status !== 0) {
        throw new Error(`${name} cannot be built: go build: exit ${done.status}: see above`);
      }
      moveInto(built, join(directory, name));
    }
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
};
