/** The repository's files, for the tests that read them. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../..", import.meta.url));
export const read = (path: string): string => readFileSync(join(root, path), "utf8");
export const linesOf = (path: string): string[] => read(path).split("\n");

const list = (...patterns: string[]): string[] => globSync(patterns, { cwd: root }).sort();

export const sources = list(
  "packages/*/src/**/*.ts",
  "services/*/src/**/*.ts",
  "operator/src/**/*.ts",
  "test/**/*.ts",
  "tools/**/*.ts",
  "bench/**/*.ts",
);

/** What a user runs: no tests, and nothing that serves them. */
export const production = sources.filter(
  (path) => !/\.test\.ts$|^(test|bench)\/|\/testing|\/contract\.ts$/.test(path),
);

/** Everything that people wrote to be read. What is generated says so in its first lines. */
export const documents = list(
  "*.md",
  "docs/**/*.md",
  "packages/*/README.md",
  "services/*/README.md",
  "operator/README.md",
  "deploy/helm/*/README.md",
  "test/*/README.md",
  "bench/README.md",
  "examples/README.md",
);

export const protos = list("proto/**/*.proto");

export const none = (problems: readonly string[]): void => {
  assert.deepEqual(problems, []);
};
