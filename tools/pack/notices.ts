/** The licenses of the libraries that a package has built in. */
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { root } from "./workspace.ts";

/** The directory of the library that a module is from; undefined for our own. */
const libraryOf = (module: string): string | undefined =>
  /^.*\/(node_modules\/(?:@[^/]+\/)?[^/]+)\//.exec(module)?.[1];

const noticeOf = (directory: string): string => {
  const path = join(root, directory);
  const { name, version, license } = JSON.parse(readFileSync(join(path, "package.json"), "utf8"));
  const files = globSync("{LICENSE,LICENCE,license,NOTICE}*", { cwd: path }).sort();
  const texts = files.map((file) => readFileSync(join(path, file), "utf8").trim());
  return [`${name} ${version} (${license})`, ...texts].join("\n\n");
};

/** One text for all libraries that the modules are from. */
export const noticesOf = (modules: readonly string[]): string => {
  const libraries = new Set(modules.map(libraryOf).filter((one) => one !== undefined));
  const rule = `\n\n${"-".repeat(80)}\n\n`;
  const head = "This package contains code of these libraries, under the licenses that follow.";
  return `${[head, ...[...libraries].sort().map(noticeOf)].join(rule)}\n`;
};
