export { controllerSchema } from "./config.ts";
export { controllerMetrics } from "./metrics.ts";
export { controllerProgram, startControllerServer } from "./server.ts";
