/** Services of which a listener serves some calls alone. */
import type { Method, ServiceBinding } from "./api.ts";

/** What is served of these methods. A service without any of them is left out. */
export const onlyMethods = (
  services: readonly ServiceBinding[],
  methods: readonly Pick<Method<unknown, unknown>, "path">[],
): ServiceBinding[] => {
  const paths = new Set(methods.map(({ path }) => path));
  return services.flatMap(({ bindings, desc }) => {
    const kept = bindings.filter(({ method }) => paths.has(method.path));
    return kept.length === 0 ? [] : { desc, bindings: kept };
  });
};
