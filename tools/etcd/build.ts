/**
 * Builds etcd, etcdctl and etcdutl of the version that `go.mod` beside this file pins, once, into a
 * cache outside of the clone. `node tools/etcd/build.ts` prints the directory.
 *
 * Needs Go; the first build downloads 0.2 GiB through Go's module proxy and takes about 110 s on
 * two cores.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));

/** Programs by the Go package that each is made from. */
const programs: Readonly<Record<string, string>> = {
  etcd: "go.etcd.io/etcd/server/v3",
  etcdctl: "go.etcd.io/etcd/etcdctl/v3",
  etcdutl: "go.etcd.io/etcd/etcdutl/v3",
};

const cacheRoot = (): string =>
  join(process.env["XDG_CACHE_HOME"] ?? join(homedir(), ".cache"), "millrace");

/** Where the programs of these sources and this Go are kept. */
const directoryFor = (goVersion: string): string => {
  const hash = createHash("sha256").update(goVersion);
  for (const name of ["go.mod", "go.sum"]) hash.update(readFileSync(join(here, name)));
  return join(cacheRoot(), `etcd-${hash.digest("hex").slice(0, 16)}`);
};

/** What `go version` says, or undefined where there is no Go. */
export const goVersion = (): string | undefined => {
  const done = spawnSync("go", ["version"], { encoding: "utf8" });
  return done.status === 0 ? done.stdout.trim() : undefined;
};

const build = (into: string): void => {
  mkdirSync(dirname(into), { recursive: true });
  const staging = mkdtempSync(`${into}.`);
  try {
    for (const [name, source] of Object.entries(programs)) {
      console.error(`Building ${name} (once)…`);
      const done = spawnSync("go", ["build", "-trimpath", "-o", join(staging, name), source], {
        cwd: here,
        stdio: ["ignore", 2, 2],
        env: { ...process.env, GOTOOLCHAIN: "local", CGO_ENABLED: "0" },
      });
      if (done.status !== 0) {
        throw new Error(`${name} cannot be built: go build: exit ${done.status}: see above`);
      }
    }
    // Another build may have been faster; its programs are the same.
    if (!existsSync(into)) renameSync(staging, into);
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
};

/**
 * The directory with `etcd`, `etcdctl` and `etcdutl`, built where they are missing. Throws where
 * there is no Go, or the build fails.
 */
export const etcdPrograms = (): string => {
  const version = goVersion();
  if (version === undefined) {
    throw new Error("etcd cannot be built: there is no Go: install Go 1.26 or newer (go.dev)");
  }
  const directory = directoryFor(version);
  if (!existsSync(directory)) build(directory);
  return directory;
};

if (process.argv[1] === fileURLToPath(import.meta.url)) console.log(etcdPrograms());
