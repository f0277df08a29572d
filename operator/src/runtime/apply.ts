/** Objects made as they are wanted, by server-side apply, and only where something differs. */
import { keyOf } from "./cache.ts";
import { hashOf, includes, isEqual } from "./json.ts";
import type { KubernetesApi, KubernetesObject, ResourceType } from "./kubernetes.ts";

/** Which version of what was wanted has been applied: survives restarts of the operator. */
export const appliedAnnotation = "millrace.dev/applied-hash";

export interface ApplierOptions {
  readonly fieldManager: string;
  /** Objects of which the last apply is remembered. */
  readonly rememberedMax?: number;
}

interface Applied {
  readonly hash: string;
  readonly resourceVersion: string;
}

export class Applier {
  readonly #options: { readonly fieldManager: string; readonly force: true };
  readonly #rememberedMax: number;
  /** The last apply by uid and part, oldest first. */
  readonly #applied = new Map<string, Applied>();

  constructor({ fieldManager, rememberedMax = 10_000 }: ApplierOptions) {
    this.#options = { fieldManager, force: true };
    this.#rememberedMax = rememberedMax;
  }

  /**
   * Makes the object as it is wanted, and returns it. `api` is that of the reconcile, `observed`
   * the object in the cache. Nothing is written where that has all that is wanted, by the version
   * that is wanted; what others have added to it stays. Fields that are wanted no more go.
   */
  async apply<T extends KubernetesObject>(
    api: Pick<KubernetesApi, "apply">,
    type: ResourceType<T>,
    wanted: T,
    observed: T | undefined,
  ): Promise<T> {
    const hash = hashOf(wanted);
    if (observed !== undefined) {
      if (this.#isApplied("", observed, hash)) return observed;
      const isLast = observed.metadata.annotations?.[appliedAnnotation] === hash;
      if (isLast && includes(observed, wanted)) return observed;
    }
    const annotations = { ...wanted.metadata.annotations, [appliedAnnotation]: hash };
    const marked = { ...wanted, metadata: { ...wanted.metadata, annotations } };
    const applied = await api.apply(type, marked, this.#options);
    this.#remember("", applied, hash);
    return applied;
  }

  /**
   * Makes the status as `statusOf` wants it, whole: fields that are left out go. Nothing is written
   * where it is so already. Before a write the object is read from the server and asked about anew:
   * a cache that is behind would give conditions a time that is not theirs. An object that was
   * deleted meanwhile is left alone, and so is a later one of its name.
   */
  async applyStatus<T extends KubernetesObject & { readonly status?: unknown }>(
    api: Pick<KubernetesApi, "applyStatus" | "get">,
    type: ResourceType<T>,
    object: T,
    statusOf: (current: T) => T["status"],
  ): Promise<T> {
    if (this.#hasStatus(object, statusOf(object))) return object;
    const current = await api.get(type, keyOf(object));
    if (current === undefined || current.metadata.uid !== object.metadata.uid) return object;
    const status = statusOf(current);
    if (this.#hasStatus(current, status)) return current;
    const { name, namespace, uid } = current.metadata;
    const metadata = {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      ...(uid === undefined ? {} : { uid }),
    };
    const { apiVersion, kind } = current;
    const wanted = { apiVersion, kind, metadata, status } as unknown as T;
    const applied = await api.applyStatus(type, wanted, this.#options);
    this.#remember("status", applied, hashOf({ status }));
    return applied;
  }

  #hasStatus(object: KubernetesObject & { readonly status?: unknown }, status: unknown): boolean {
    return isEqual(object.status, status) || this.#isApplied("status", object, hashOf({ status }));
  }

  /** Whether the object is what the last apply of this made: the server writes some values anew. */
  #isApplied(part: string, { metadata }: KubernetesObject, hash: string): boolean {
    const { uid = "", resourceVersion } = metadata;
    const applied = this.#applied.get(`${uid}/${part}`);
    return applied?.hash === hash && applied.resourceVersion === resourceVersion;
  }

  #remember(part: string, { metadata }: KubernetesObject, hash: string): void {
    const { uid, resourceVersion } = metadata;
    if (uid === undefined || resourceVersion === undefined) return;
    const key = `${uid}/${part}`;
    this.#applied.delete(key);
    this.#applied.set(key, { hash, resourceVersion });
    const [oldest] = this.#applied.keys();
    if (this.#applied.size > this.#rememberedMax && oldest !== undefined) {
      this.#applied.delete(oldest);
    }
  }
}
