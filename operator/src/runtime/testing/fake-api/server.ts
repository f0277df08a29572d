/**
 * What an API server keeps and promises, without the network to it: resource versions, generations,
 * server-side apply, finalizers, garbage collection, lists in pages, and a history to watch.
 */
import { keyOf, keyText } from "../../cache.ts";
import { isEqual } from "../../json.ts";
import {
  ApiError,
  type KubernetesObject,
  type ListOptions,
  type ListPage,
  type ObjectKey,
  type Preconditions,
  type ResourceType,
} from "../../kubernetes.ts";
import { timestamp } from "../../timestamps.ts";
import {
  applyFields,
  type Fields,
  fieldsOf,
  type Owners,
  objectOf,
  placeOf,
  writeFields,
} from "./fields.ts";

/** A write as the server has carried it out, or found to change nothing. */
export interface Write {
  readonly verb: "create" | "apply" | "applyStatus" | "replace" | "delete";
  readonly kind: string;
  readonly key: string;
  readonly manager: string;
  readonly changed: boolean;
}

export interface Recorded {
  readonly version: number;
  readonly kind: string;
  readonly type: "ADDED" | "MODIFIED" | "DELETED";
  readonly object: KubernetesObject;
  readonly before: KubernetesObject | undefined;
}

interface Stored {
  readonly kind: string;
  readonly type: ResourceType;
  object: KubernetesObject;
  fields: Fields;
  readonly owners: Owners;
}

type Manager = { readonly fieldManager: string; readonly force: boolean };

const refused = (status: number, reason: string, message: string): ApiError =>
  new ApiError(message, { status, reason });

const kindOf = ({ group, plural }: ResourceType): string =>
  group === "" ? plural : `${plural}.${group}`;

const seriesOf = (object: KubernetesObject): object => ({
  series: (object as { series?: unknown }).series,
});

/** What the server keeps by itself, whatever a client sends. */
const kept = ["uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp"];

export const matches = (object: KubernetesObject, options: ListOptions): boolean => {
  const { namespace, labelSelector = "" } = options;
  if (namespace !== undefined && object.metadata.namespace !== namespace) return false;
  return labelSelector
    .split(",")
    .filter(Boolean)
    .every((term) => {
      const [name = "", value] = term.split("=");
      return object.metadata.labels?.[name] === value;
    });
};

export class FakeServer {
  readonly #wallMs: () => number;
  /** Runs what the server does by itself, such as garbage collection, in a moment. */
  readonly #later: (run: () => void) => void;
  readonly #stored = new Map<string, Stored>();
  readonly #pages = new Map<string, readonly KubernetesObject[]>();
  readonly #watchers = new Set<(recorded: Recorded) => void>();
  #history: Recorded[] = [];
  #version = 1;
  #uids = 0;
  #compacted = 0;
  /** Called with every write that was carried out. */
  onWrite: (write: Write) => void = () => {};
  readonly writes: Write[] = [];

  constructor(wallMs: () => number, later: (run: () => void) => void) {
    this.#wallMs = wallMs;
    this.#later = later;
  }

  get version(): number {
    return this.#version;
  }

  /** All objects, as `kind namespace/name` has them. */
  get objects(): ReadonlyMap<string, KubernetesObject> {
    return new Map([...this.#stored].map(([id, { object }]) => [id, object]));
  }

  get<T extends KubernetesObject>(type: ResourceType<T>, key: ObjectKey): T | undefined {
    return this.#find(type, key)?.object as T | undefined;
  }

  list<T extends KubernetesObject>(type: ResourceType<T>, options: ListOptions): ListPage<T> {
    const { limit = 0, continueToken = "" } = options;
    const [at = "0", version = String(this.#version)] = continueToken.split("@");
    const id = `${kindOf(type)}@${version}`;
    if (continueToken !== "" && !this.#pages.has(id)) {
      throw refused(410, "Expired", "the continue token is too old");
    }
    const all = this.#pages.get(id) ?? this.#objectsOf(type, options);
    const begin = Number(at);
    const end = limit === 0 ? all.length : begin + limit;
    if (end < all.length) this.#pages.set(id, all);
    const items = all.slice(begin, end) as unknown as readonly T[];
    return {
      items,
      resourceVersion: version,
      continueToken: end < all.length ? `${end}@${version}` : "",
    };
  }

  #objectsOf(type: ResourceType, options: ListOptions): readonly KubernetesObject[] {
    const stored = [...this.#stored.values()].filter(({ kind }) => kind === kindOf(type));
    const objects = stored.map(({ object }) => object).filter((one) => matches(one, options));
    return objects.sort((a, b) => (keyText(keyOf(a)) < keyText(keyOf(b)) ? -1 : 1));
  }

  /** What came after a version; throws where the history does not go back so far. */
  since(type: ResourceType, version: string): readonly Recorded[] {
    const from = Number(version);
    if (from < this.#compacted) {
      throw refused(410, "Expired", `too old resource version: ${version} (${this.#compacted})`);
    }
    return this.#history.filter((one) => one.kind === kindOf(type) && one.version > from);
  }

  /** Hears of changes of a kind until it is cancelled. */
  listen(type: ResourceType, hear: (recorded: Recorded) => void): () => void {
    const one = (recorded: Recorded): void => {
      if (recorded.kind === kindOf(type)) hear(recorded);
    };
    this.#watchers.add(one);
    return () => void this.#watchers.delete(one);
  }

  /** Forgets the history, and the pages of lists that are under way. */
  compact(): void {
    this.#compacted = this.#version;
    this.#history = [];
    this.#pages.clear();
  }

  create<T extends KubernetesObject>(type: ResourceType<T>, object: T, manager = "user"): T {
    if (this.#find(type, keyOf(object)) !== undefined) {
      throw refused(
        409,
        "AlreadyExists",
        `${type.plural} "${object.metadata.name}" already exists`,
      );
    }
    if (object.metadata.resourceVersion !== undefined) {
      throw refused(
        400,
        "BadRequest",
        "resourceVersion should not be set on objects to be created",
      );
    }
    const { status: _status, ...rest } = object as T & { status?: unknown };
    const stored = this.#fresh(type, object);
    const written = fieldsOf(type.group === "" ? object : rest);
    for (const [path, value] of stored.fields) written.set(path, value);
    writeFields(stored.fields, written, stored.owners, manager);
    this.#commit(stored, undefined, "create", manager);
    return this.#answer(stored);
  }

  apply<T extends KubernetesObject>(type: ResourceType<T>, object: T, by: Manager): T {
    const before = this.#find(type, keyOf(object));
    const { uid } = object.metadata;
    if (uid !== undefined && before?.object.metadata.uid !== uid) {
      throw refused(
        409,
        "Conflict",
        `the uid of ${type.plural} "${object.metadata.name}" is another`,
      );
    }
    const stored = before ?? this.#fresh(type, object);
    const { status: _status, ...rest } = object as T & { status?: unknown };
    return this.#applyTo<T>(stored, before, rest, by, "apply");
  }

  applyStatus<T extends KubernetesObject>(type: ResourceType<T>, object: T, by: Manager): T {
    const stored = this.#need(type, keyOf(object));
    const { status } = object as T & { status?: object };
    const uid = object.metadata.uid ?? stored.object.metadata.uid;
    if (uid !== stored.object.metadata.uid) throw refused(409, "Conflict", "the uid is another");
    const manager = { ...by, fieldManager: `${by.fieldManager}/status` };
    return this.#applyTo<T>(stored, stored, { status }, manager, "applyStatus");
  }

  #applyTo<T>(
    stored: Stored,
    before: Stored | undefined,
    wanted: object,
    { fieldManager, force }: Manager,
    verb: "apply" | "applyStatus",
  ): T {
    const fields = new Map([...fieldsOf(wanted)].filter(([path]) => !this.#isKept(path)));
    const live = new Map(stored.fields);
    const conflicts = applyFields(live, fields, stored.owners, { manager: fieldManager, force });
    if (conflicts.length > 0) {
      throw refused(
        409,
        "Conflict",
        `Apply failed with ${conflicts.length}: ${conflicts.join("; ")}`,
      );
    }
    const previous = before === undefined ? undefined : stored.object;
    stored.fields = live;
    this.#commit(stored, previous, verb, fieldManager);
    return this.#answer(stored) as T;
  }

  replace<T extends KubernetesObject>(type: ResourceType<T>, object: T, manager = "user"): T {
    const stored = this.#need(type, keyOf(object));
    const { resourceVersion, uid, deletionTimestamp } = stored.object.metadata;
    const wanted = object.metadata;
    const isStale =
      wanted.resourceVersion !== undefined && wanted.resourceVersion !== resourceVersion;
    if (isStale || (wanted.uid !== undefined && wanted.uid !== uid)) {
      throw refused(409, "Conflict", "the object has been modified; apply your changes anew");
    }
    const held = new Set(stored.object.metadata.finalizers);
    if (deletionTimestamp && wanted.finalizers?.some((one) => !held.has(one)) === true) {
      throw refused(
        422,
        "Invalid",
        "no new finalizers can be added if the object is being deleted",
      );
    }
    if (type.kind === "Event" && !isEqual(object, { ...stored.object, ...seriesOf(object) })) {
      throw refused(422, "Invalid", "field is immutable: all of an event but its series");
    }
    const written = new Map([...fieldsOf(object)].filter(([path]) => !this.#isKept(path)));
    const stays = (path: string): boolean =>
      this.#isKept(path) || (type.group !== "" && placeOf(path)[0] === "status");
    for (const path of written.keys()) if (stays(path)) written.delete(path);
    for (const [path, value] of stored.fields) if (stays(path)) written.set(path, value);
    const live = new Map(stored.fields);
    writeFields(live, written, stored.owners, manager);
    const previous = stored.object;
    stored.fields = live;
    this.#commit(stored, previous, "replace", manager);
    return this.#answer(stored);
  }

  delete(
    type: ResourceType,
    key: ObjectKey,
    only: Partial<Preconditions>,
    manager = "user",
  ): boolean {
    const stored = this.#find(type, key);
    if (stored === undefined) return false;
    const { uid, resourceVersion, finalizers = [], deletionTimestamp } = stored.object.metadata;
    if (only.uid !== undefined && only.uid !== uid) {
      throw refused(409, "Conflict", `the UID in the precondition (${only.uid}) is not ${uid}`);
    }
    if (only.resourceVersion !== undefined && only.resourceVersion !== resourceVersion) {
      throw refused(409, "Conflict", "the resourceVersion in the precondition is another");
    }
    if (finalizers.length === 0) this.#remove(stored, manager);
    else if (deletionTimestamp === undefined) {
      stored.fields.set('["metadata","deletionTimestamp"]', timestamp(this.#wallMs()));
      this.#commit(stored, stored.object, "delete", manager);
    } else this.#wrote(stored, "delete", manager, false);
    return true;
  }

  #find(type: ResourceType, key: ObjectKey): Stored | undefined {
    return this.#stored.get(`${kindOf(type)} ${keyText(key)}`);
  }

  #need(type: ResourceType, key: ObjectKey): Stored {
    const stored = this.#find(type, key);
    if (stored === undefined)
      throw refused(404, "NotFound", `${type.plural} "${key.name}" not found`);
    return stored;
  }

  #fresh(type: ResourceType, { apiVersion, kind, metadata }: KubernetesObject): Stored {
    this.#uids += 1;
    const uid = `uid-${this.#uids}`;
    const creationTimestamp = timestamp(this.#wallMs());
    const { name, namespace } = metadata;
    const own = { name, ...(namespace === undefined ? {} : { namespace }), uid, creationTimestamp };
    const object = { apiVersion, kind, metadata: own };
    const fields = fieldsOf(object);
    return { kind: kindOf(type), type, object, fields, owners: new Map() };
  }

  #isKept(path: string): boolean {
    const [top = "", name = ""] = placeOf(path);
    return top === "metadata" && kept.includes(name);
  }

  #answer<T>(stored: Stored): T {
    return structuredClone(stored.object) as unknown as T;
  }

  /** Takes in the fields of an object that was written, with a new version if they differ. */
  #commit(
    stored: Stored,
    before: KubernetesObject | undefined,
    verb: Write["verb"],
    manager: string,
  ): void {
    const object = objectOf(stored.fields) as unknown as KubernetesObject;
    if (before !== undefined && isEqual(object, before)) {
      this.#wrote(stored, verb, manager, false);
      return;
    }
    const generation =
      (before?.metadata.generation ?? 0) + (this.#isNewSpec(before, object) ? 1 : 0);
    this.#version += 1;
    const { group } = stored.type;
    if (group !== "") stored.fields.set('["metadata","generation"]', generation);
    stored.fields.set('["metadata","resourceVersion"]', String(this.#version));
    stored.object = objectOf(stored.fields) as unknown as KubernetesObject;
    this.#stored.set(`${stored.kind} ${keyText(keyOf(object))}`, stored);
    this.#record(stored, before === undefined ? "ADDED" : "MODIFIED", before);
    this.#wrote(stored, verb, manager, true);
    const { deletionTimestamp, finalizers = [] } = stored.object.metadata;
    if (deletionTimestamp !== undefined && finalizers.length === 0) this.#remove(stored, "server");
    this.#later(() => this.#collect());
  }

  #isNewSpec(before: KubernetesObject | undefined, after: KubernetesObject): boolean {
    const rest = (object: KubernetesObject & { status?: unknown }): unknown => {
      const { metadata, status: _status, ...others } = object;
      return { ...others, deletionTimestamp: metadata.deletionTimestamp };
    };
    return before === undefined || !isEqual(rest(before), rest(after));
  }

  #remove(stored: Stored, manager: string): void {
    this.#version += 1;
    this.#stored.delete(`${stored.kind} ${keyText(keyOf(stored.object))}`);
    const before = stored.object;
    stored.fields.set('["metadata","resourceVersion"]', String(this.#version));
    stored.object = objectOf(stored.fields) as unknown as KubernetesObject;
    this.#record(stored, "DELETED", before);
    if (manager !== "server") this.#wrote(stored, "delete", manager, true);
    this.#later(() => this.#collect());
  }

  /** Garbage collection in the background: what has owners, none of which is there, goes. */
  #collect(): void {
    const uids = new Set([...this.#stored.values()].map(({ object }) => object.metadata.uid));
    for (const { type, object } of [...this.#stored.values()]) {
      const owners = object.metadata.ownerReferences ?? [];
      if (owners.length === 0 || owners.some(({ uid }) => uids.has(uid))) continue;
      this.delete(type, keyOf(object), {}, "garbage-collector");
    }
  }

  #record(stored: Stored, type: Recorded["type"], before: KubernetesObject | undefined): void {
    const { kind, object } = stored;
    const recorded = {
      version: this.#version,
      kind,
      type,
      object: structuredClone(object),
      before,
    };
    this.#history.push(recorded);
    for (const watcher of [...this.#watchers]) watcher(recorded);
  }

  #wrote(stored: Stored, verb: Write["verb"], manager: string, changed: boolean): void {
    const { kind, object } = stored;
    const write = { verb, kind, key: keyText(keyOf(object)), manager, changed };
    this.writes.push(write);
    this.onWrite(write);
  }
}
