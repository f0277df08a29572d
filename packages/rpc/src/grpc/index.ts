export { type GrpcClientOptions, grpcDialer } from "./client.ts";
export type { CallObserver } from "./observer.ts";
export { type GrpcServerOptions, grpcListener } from "./server.ts";
