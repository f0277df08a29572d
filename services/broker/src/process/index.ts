export { type Booted, type BootOptions, boot } from "./boot.ts";
export { clusterIdOf } from "./cluster.ts";
export {
  type Identity,
  type LogMetrics,
  openLogs,
  register,
  startBroker,
  stopBroker,
} from "./parts.ts";
