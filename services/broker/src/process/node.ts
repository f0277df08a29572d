export { logSettings, managerConfigOf } from "./config.ts";
export { brokerMetrics, logGauges, logMetrics } from "./metrics.ts";
