export { groupCoordinatorSchema } from "./config.ts";
export { groupCoordinatorServerMetrics } from "./metrics.ts";
