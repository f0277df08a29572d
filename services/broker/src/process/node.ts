export { brokerSchema, checkLogSettings, logSettings, managerConfigOf } from "./config.ts";
export { type BrokerServerMetrics, brokerServerMetrics } from "./metrics.ts";
