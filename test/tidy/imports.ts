/** The imports of files, as the tests that judge them see them. */
import { dirname, join, normalize } from "node:path";
import { read } from "./repository.ts";

/** Imports of a file: module names. */
export const importsOf = (path: string): string[] =>
  [...read(path).matchAll(/(?:from|import)\s*\(?\s*"([^"]+)"/g)].map((match) => match[1] ?? "");

/** A statement that loads a module when it runs. `import type` does not. */
const byValue = /^(?:import|export)\s(?!type\b)[^;]*?from\s+"([^"]+)"|\bimport\s*\(?\s*"([^"]+)"/gm;

/** The modules that a text loads. */
export const loadedBy = (text: string): string[] =>
  [...text.matchAll(byValue)].map((match) => match[1] ?? match[2] ?? "");

/** The file that a relative import of `path` names. */
export const besides = (path: string, name: string): string => normalize(join(dirname(path), name));

/** What each node needs. */
export type Graph = ReadonlyMap<string, ReadonlySet<string>>;

/** Edges as a graph. Those from a node to itself are left out. */
export const graphOf = (edges: Iterable<readonly [from: string, to: string]>): Graph => {
  const graph = new Map<string, Set<string>>();
  for (const [from, to] of edges) {
    if (from === to) continue;
    const needed = graph.get(from);
    if (needed === undefined) graph.set(from, new Set([to]));
    else needed.add(to);
  }
  return graph;
};

/** A shortest way back to `start`, by breadth; undefined where there is none. */
const wayBack = (graph: Graph, start: string): string[] | undefined => {
  const before = new Map<string, string>();
  const queue = [start];
  for (const node of queue) {
    for (const next of graph.get(node) ?? []) {
      if (next === start) {
        const way = [start];
        for (let at = node; at !== start; at = before.get(at) ?? start) way.push(at);
        return [...way, start].reverse();
      }
      if (before.has(next)) continue;
      before.set(next, node);
      queue.push(next);
    }
  }
  return undefined;
};

/** Circles of any length: of all that have the same nodes, one. */
export const circlesIn = (graph: Graph): string[] => {
  const found = new Map<string, string>();
  for (const start of [...graph.keys()].sort()) {
    const way = wayBack(graph, start);
    const key = way && [...new Set(way)].sort().join(" ");
    if (way !== undefined && key !== undefined && !found.has(key)) {
      found.set(key, way.join(" → "));
    }
  }
  return [...found.values()];
};
