export {
  brokerSchema,
  checkLogSettings,
  logSettings,
  managerConfigOf,
  metricsSettings,
} from "./config.ts";
export { type BrokerServerMetrics, brokerServerMetrics } from "./metrics.ts";
