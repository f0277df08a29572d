/** The packages of this repository, as the builds of `npm run pack` see them. */
import { spawnSync } from "node:child_process";
import { globSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../..", import.meta.url));
/** What is built, a directory per package. */
export const packagesDirectory = join(root, "dist/packages");
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

/** The commit that is built, and whether files differ from it. */
export const commit = (): string => {
  const done = spawnSync("git", ["describe", "--always", "--dirty", "--abbrev=12", "--exclude=*"], {
    cwd: root,
    encoding: "utf8",
  });
  return done.status === 0 ? done.stdout.trim() : "unknown commit";
};

/** What both packages say of themselves. */
export const commonManifest = {
  version,
  license: "Apache-2.0",
  engines: { node: `>=${oldestNode}` },
} as const;

export const directoryOf = (name: string): string => join(packagesDirectory, name);

/** The name of a temporary directory for what is made on the way. */
export const scratchDirectory = join(dirname(packagesDirectory), "scratch");
