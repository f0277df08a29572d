/** An API server whose requests are counted, by verb and by what became of them. */
import type { Clock } from "@millrace/env";
import { statusLabel } from "./errors.ts";
import type { KubernetesApi, KubernetesObject, ResourceType, WatchOptions } from "./kubernetes.ts";
import type { RuntimeMetrics } from "./metrics.ts";

export const measured = (
  api: KubernetesApi,
  clock: Clock,
  metrics: RuntimeMetrics,
): KubernetesApi => {
  const count = async <T>(verb: string, type: ResourceType, ask: () => Promise<T>): Promise<T> => {
    const startedMs = clock.monoMs();
    const done = (status: string): void =>
      metrics.onRequest(verb, type.kind, status, clock.monoMs() - startedMs);
    try {
      const answer = await ask();
      done("2xx");
      return answer;
    } catch (error) {
      done(statusLabel(error));
      throw error;
    }
  };
  /** A watch counts when it ends: most of its time nothing happens. */
  async function* watch<T extends KubernetesObject>(
    type: ResourceType<T>,
    options: WatchOptions,
    signal: AbortSignal,
  ) {
    const startedMs = clock.monoMs();
    let status = "2xx";
    try {
      yield* api.watch(type, options, signal);
    } catch (error) {
      status = signal.aborted ? "2xx" : statusLabel(error);
      throw error;
    } finally {
      metrics.onRequest("watch", type.kind, status, clock.monoMs() - startedMs);
    }
  }
  return {
    watch,
    get: (type, key) => count("get", type, () => api.get(type, key)),
    list: (type, options) => count("list", type, () => api.list(type, options)),
    create: (type, object) => count("create", type, () => api.create(type, object)),
    apply: (type, object, options) => count("apply", type, () => api.apply(type, object, options)),
    applyStatus: (type, object, options) =>
      count("apply_status", type, () => api.applyStatus(type, object, options)),
    replace: (type, object) => count("replace", type, () => api.replace(type, object)),
    delete: (type, key, preconditions) =>
      count("delete", type, () => api.delete(type, key, preconditions)),
  };
};
