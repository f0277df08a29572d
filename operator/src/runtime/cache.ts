/** Objects of a kind as the API server last told of them, and indexes over them. Read-only. */
import { frozen } from "./json.ts";
import type { KubernetesObject, ObjectKey } from "./kubernetes.ts";

/**
 * What became of an object. `unchanged` comes with every further list: whoever missed something
 * looks again. A deletion that a list shows has the object as it was last seen.
 */
export type Change<T extends KubernetesObject> =
  | { readonly type: "added" | "deleted" | "unchanged"; readonly object: T }
  | { readonly type: "updated"; readonly object: T; readonly before: T };

/** Values under which an object is found. */
export type IndexOf<T extends KubernetesObject> = (object: T) => readonly string[];

export const keyText = ({ namespace, name }: ObjectKey): string => `${namespace}/${name}`;

export const keyOf = ({ metadata }: KubernetesObject): ObjectKey => ({
  namespace: metadata.namespace ?? "",
  name: metadata.name,
});

export const keyFrom = (text: string): ObjectKey => {
  const at = text.indexOf("/");
  return { namespace: text.slice(0, at), name: text.slice(at + 1) };
};

const ownersOf: IndexOf<KubernetesObject> = ({ metadata }) =>
  (metadata.ownerReferences ?? []).map(({ uid }) => uid);

export class ObjectCache<T extends KubernetesObject> {
  readonly #objects = new Map<string, T>();
  readonly #indexOf: ReadonlyMap<string, IndexOf<T>>;
  /** Keys by index and value. */
  readonly #indexes = new Map<string, Map<string, Set<string>>>();

  constructor(indexes: Readonly<Record<string, IndexOf<T>>> = {}) {
    this.#indexOf = new Map<string, IndexOf<T>>([...Object.entries(indexes), ["owner", ownersOf]]);
    for (const name of this.#indexOf.keys()) this.#indexes.set(name, new Map());
  }

  get size(): number {
    return this.#objects.size;
  }

  get(key: ObjectKey): T | undefined {
    return this.#objects.get(keyText(key));
  }

  values(): readonly T[] {
    return [...this.#objects.values()];
  }

  /** Objects that the index `name` has under `value`. */
  find(name: string, value: string): readonly T[] {
    const keys = this.#indexes.get(name)?.get(value) ?? [];
    return [...keys].flatMap((key) => this.#objects.get(key) ?? []);
  }

  /** Takes in what a watch or a list tells; returns what has changed by it. */
  put(object: T): Change<T>[] {
    const key = keyText(keyOf(object));
    const before = this.#objects.get(key);
    const isOther = before !== undefined && before.metadata.uid !== object.metadata.uid;
    const isSame = !isOther && before?.metadata.resourceVersion === object.metadata.resourceVersion;
    if (before !== undefined && isSame) return [{ type: "unchanged", object: before }];
    const gone = isOther ? this.remove(before) : [];
    if (before !== undefined && !isOther) this.#unindex(key, before);
    this.#objects.set(key, frozen(object));
    this.#index(key, object);
    if (before === undefined || isOther) return [...gone, { type: "added", object }];
    return [{ type: "updated", object, before }];
  }

  remove(object: KubernetesObject): Change<T>[] {
    const key = keyText(keyOf(object));
    const before = this.#objects.get(key);
    // The deletion of an earlier object of this name is old news.
    if (before === undefined || before.metadata.uid !== object.metadata.uid) return [];
    this.#unindex(key, before);
    this.#objects.delete(key);
    return [{ type: "deleted", object: before }];
  }

  /** Takes in a whole list: what it does not name is gone. */
  replace(objects: readonly T[]): Change<T>[] {
    const named = new Set(objects.map((object) => keyText(keyOf(object))));
    const gone = [...this.#objects].filter(([key]) => !named.has(key));
    const changes = gone.flatMap(([, object]) => this.remove(object));
    for (const object of objects) changes.push(...this.put(object));
    return changes;
  }

  #index(key: string, object: T): void {
    for (const [name, valuesOf] of this.#indexOf) {
      const index = this.#indexes.get(name);
      for (const value of valuesOf(object)) {
        const keys = index?.get(value);
        if (keys === undefined) index?.set(value, new Set([key]));
        else keys.add(key);
      }
    }
  }

  #unindex(key: string, object: T): void {
    for (const [name, valuesOf] of this.#indexOf) {
      const index = this.#indexes.get(name);
      for (const value of valuesOf(object)) {
        const keys = index?.get(value);
        keys?.delete(key);
        if (keys?.size === 0) index?.delete(value);
      }
    }
  }
}
