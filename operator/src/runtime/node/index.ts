/** The runtime's adapters to Node. */
export { type ClientOptions, clientDefaults, KubernetesClient, loadConfig } from "./client.ts";
export { runtimeMetrics } from "./metrics.ts";
