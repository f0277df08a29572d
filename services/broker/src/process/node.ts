export { brokerSchema, logSettings, managerConfigOf } from "./config.ts";
export { type BrokerServerMetrics, brokerServerMetrics } from "./metrics.ts";
