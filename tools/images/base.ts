/**
 * What an image has below the product: Node from npm and the system libraries that it and native
 * modules need. No shell, no package manager, nothing that could be started but Node.
 */
import {
  copyFileSync,
  existsSync,
  globSync,
  mkdirSync,
  realpathSync,
  writeFileSync,
} from "node:fs";
import { dirname, join } from "node:path";
import { root } from "../pack/workspace.ts";
import { programAt, run, runOrNothing } from "../programs.ts";

/** Owner of the data: the user that the official images of Node have. */
export const userId = 1000;

const texts: Readonly<Record<string, string>> = {
  "etc/passwd":
    "root:x:0:0:root:/root:/nonexistent\n" +
    `node:x:${userId}:${userId}::/nonexistent:/nonexistent\n`,
  "etc/group": `root:x:0:\nnode:x:${userId}:\n`,
  // Without it the C library asks DNS for localhost.
  "etc/nsswitch.conf": "hosts: files dns\n",
};

/** The directories that are there, empty, for mounts and for what is above. */
const places = ["opt/millrace", "var/lib"];

/** Paths of libraries in what `ldd` prints. Throws where one is missing. */
export const librariesIn = (output: string): string[] =>
  output.split("\n").flatMap((line) => {
    if (line.includes("=> not found")) throw new Error(`a library is missing here: ${line.trim()}`);
    const [, path] = /(?:=> |^\s*)(\/\S+) \(0x/.exec(line) ?? [];
    return path === undefined ? [] : [path];
  });

/** A package of the distribution that files of the image are from. */
export interface SystemPackage {
  readonly name: string;
  readonly version: string;
  readonly architecture: string;
}

/** The package of a file where the distribution is Debian's kin, and undefined elsewhere. */
const packageOf = async (path: string): Promise<SystemPackage | undefined> => {
  for (const one of new Set([path, realpathSync(path), join("/usr", path)])) {
    const [name = ""] = (await runOrNothing("dpkg-query", ["-S", one])).split(": ");
    if (name === "") continue;
    const format = `-f=\${Package} \${Version} \${Architecture}`;
    const said = await run("dpkg-query", ["-W", format, name]);
    const [found = "", version = "", architecture = ""] = said.trim().split(" ");
    return { name: found, version, architecture };
  }
  return undefined;
};

const copy = (from: string, into: string, to: string): void => {
  mkdirSync(dirname(join(into, to)), { recursive: true });
  copyFileSync(from, join(into, to));
};

export interface Base {
  readonly packages: readonly SystemPackage[];
  /** Libraries of no package that is known. */
  readonly others: readonly string[];
}

/** Makes it, for native modules below a directory, too. */
export const makeBase = async (into: string, modules: string): Promise<Base> => {
  const node = join(root, "node_modules", `node-linux-${process.arch}`);
  if (process.platform !== "linux" || !existsSync(node) || programAt("ldd") === undefined) {
    throw new Error(`images are made on Linux with glibc, after \`npm install\`: no ${node} here`);
  }
  const program = join(node, "bin", "node");
  copy(program, into, "usr/local/bin/node");
  copy(join(node, "LICENSE"), into, "usr/local/share/doc/node/LICENSE");
  const native = [program, ...globSync(join(modules, "**", "*.node")).sort()];
  const libraries = new Set<string>();
  for (const one of native) {
    for (const path of librariesIn(await run("ldd", [one]))) libraries.add(path);
  }
  const packages = new Map<string, SystemPackage>();
  const others: string[] = [];
  for (const path of [...libraries].sort()) {
    copy(path, into, path);
    const found = await packageOf(path);
    if (found === undefined) others.push(path);
    else packages.set(found.name, found);
  }
  for (const name of packages.keys()) {
    const license = `/usr/share/doc/${name}/copyright`;
    if (existsSync(license)) copy(license, into, license);
  }
  for (const [path, text] of Object.entries(texts)) {
    mkdirSync(dirname(join(into, path)), { recursive: true });
    writeFileSync(join(into, path), text);
  }
  for (const place of places) mkdirSync(join(into, place), { recursive: true });
  return { packages: [...packages.values()], others };
};
