/** The packages of this repository, as the builds of `npm run pack` see them. */
import { cpSync, globSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { builtinModules } from "node:module";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../..", import.meta.url));
/** What is built, a directory per package. */
const packagesDirectory = join(root, "dist/packages");
/** What is packed. */
export const packsDirectory = join(root, "dist/packs");

/** The oldest Node that the packages run on. */
export const oldestNode = 22;

export interface Manifest {
  readonly name: string;
  readonly version: string;
  readonly description?: string;
  readonly exports?: Readonly<Record<string, string>>;
  readonly dependencies?: Readonly<Record<string, string>>;
}

export const readManifest = (directory: string): Manifest =>
  JSON.parse(readFileSync(join(root, directory, "package.json"), "utf8"));

export const { version } = readManifest(".");

const directories = globSync(["packages/*", "services/*"], { cwd: root });
const manifests = new Map(directories.map((directory) => [directory, readManifest(directory)]));

/** Whether an import names a package of this repository. */
export const isOurs = (id: string): boolean => id.startsWith("@millrace/");

/** Whether an import names a package of npm's. */
export const isLibrary = (id: string): boolean => {
  if (/^[./]/.test(id) || id.startsWith("node:") || isOurs(id)) return false;
  return !builtinModules.includes(packageOf(id));
};

/** The source file, from the root, that an import of a package of this repository stands for. */
export const sourceOf = (id: string): string => {
  const [, name = "", rest = ""] = /^(@millrace\/[^/]+)(.*)$/.exec(id) ?? [];
  for (const [directory, manifest] of manifests) {
    const file = manifest.name === name ? manifest.exports?.[`.${rest}`] : undefined;
    if (file !== undefined) return join(directory, file);
  }
  throw new Error(`no package exports ${id}`);
};

/** The package that an import of a library names: `@scope/name` of `@scope/name/file`. */
export const packageOf = (id: string): string =>
  id
    .split("/")
    .slice(0, id.startsWith("@") ? 2 : 1)
    .join("/");

/** The versions of libraries, as our packages ask for them. */
export const versionsOf = (libraries: Iterable<string>): Record<string, string> => {
  const wanted = Object.assign({}, ...[...manifests.values()].map((one) => one.dependencies));
  const entries = [...new Set(libraries)].sort().map((name): [string, string] => {
    const found: string | undefined = wanted[name];
    if (found === undefined || isOurs(name)) throw new Error(`no package depends on ${name}`);
    return [name, found];
  });
  return Object.fromEntries(entries);
};

/** What both packages say of themselves. */
export const commonManifest = {
  version,
  license: "Apache-2.0",
  engines: { node: `>=${oldestNode}` },
} as const;

/** For what is made on the way. */
export const scratchDirectory = join(root, "dist/scratch");

/** An empty directory for a package, with the files that every package has. */
export const beginPackage = (name: string, readme: string): string => {
  const directory = join(packagesDirectory, name);
  rmSync(directory, { recursive: true, force: true });
  mkdirSync(directory, { recursive: true });
  cpSync(join(root, readme), join(directory, "README.md"));
  cpSync(join(root, "LICENSE"), join(directory, "LICENSE"));
  return directory;
};

export const writeManifest = (directory: string, manifest: object): void => {
  writeFileSync(join(directory, "package.json"), `${JSON.stringify(manifest, null, 2)}\n`);
};
