export { type GrpcClientOptions, grpcDialer } from "./client/dialer.ts";
export {
  type AdmissionGauges,
  type AdmissionLimits,
  type AdmissionObserver,
  admissionDefaults,
  type LimitName,
  limitNames,
  transportLimits,
} from "./server/admission/limits.ts";
export type { CallObserver } from "./server/observer.ts";
export { type GrpcServerOptions, grpcListener } from "./server/server.ts";
