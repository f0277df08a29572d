export { assignReplicas, type Candidate } from "./assignment.ts";
export { bootstrapCluster } from "./bootstrap.ts";
export { Controller, type ControllerOptions } from "./controller.ts";
export { ControllerProcess, type ControllerProcessOptions } from "./controller-process.ts";
export {
  heartbeatLimits,
  limits,
  maintenanceLimits,
  producerIdLimits,
  rebalanceLimits,
  replicaLimits,
} from "./limits.ts";
export { MaintenanceHandlers, type MaintenanceHandlersOptions } from "./maintenance/handlers.ts";
export { type ControllerMetrics, noMetrics } from "./metrics.ts";
export { ProducerIdBlocks } from "./producer-ids.ts";
export { ReplicaHandlers, type ReplicaHandlersOptions } from "./replicas.ts";
