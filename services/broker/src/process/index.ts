export { type Identity, type LogMetrics, openLogs, startBroker } from "./parts.ts";
