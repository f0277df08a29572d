export { standaloneSchema } from "./config.ts";
export { serverMetrics } from "./metrics.ts";
export { configFrom, runServer } from "./run.ts";
export { type Endpoints, type StandaloneServer, startStandalone } from "./server.ts";
