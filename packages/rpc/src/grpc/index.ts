export { type GrpcClientOptions, grpcDialer } from "./client.ts";
export {
  type AdmissionGauges,
  type AdmissionLimits,
  type AdmissionObserver,
  admissionDefaults,
  type LimitName,
  limitNames,
  transportLimits,
} from "./limits.ts";
export type { CallObserver } from "./observer.ts";
export { type GrpcServerOptions, grpcListener } from "./server.ts";
