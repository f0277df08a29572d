export { standaloneSchema } from "./config.ts";
export { serverMetrics } from "./metrics.ts";
export { runServer } from "./run.ts";
export { startStandalone } from "./server.ts";
