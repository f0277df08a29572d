/** No file, and no room, needs itself by way of others: the lower ones stand without the upper. */
import assert from "node:assert/strict";
import { dirname } from "node:path";
import { test } from "node:test";
import { besides, circlesIn, graphOf, importsOf, loadedBy } from "./imports.ts";
import { none, production, read, sources } from "./repository.ts";

const relative = (path: string, names: readonly string[]): string[] =>
  names.filter((name) => name.startsWith(".")).map((name) => besides(path, name));

/** Edges between files by what they load. */
const loads = (paths: readonly string[]): [string, string][] =>
  paths.flatMap((path) =>
    relative(path, loadedBy(read(path))).map((to): [string, string] => [path, to]),
  );

const packaged = production.filter((path) => /^(packages|services|operator)\//.test(path));

/** Folders that have folders with sources. */
const houses: ReadonlySet<string> = new Set(
  packaged.flatMap((path) => {
    const parents: string[] = [];
    for (let at = dirname(dirname(path)); at !== "."; at = dirname(at)) parents.push(at);
    return parents;
  }),
);

/** The room of a file: its folder. A file beside rooms, such as their door, is by itself. */
const roomOf = (path: string): string => (houses.has(dirname(path)) ? path : dirname(path));

test("circles of any length are found, and imports of types make none", () => {
  const graph = graphOf([
    ["a", "b"],
    ["b", "c"],
    ["c", "a"],
    ["c", "d"],
    ["d", "d"],
    ["e", "f"],
    ["f", "e"],
  ]);
  assert.deepEqual(circlesIn(graph), ["a → b → c → a", "e → f → e"]);
  const text = [
    'import type { A } from "./a.ts";',
    'import {\n  type B,\n  b,\n} from "./b.ts";',
    'export { c } from "./c.ts";',
    'export type { D } from "./d.ts";',
    'import "./e.ts";',
    '  const f = await import("./f.ts");',
  ].join("\n");
  assert.deepEqual(loadedBy(text), ["./b.ts", "./c.ts", "./e.ts", "./f.ts"]);
});

test("no two files need each other, not even for types", () => {
  const edges = sources.flatMap((path) => relative(path, importsOf(path)).map((to) => [path, to]));
  const all = new Set(edges.map((edge) => edge.join(" ")));
  const both = edges.filter(([a = "", b = ""]) => a < b && all.has(`${b} ${a}`));
  none(both.map((edge) => edge.join(" and ")));
});

test("no files load each other in a circle", () => {
  none(circlesIn(graphOf(loads(sources))));
});

test("no rooms load each other in a circle", () => {
  const edges = loads(packaged).map(([from, to]) => [roomOf(from), roomOf(to)] as const);
  none(circlesIn(graphOf(edges)));
});
