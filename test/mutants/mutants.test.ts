/** Every mutant still fits the sources: the texts it replaces are there, and so are its tests. */
import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Keys } from "./key.ts";
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

test("a result is kept while the files of its mutant are the same, and those that they import", () => {
  const directory = mkdtempSync(join(tmpdir(), "millrace-mutant-keys-"));
  const write = (path: string, text: string): void => {
    mkdirSync(dirname(join(directory, path)), { recursive: true });
    writeFileSync(join(directory, path), text);
  };
  const mutant = {
    ...{ name: "m", breaks: "", file: "p/src/a.ts", replace: [] },
    tests: ["p/src/a.test.ts"],
  };
  const key = (): string => new Keys(directory).of(mutant);
  try {
    write("p/src/a.ts", 'import {\n  b,\n} from "./room/b.ts";\nimport "@millrace/other";\n');
    write("p/src/room/b.ts", 'import type { C } from "../c.ts";\n');
    write("p/src/c.ts", 'export * from "./a.ts";\n');
    write("p/src/a.test.ts", 'const helper = await import("./testing/helper.ts");\n');
    write("p/src/testing/helper.ts", "");
    write("p/src/unrelated.ts", "");
    const first = key();
    write("p/src/unrelated.ts", "changed\n");
    assert.equal(key(), first);
    const keys = new Set([first]);
    for (const path of ["a.ts", "room/b.ts", "c.ts", "a.test.ts", "testing/helper.ts"]) {
      const text = readFileSync(join(directory, "p/src", path), "utf8");
      write(`p/src/${path}`, `${text}// changed\n`);
      keys.add(key());
    }
    assert.equal(keys.size, 6, "each of the five files counts");
    assert.notEqual(new Keys(directory).of({ ...mutant, breaks: "more" }), key());
  } finally {
    rmSync(directory, { recursive: true });
  }
});
