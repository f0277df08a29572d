/** Every mutant still fits the sources: the texts it replaces are there, and so are its tests. */
import assert from "node:assert/strict";
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { clusterBugs } from "./lists/cluster.ts";
import { allMutants } from "./lists/index.ts";

const root = fileURLToPath(new URL("../..", import.meta.url));

test("mutants have different names and fit the sources", () => {
  const problems: string[] = [];
  const names = new Set<string>();
  for (const { name, file, replace, tests } of [...allMutants, ...clusterBugs]) {
    if (names.has(name)) problems.push(`${name}: twice`);
    names.add(name);
    const path = join(root, file);
    const text = existsSync(path) ? readFileSync(path, "utf8") : "";
    for (const [from, to] of replace) {
      const times = text.split(from).length - 1;
      if (times !== 1) problems.push(`${name}: ${times} times in ${file}: ${from}`);
      if (from === to) problems.push(`${name}: changes nothing`);
    }
    if (tests.length === 0) problems.push(`${name}: no test`);
    for (const one of tests) {
      if (!existsSync(join(root, one))) problems.push(`${name}: no such test: ${one}`);
    }
  }
  assert.deepEqual(problems, []);
});
