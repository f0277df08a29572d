/**
 * Tools of other languages, each kit in a directory of the cache, outside of the clone, made once.
 * `npm run languages:fetch` makes what is missing, and prints the directories. A kit that cannot be
 * had on this machine is told by name; its tests are skipped.
 */
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
} from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const here = dirname(fileURLToPath(import.meta.url));

/** When fetching must be over; what is late goes on from its tool's caches in the next run. */
let deadline = Number.POSITIVE_INFINITY;

const run = (
  command: string,
  args: readonly string[],
  env: NodeJS.ProcessEnv = {},
  cwd = here,
): void => {
  const done = spawnSync(command, args, {
    cwd,
    // The output of the program is the directories alone.
    stdio: ["ignore", 2, 2],
    env: { ...process.env, ...env },
    ...(Number.isFinite(deadline) && { timeout: Math.max(1, deadline - Date.now()) }),
  });
  if (done.status === 0) return;
  const how = done.error?.message ?? `exit ${done.status ?? done.signal}`;
  throw new Error(`${command} ${args[0]}: ${how}`);
};

interface Recipe {
  /** Prints the version of what the kit is made with; the kit depends on it. */
  readonly probe: readonly [command: string, ...args: string[]];
  /** What the kit is made from: files beside this one, and names. */
  readonly files: readonly string[];
  readonly names: readonly string[];
  readonly make: (into: string) => void;
}

/** Builds programs with Go, as `go.mod` beside this file pins them. */
const goBuild = (...packages: readonly string[]): Recipe => ({
  probe: ["go", "version"],
  files: ["go.mod", "go.sum"],
  names: packages,
  make: (into) => {
    const env = { GOTOOLCHAIN: "local", CGO_ENABLED: "0" };
    run("go", ["build", "-trimpath", "-o", `${into}/`, ...packages], env);
  },
});

/** The compiler for every language, and the files that .proto files import. */
const protoc = "com.google.protobuf:protoc:4.36.2";
const imports = "com.google.protobuf:protobuf-java:4.36.2";
/** The plugin for Java's services: the version in `pom.xml`, and what its programs hash to. */
const javaPlugin = "io.grpc:protoc-gen-grpc-java:1.83.1";
const javaPluginHashes: Readonly<Record<string, string>> = {
  "linux-x86_64": "db4044e78391d5a23439143c8147f07ba5877675587b4d48f3b68fbee3893589",
  "linux-aarch_64": "5af5544369bd8557111abfbed21453bb6fa867bf32a25f2ffe5f72366e705cef",
  "osx-x86_64": "372e13b25cb058ea6e3ab6cb54ba1458d5d2bbe1cfdcd37bc57e82b872656e21",
  "osx-aarch_64": "372e13b25cb058ea6e3ab6cb54ba1458d5d2bbe1cfdcd37bc57e82b872656e21",
};
const mavenPlugin = "org.apache.maven.plugins:maven-dependency-plugin:2.8";
const systems: Readonly<Record<string, string>> = { linux: "linux", darwin: "osx" };
const processors: Readonly<Record<string, string>> = { x64: "x86_64", arm64: "aarch_64" };
const classifier = `${systems[process.platform]}-${processors[process.arch]}`;

const maven = (goal: string, into: string, ...options: readonly string[]): void => {
  const plain = ["--batch-mode", "--quiet", "-Dstyle.color=never"];
  // Maven leaves notes where it runs.
  const cwd = join(into, "notes");
  mkdirSync(cwd);
  run("mvn", [`${mavenPlugin}:${goal}`, ...plain, ...options], {}, cwd);
  rmSync(cwd, { recursive: true });
};

/** A program for this machine, under a name of ours in `bin`. */
const mavenProgram = (artifact: string, into: string, name: string): string => {
  const bin = join(into, "bin");
  maven("copy", into, `-Dartifact=${artifact}:exe:${classifier}`, `-DoutputDirectory=${bin}`);
  const [file] = readdirSync(bin);
  if (file === undefined) throw new Error(`mvn copied no ${name}`);
  const path = join(bin, name);
  renameSync(join(bin, file), path);
  chmodSync(path, 0o755);
  return path;
};

const requireHash = (path: string, wanted: string | undefined): void => {
  const hash = createHash("sha256").update(readFileSync(path)).digest("hex");
  if (hash !== wanted) throw new Error(`${path} has the SHA-256 ${hash}, and not ${wanted}`);
};

const recipes = {
  /** `bin/python` with grpcio and grpcio-tools. */
  python: {
    probe: ["python3", "-c", "import sys, venv, ensurepip; print(sys.version, sys.executable)"],
    files: ["requirements.txt"],
    names: [],
    make: (into) => {
      run("python3", ["-m", "venv", into]);
      const quiet = ["--quiet", "--disable-pip-version-check", "--only-binary", ":all:"];
      const install = ["-m", "pip", "install", ...quiet, "-r", "requirements.txt"];
      run(join(into, "bin/python"), install);
    },
  },
  /** `protoc-gen-go` and `protoc-gen-go-grpc`. */
  go: goBuild(
    "google.golang.org/protobuf/cmd/protoc-gen-go",
    "google.golang.org/grpc/cmd/protoc-gen-go-grpc",
  ),
  /** `bin/protoc`, and `include`, where it looks for imports. */
  protoc: {
    probe: ["mvn", "--version"],
    files: [],
    names: [classifier, protoc, imports, mavenPlugin],
    make: (into) => {
      mavenProgram(protoc, into, "protoc");
      const only = "-Dmdep.unpack.includes=google/protobuf/*.proto";
      maven("unpack", into, `-Dartifact=${imports}`, only, `-DoutputDirectory=${into}/include`);
    },
  },
  /** `bin/protoc-gen-grpc-java`, and the `jars` that stubs are compiled with. */
  java: {
    probe: ["javac", "-version"],
    files: ["pom.xml"],
    names: [classifier, javaPlugin, javaPluginHashes[classifier] ?? "", mavenPlugin],
    make: (into) => {
      const plugin = mavenProgram(javaPlugin, into, "protoc-gen-grpc-java");
      requireHash(plugin, javaPluginHashes[classifier]);
      const pom = join(here, "pom.xml");
      maven("copy-dependencies", into, "--file", pom, `-DoutputDirectory=${into}/jars`);
    },
  },
  /** `grpcurl`. The last, because most of the time goes into what it is made of. */
  grpcurl: goBuild("github.com/fullstorydev/grpcurl/cmd/grpcurl"),
} as const satisfies Readonly<Record<string, Recipe>>;

export type Kit = keyof typeof recipes;
export const kits = Object.keys(recipes) as Kit[];

/** Where a kit is kept, or undefined where there is nothing to make it with. */
const directoryFor = (kit: Kit): string | undefined => {
  const { probe, files, names }: Recipe = recipes[kit];
  const [command, ...args] = probe;
  const { status, stdout } = spawnSync(command, args, { encoding: "utf8" });
  if (status !== 0) return undefined;
  const hash = createHash("sha256").update(stdout).update(names.join());
  for (const name of files) hash.update(readFileSync(join(here, name)));
  const root = join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "millrace");
  return join(root, `languages-${kit}-${hash.digest("hex").slice(0, 16)}`);
};

/** The directory of a kit that has been made; undefined otherwise. */
export const kitDirectory = (kit: Kit): string | undefined => {
  const directory = directoryFor(kit);
  return directory !== undefined && existsSync(directory) ? directory : undefined;
};

/** What `skip` of a test takes: why the kits are not there, or false when they are. */
export const missing = (...wanted: readonly Kit[]): string | false => {
  const absent = wanted.filter((kit) => kitDirectory(kit) === undefined);
  return absent.length > 0 && `no tools for ${absent.join(" and ")}: npm run languages:fetch`;
};

/** Makes a kit where it is missing. Throws where it cannot be had. */
export const fetchKit = (kit: Kit): string => {
  const { probe, make }: Recipe = recipes[kit];
  const into = directoryFor(kit);
  if (into === undefined) throw new Error(`\`${probe.join(" ")}\` fails`);
  if (existsSync(into)) return into;
  mkdirSync(dirname(into), { recursive: true });
  const staging = mkdtempSync(`${into}.`);
  try {
    console.error(`Fetching tools for ${kit} (once)…`);
    make(staging);
    // Another run may have been faster; its kit is the same.
    if (!existsSync(into)) renameSync(staging, into);
    return into;
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
};

/** Makes every kit that can be had in a time. */
export const fetchKits = (withinMs = Number.POSITIVE_INFINITY): void => {
  deadline = Date.now() + withinMs;
  for (const kit of kits) {
    try {
      console.log(`${kit}: ${fetchKit(kit)}`);
    } catch (thrown) {
      const why = thrown instanceof Error ? thrown.message : String(thrown);
      console.log(`${kit}: cannot be had: ${why}`);
    }
  }
};

if (process.argv[1] === fileURLToPath(import.meta.url)) fetchKits();
