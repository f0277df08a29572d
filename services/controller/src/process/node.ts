export { controllerMetrics } from "./metrics.ts";
