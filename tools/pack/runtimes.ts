/**
 * Runtimes and compilers that the packages are tried with. Each comes from npm, once, into a cache
 * outside of the clone; one that cannot be had is told by name.
 */
import { execFile } from "node:child_process";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { homedir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { root } from "./workspace.ts";

export interface Tool {
  readonly name: string;
  /** Undefined where it cannot be had. */
  readonly command: readonly string[] | undefined;
}

interface Wanted {
  readonly package: string;
  readonly version: string;
  /** The program, below the package. */
  readonly file: string;
  /** Parts that nothing needs here. */
  readonly without?: readonly string[];
}

const cacheRoot = join(process.env["XDG_CACHE_HOME"] || join(homedir(), ".cache"), "millrace");

/** Installs a package by itself, and returns the path of its program. */
const install = async (wanted: Wanted): Promise<string | undefined> => {
  const into = join(cacheRoot, `${wanted.package}-${wanted.version}`);
  const program = join(into, "node_modules", wanted.package, wanted.file);
  if (existsSync(program)) return program;
  mkdirSync(dirname(into), { recursive: true });
  const staging = mkdtempSync(`${into}.`);
  try {
    const spec = `${wanted.package}@${wanted.version}`;
    const options = ["--no-audit", "--no-fund", "--loglevel=error", "--prefix", staging];
    await promisify(execFile)("npm", ["install", ...options, spec], { cwd: staging });
    for (const part of wanted.without ?? []) {
      rmSync(join(staging, "node_modules", wanted.package, part), { recursive: true, force: true });
    }
    rmSync(into, { recursive: true, force: true });
    renameSync(staging, into);
    return program;
  } catch (thrown) {
    const [, why = String(thrown)] = /npm error (.*)/.exec(String(thrown)) ?? [];
    console.error(`${wanted.package} ${wanted.version} cannot be had: ${why}`);
    return undefined;
  } finally {
    rmSync(staging, { recursive: true, force: true });
  }
};

/** npm's package of Node for this machine; the root's manifest names those of all machines. */
const nodePackage = (): string | undefined => {
  const { optionalDependencies } = JSON.parse(readFileSync(join(root, "package.json"), "utf8"));
  const suffix = `-${process.platform}-${process.arch}`;
  return Object.keys(optionalDependencies).find((name) => name.endsWith(suffix));
};

/** The oldest of each line that is supported, and one that is current. The newest line is ours. */
const nodeVersions = ["22.0.0", "22.23.5", "24.22.3"];

const olderNode = async (version: string): Promise<Tool> => {
  const name = nodePackage();
  const program =
    name &&
    (await install({ package: name, version, file: "bin/node", without: ["include", "share"] }));
  return { name: `Node ${version}`, command: program === undefined ? undefined : [program] };
};

/** Versions of Node, oldest first. */
export const nodes = async (): Promise<Tool[]> => [
  ...(await Promise.all(nodeVersions.map(olderNode))),
  { name: `Node ${process.versions.node}`, command: [process.execPath] },
];

/** The newest of the line before. */
export const tooOldNode = (): Promise<Tool> => olderNode("20.20.2");

/** Runtimes that run packages of npm, and are not Node. */
export const others = async (): Promise<Tool[]> => {
  const [bun, deno] = await Promise.all([
    install({ package: "bun", version: "1.4.5", file: "bin/bun.exe", without: ["bin/bunx.exe"] }),
    install({ package: "deno", version: "2.9.6", file: "deno" }),
  ]);
  return [
    { name: "Bun 1.4.5", command: bun === undefined ? undefined : [bun] },
    { name: "Deno 2.9.6", command: deno === undefined ? undefined : [deno, "run", "-A"] },
  ];
};

/** Compilers: the oldest that reads the types, and ours. */
export const compilers = async (): Promise<Tool[]> => {
  const old = await install({ package: "typescript", version: "5.4.5", file: "bin/tsc" });
  const own = join(root, "node_modules/typescript");
  const { version } = JSON.parse(readFileSync(join(own, "package.json"), "utf8"));
  const node = process.execPath;
  return [
    { name: "TypeScript 5.4.5", command: old === undefined ? undefined : [node, old] },
    { name: `TypeScript ${version}`, command: [node, join(own, "bin/tsc")] },
  ];
};
