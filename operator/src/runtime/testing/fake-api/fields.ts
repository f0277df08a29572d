/** Objects as their fields, each with a path: what server-side apply owns, compares and merges. */
import { isRecord } from "../../json.ts";

/** Path → value. A path is the JSON of its segments; a value has no keys, or is a whole list. */
export type Fields = Map<string, unknown>;

/** How lists merge, by the names on the way to them; all others are replaced as a whole. */
const mergedLists: Readonly<Record<string, string>> = {
  "metadata.finalizers": "",
  "metadata.ownerReferences": "uid",
  "status.conditions": "type",
  "spec.containers": "name",
  "spec.template.spec.containers": "name",
};

const add = (fields: Fields, path: readonly string[], names: string, value: unknown): void => {
  const key = mergedLists[names];
  if (Array.isArray(value) && key !== undefined) {
    for (const element of value) {
      const id = isRecord(element) ? element[key] : element;
      const at = [...path, `[${key}]${JSON.stringify(id)}`];
      if (isRecord(element)) add(fields, at, `${names}.[]`, element);
      else fields.set(JSON.stringify(at), element);
    }
    return;
  }
  if (isRecord(value) && Object.keys(value).length > 0) {
    for (const [name, inner] of Object.entries(value)) {
      if (inner !== undefined)
        add(fields, [...path, name], names ? `${names}.${name}` : name, inner);
    }
    return;
  }
  fields.set(JSON.stringify(path), value);
};

export const fieldsOf = (object: object): Fields => {
  const fields: Fields = new Map();
  add(fields, [], "", object);
  return fields;
};

type Node = { value: unknown } | { children: Map<string, Node> };

const build = (node: Node): unknown => {
  if ("value" in node) return structuredClone(node.value);
  const entries = [...node.children];
  if (entries[0]?.[0].startsWith("[") === true) return entries.map(([, child]) => build(child));
  return Object.fromEntries(entries.map(([name, child]) => [name, build(child)]));
};

/** The object that has these fields. */
export const objectOf = (fields: Fields): Record<string, unknown> => {
  const root: Node = { children: new Map() };
  for (const [path, value] of fields) {
    const segments: string[] = JSON.parse(path);
    let at: Node = root;
    for (const [i, segment] of segments.entries()) {
      if (!("children" in at)) break;
      const isLast = i === segments.length - 1;
      const next: Node = at.children.get(segment) ?? (isLast ? { value } : { children: new Map() });
      at.children.set(segment, next);
      at = next;
    }
  }
  return build(root) as Record<string, unknown>;
};

/** Where a field lies: `metadata`, `spec`, `status`… and the name below. */
export const placeOf = (path: string): readonly string[] =>
  (JSON.parse(path) as string[]).slice(0, 2);

const sameValue = (a: unknown, b: unknown): boolean => JSON.stringify(a) === JSON.stringify(b);

/** Who applied or wrote which fields. */
export type Owners = Map<string, Set<string>>;

/** What of `wanted` other managers have set otherwise. */
const conflictsOf = (live: Fields, wanted: Fields, owners: Owners, manager: string): string[] =>
  [...wanted].flatMap(([path, value]) => {
    if (!live.has(path) || sameValue(live.get(path), value)) return [];
    const others = [...owners].filter(([name, paths]) => name !== manager && paths.has(path));
    return others.map(([name]) => `${path} is ${name}'s`);
  });

/**
 * Server-side apply: sets what is wanted, and removes what this manager has applied before, wants
 * no more, and nobody else owns. Returns conflicts, and then has changed nothing.
 */
export const applyFields = (
  live: Fields,
  wanted: Fields,
  owners: Owners,
  { manager, force }: { manager: string; force: boolean },
): string[] => {
  const conflicts = conflictsOf(live, wanted, owners, manager);
  if (conflicts.length > 0 && !force) return conflicts;
  const before = owners.get(manager) ?? new Set();
  owners.set(manager, new Set(wanted.keys()));
  for (const path of before) {
    const isOwned = [...owners.values()].some((paths) => paths.has(path));
    if (!isOwned) live.delete(path);
  }
  for (const [path, value] of wanted) {
    if (sameValue(live.get(path), value)) continue;
    for (const [name, paths] of owners) if (name !== manager) paths.delete(path);
    live.set(path, value);
  }
  return [];
};

/** A plain write: fields that it changes are its manager's alone, those that it drops are gone. */
export const writeFields = (
  live: Fields,
  written: Fields,
  owners: Owners,
  manager: string,
): void => {
  const own = owners.get(manager) ?? new Set();
  owners.set(manager, own);
  for (const path of [...live.keys()].filter((one) => !written.has(one))) {
    live.delete(path);
    for (const paths of owners.values()) paths.delete(path);
  }
  for (const [path, value] of written) {
    if (live.has(path) && sameValue(live.get(path), value)) continue;
    for (const paths of owners.values()) paths.delete(path);
    own.add(path);
    live.set(path, value);
  }
};
