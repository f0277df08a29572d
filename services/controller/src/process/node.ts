export { controllerSchema } from "./config.ts";
export { controllerMetrics } from "./metrics.ts";
