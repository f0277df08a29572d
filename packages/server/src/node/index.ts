export {
  type Advertised,
  advertisedOf,
  checkAdvertise,
  isLoopback,
  parseAddress,
} from "./address.ts";
export { lockDirectory, prepareDirectory } from "./data-directory.ts";
export { writeEndpoints } from "./endpoints.ts";
export { listenersOf } from "./listeners.ts";
export { type ListenerMetrics, type ServerMetrics, serverMetrics } from "./metrics.ts";
export { type FileBudget, fileBudget, openFilesLimit } from "./open-files.ts";
export * from "./settings.ts";
