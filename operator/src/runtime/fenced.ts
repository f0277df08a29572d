/** An API server to which only the leader writes. */
import type { KubernetesApi } from "./kubernetes.ts";

/** A write was refused because this process may not be the leader any more. */
export class NotLeaderError extends Error {
  override readonly name = "NotLeaderError";

  constructor() {
    super("nothing is written: another operator may lead by now; this process has to end");
  }
}

/**
 * The same API server; its writes throw `NotLeaderError` before they are sent unless `mayWrite`.
 * Reads are everybody's.
 */
export const fenced = (api: KubernetesApi, mayWrite: () => boolean): KubernetesApi => {
  const ifLeading = async <T>(write: () => Promise<T>): Promise<T> => {
    if (!mayWrite()) throw new NotLeaderError();
    return write();
  };
  return {
    get: (type, key) => api.get(type, key),
    list: (type, options) => api.list(type, options),
    watch: (type, options, signal) => api.watch(type, options, signal),
    create: (type, object) => ifLeading(() => api.create(type, object)),
    apply: (type, object, options) => ifLeading(() => api.apply(type, object, options)),
    applyStatus: (type, object, options) => ifLeading(() => api.applyStatus(type, object, options)),
    replace: (type, object) => ifLeading(() => api.replace(type, object)),
    delete: (type, key, preconditions) => ifLeading(() => api.delete(type, key, preconditions)),
  };
};
