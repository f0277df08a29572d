export { groupCoordinatorSchema } from "./config.ts";
export { groupCoordinatorServerMetrics, groupMetrics, watchGroups } from "./metrics.ts";
