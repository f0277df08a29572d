export { type HttpEndpoints, type HttpOptions, httpLimits, serveHttp } from "./http.ts";
export { createLogger, type LoggerOptions } from "./logger.ts";
export {
  type Counter,
  type Gauge,
  type Histogram,
  type Labels,
  latencyBuckets,
  type MetricDescription,
  type MetricOptions,
  Metrics,
  type Sample,
} from "./metrics.ts";
export { type LogOutput, logQueueBytesMax, standardOutput, streamOutput } from "./output.ts";
