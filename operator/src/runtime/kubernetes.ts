/**
 * What the operator asks of a Kubernetes API server: the seam between its runtime, which decides
 * when something is reconciled, and what carries requests. `node/` has the one over client-node;
 * tests have one that stands in for an API server and fails as those do.
 */

/** Metadata as the API server keeps it; what an object to apply need not say is optional. */
export interface ObjectMeta {
  readonly name: string;
  readonly namespace?: string;
  readonly uid?: string;
  /** Opaque: compared for equality alone. */
  readonly resourceVersion?: string;
  /** Rises with every change of `spec`. */
  readonly generation?: number;
  readonly creationTimestamp?: string;
  /** Set while finalizers hold up the deletion. */
  readonly deletionTimestamp?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly finalizers?: readonly string[];
  readonly ownerReferences?: readonly OwnerReference[];
}

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
  readonly blockOwnerDeletion?: boolean;
}

export interface KubernetesObject {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: ObjectMeta;
}

/** A kind, and where its objects are found. `group` is empty for the core kinds. */
export interface ResourceType<T extends KubernetesObject = KubernetesObject> {
  readonly group: string;
  readonly version: string;
  readonly kind: string;
  readonly plural: string;
  readonly namespaced: boolean;
  /** Never set: it ties the kind to the type of its objects. */
  readonly object?: T;
}

/** Names an object of a kind. `namespace` is empty where the kind has none. */
export interface ObjectKey {
  readonly namespace: string;
  readonly name: string;
}

/** One page of a list. `continueToken` is empty on the last one. */
export interface ListPage<T extends KubernetesObject> {
  readonly items: readonly T[];
  readonly resourceVersion: string;
  readonly continueToken: string;
}

export interface ListOptions {
  /** All namespaces where it is left out. */
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly limit?: number;
  readonly continueToken?: string;
}

export interface WatchOptions {
  readonly namespace?: string;
  readonly labelSelector?: string;
  readonly resourceVersion: string;
  /** How long the server keeps the watch, in seconds. */
  readonly timeoutSeconds: number;
}

/** A bookmark carries a resource version and nothing else. */
export type WatchEvent<T extends KubernetesObject> =
  | { readonly type: "ADDED" | "MODIFIED" | "DELETED"; readonly object: T }
  | { readonly type: "BOOKMARK"; readonly resourceVersion: string };

/** The server deletes the object that was read, or none. */
export interface Preconditions {
  readonly uid: string;
  readonly resourceVersion?: string;
}

/**
 * Every call ends by its deadline, and throws an `ApiError` for what the server refuses. Reads are
 * the server's, never a cache's.
 */
export interface KubernetesApi {
  get<T extends KubernetesObject>(type: ResourceType<T>, key: ObjectKey): Promise<T | undefined>;
  list<T extends KubernetesObject>(
    type: ResourceType<T>,
    options: ListOptions,
  ): Promise<ListPage<T>>;
  /**
   * Events after `resourceVersion`, in the server's order. Ends when the server ends it; throws
   * where it breaks, or where the version is gone (`ApiError` 410).
   */
  watch<T extends KubernetesObject>(
    type: ResourceType<T>,
    options: WatchOptions,
    signal: AbortSignal,
  ): AsyncIterable<WatchEvent<T>>;
  /** Refused with 409 where the name is taken. */
  create<T extends KubernetesObject>(type: ResourceType<T>, object: T): Promise<T>;
  /** Server-side apply of what the object says, by the field manager; others' fields stay. */
  apply<T extends KubernetesObject>(
    type: ResourceType<T>,
    object: T,
    options: { readonly fieldManager: string; readonly force: boolean },
  ): Promise<T>;
  /** The same for the `status` subresource alone. */
  applyStatus<T extends KubernetesObject>(
    type: ResourceType<T>,
    object: T,
    options: { readonly fieldManager: string; readonly force: boolean },
  ): Promise<T>;
  /** Replaces the object; refused with 409 where its resource version is not the last. */
  replace<T extends KubernetesObject>(type: ResourceType<T>, object: T): Promise<T>;
  /** False where it was gone; 409 where a precondition does not hold. */
  delete(type: ResourceType, key: ObjectKey, preconditions: Preconditions): Promise<boolean>;
}

/** What the API server refused, or why it could not be asked. */
export class ApiError extends Error {
  override readonly name = "ApiError";
  /** The HTTP status; 0 where there was no answer. */
  readonly status: number;
  /** The reason of the server's `Status`, such as `Conflict` or `Invalid`; empty without one. */
  readonly reason: string;
  /** What the server asks to wait (429, 503), in milliseconds. */
  readonly retryAfterMs: number | undefined;

  constructor(
    message: string,
    about: { status: number; reason?: string; retryAfterMs?: number | undefined; cause?: unknown },
  ) {
    super(message, about.cause === undefined ? undefined : { cause: about.cause });
    this.status = about.status;
    this.reason = about.reason ?? "";
    this.retryAfterMs = about.retryAfterMs;
  }
}
