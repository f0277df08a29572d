// Installs what the lock file says, when something else is installed. Plain JavaScript for the
// machine's own Node (20 or newer); everything after it runs on the Node 26 that this installs.
//
// What is installed is judged by content, never by times: checkouts, copies and container builds
// change those. An installation is made aside and moved into place when it is complete, so that one
// that fails leaves the one that works.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  realpathSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const modules = join(root, "node_modules");
const lockPath = join(root, "package-lock.json");
/** Says which lock file an installation by this program was made from. */
const markerName = ".millrace-installed";
/** `npm start` needs no development tools. */
const withDev = !process.argv.includes("--production");
const runtimeMajor = 26;

const fail = (text, code = 1) => {
  console.error(`error: ${text}`);
  process.exit(code);
};

const readJson = (path) => {
  try {
    return JSON.parse(readFileSync(path, "utf8"));
  } catch {
    return undefined;
  }
};

/** Whether `os` or `cpu` of a package names this machine; undefined when it names none. */
const namesThis = (list, value) => {
  if (list === undefined) return undefined;
  const names = [list].flat();
  if (names.includes(`!${value}`)) return false;
  return names.includes(value) || names.every((name) => name.startsWith("!"));
};

/** Whether this machine needs a package of the lock file. */
const isNeeded = (entry) => {
  if ((entry.dev || entry.devOptional) && !withDev) return false;
  const fits = [namesThis(entry.os, process.platform), namesThis(entry.cpu, process.arch)];
  if (fits.includes(false)) return false;
  // An optional package of no particular machine may be missing, and so may one for a C library.
  return !(entry.optional || entry.devOptional) || (fits.includes(true) && !entry.libc);
};

/** The first needed package that is not installed as the lock file says, or undefined. */
const firstMissing = (lock, installed) => {
  for (const [path, entry] of Object.entries(lock?.packages ?? {})) {
    if (!path.includes("node_modules/") || !isNeeded(entry)) continue;
    const found = installed?.packages?.[path];
    const same = entry.link
      ? found?.resolved === entry.resolved
      : found?.version === entry.version && found?.integrity === entry.integrity;
    if (!same) return path;
  }
  return undefined;
};

const hashOf = (bytes) => createHash("sha256").update(bytes).digest("hex");

/** The first needed package whose files are gone, whatever the records of the installation say. */
const firstGone = (lock) => {
  for (const [path, entry] of Object.entries(lock?.packages ?? {})) {
    if (!path.startsWith("node_modules/") || !isNeeded(entry)) continue;
    if (!existsSync(join(root, path, "package.json"))) return path;
  }
  return undefined;
};

const isInstalled = (lockBytes) => {
  const marker = readJson(join(modules, markerName));
  const lock = JSON.parse(lockBytes.toString());
  const isRecorded =
    (marker?.lock === hashOf(lockBytes) && (marker.dev || !withDev)) ||
    firstMissing(lock, readJson(join(modules, ".package-lock.json"))) === undefined;
  return isRecorded && firstGone(lock) === undefined;
};

/** What npm needs of the repository to install it elsewhere. */
const copyManifests = (lock, into) => {
  const copy = (path) => {
    if (!existsSync(join(root, path))) return;
    mkdirSync(dirname(join(into, path)), { recursive: true });
    copyFileSync(join(root, path), join(into, path));
  };
  for (const path of ["package.json", "package-lock.json", ".npmrc"]) copy(path);
  for (const path of Object.keys(lock.packages ?? {})) {
    if (path === "" || path.includes("node_modules/")) continue;
    copy(join(path, "package.json"));
    const bin = readJson(join(root, path, "package.json"))?.bin ?? {};
    for (const file of typeof bin === "string" ? [bin] : Object.values(bin)) copy(join(path, file));
  }
};

/** Leftovers of installations that were ended halfway. */
const removeOld = (cache) => {
  for (const name of existsSync(cache) ? readdirSync(cache) : []) {
    const path = join(cache, name);
    if (!name.startsWith("install-") || Date.now() - statSync(path).mtimeMs < 3_600_000) continue;
    rmSync(path, { recursive: true, force: true });
  }
};

const moveIntoPlace = (fresh, aside) => {
  const had = existsSync(modules);
  try {
    if (had) renameSync(modules, aside);
  } catch (thrown) {
    fail(
      `${modules} cannot be replaced (${thrown.code}), and is unchanged: ` +
        "if it is a mount, run `npm ci` in it, or unmount it",
    );
  }
  try {
    renameSync(fresh, modules);
  } catch (thrown) {
    if (had) renameSync(aside, modules);
    fail(`the new installation cannot be moved to ${modules}: ${thrown.code}: check the disk`);
  }
};

/** Development tools that are installed are installed again. */
const keepsDev = () => {
  const installed = readJson(join(modules, ".package-lock.json"))?.packages ?? {};
  return withDev || Object.values(installed).some((entry) => entry.dev);
};

/** Headers and manuals of the runtime: a third of it, for building what nothing here builds. */
const removeHeaders = (installed) => {
  for (const name of readdirSync(installed).filter((one) =>
    /^node-(bin-)?(linux|darwin)-/.test(one),
  )) {
    for (const part of ["include", "share"]) {
      rmSync(join(installed, name, part), { recursive: true, force: true });
    }
  }
};

const install = (lockBytes) => {
  console.error("Installing dependencies (once)…");
  const cache = join(root, ".cache");
  removeOld(cache);
  const staging = join(cache, `install-${process.pid}`);
  mkdirSync(staging, { recursive: true });
  copyManifests(JSON.parse(lockBytes.toString()), staging);
  // The runtime itself is an optional package, one per platform: it must not be omitted.
  const dev = keepsDev();
  const which = ["--include=optional", dev ? "--include=dev" : "--omit=dev"];
  const done = spawnSync("npm", ["ci", ...which, "--no-audit", "--no-fund", "--loglevel=error"], {
    cwd: staging,
    // With a pipe as stdout, npm's report would mix with the output of the program.
    stdio: ["ignore", 2, 2],
    shell: process.platform === "win32",
  });
  if (done.status !== 0) {
    rmSync(staging, { recursive: true, force: true });
    const how = done.error?.code ?? (done.status === null ? done.signal : `exit ${done.status}`);
    fail(
      `the dependencies cannot be installed: npm ci: ${how}: check the network and ` +
        "`npm config get registry`, then run this again. What was installed before is unchanged.",
      done.status ?? 1,
    );
  }
  const marker = { lock: hashOf(lockBytes), dev };
  const fresh = join(staging, "node_modules");
  mkdirSync(fresh, { recursive: true });
  removeHeaders(fresh);
  writeFileSync(join(fresh, markerName), `${JSON.stringify(marker)}\n`);
  moveIntoPlace(fresh, join(staging, "replaced"));
  rmSync(staging, { recursive: true, force: true });
};

/** Ends with what to do where the installed Node cannot run, as on a machine of another kind. */
const checkOwnRuntime = (own) => {
  // It runs this.
  if (realpathSync(own) === process.execPath) return;
  // Loads the program and its libraries, and starts no engine: a few milliseconds.
  const done = spawnSync(own, ["--version"], { stdio: "ignore" });
  if (done.status === 0) return;
  const why = done.error?.code ?? (done.status === null ? done.signal : `exit ${done.status}`);
  fail(
    `${own} cannot run on this machine (${why}): delete node_modules and run this again, or ` +
      `install Node ${runtimeMajor} (https://nodejs.org) and delete this file`,
  );
};

const checkRuntime = () => {
  const own = join(modules, ".bin", "node");
  const machine = Number(process.versions.node.split(".")[0]);
  if (existsSync(own)) checkOwnRuntime(own);
  if (existsSync(own) || machine >= runtimeMajor) return;
  fail(
    `there is no Node ${runtimeMajor} for ${process.platform} ${process.arch} in node_modules, ` +
      `and this machine has Node ${process.versions.node}: ` +
      `install Node ${runtimeMajor} (https://nodejs.org), then run this again`,
  );
};

const lockBytes = readFileSync(lockPath);
if (!isInstalled(lockBytes)) {
  if (Number(process.versions.node.split(".")[0]) < 20) {
    fail(`Node ${process.versions.node} is too old to install Millrace: install Node 20 or newer`);
  }
  install(lockBytes);
}
checkRuntime();
