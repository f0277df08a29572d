export { checkAddresses, checkAdvertise, tellAddresses, tellAdvertised } from "./address.ts";
export { rememberCluster, wantedCluster } from "./cluster-id.ts";
export { lockDirectory } from "./data-directory.ts";
export { clusterIdSettings, etcdSettings } from "./etcd-settings.ts";
export { listenersOf } from "./listeners.ts";
export {
  type ListenerMetrics,
  type ProcessMetrics,
  processMetrics,
  type ServerMetrics,
  serverMetrics,
} from "./metrics.ts";
export { withinOpenFiles } from "./open-files.ts";
export {
  configFrom,
  helpText,
  type Launch,
  type Program,
  type ProgramSchema,
  runProgram,
  runTask,
  type Task,
} from "./run.ts";
export {
  type Endpoints,
  Readiness,
  type RunningServer,
  type Served,
  startServer,
} from "./server.ts";
export * from "./settings.ts";
