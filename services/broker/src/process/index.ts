export { type Booted, type BootOptions, boot } from "./boot.ts";
export {
  type Identity,
  type LogMetrics,
  openLogs,
  register,
  startBroker,
  stopBroker,
} from "./parts.ts";
