/** The listeners of a real server, over gRPC. */
import type { Values } from "@millrace/config";
import type { Logger } from "@millrace/env";
import type { Listener } from "@millrace/rpc";
import { type AdmissionLimits, grpcListener } from "@millrace/rpc/grpc";
import type { ListenAt, Listeners } from "../listen.ts";
import { isLoopback } from "./address.ts";
import type { ServerMetrics } from "./metrics.ts";
import {
  type AdmissionConfig,
  admissionOf,
  internalLimits,
  type listenerSettings,
  probeLimits,
} from "./settings.ts";

/** The listeners, each with its limits and metrics. */
export const listenersOf = (
  config: AdmissionConfig & Values<typeof listenerSettings>,
  metrics: ServerMetrics,
  logger: Logger,
): Listeners => {
  const at = (name: string, endpoint: string, limits: Partial<AdmissionLimits>): ListenAt => {
    const { observer, watch } = metrics.listener(name);
    const grpc = grpcListener({
      observer: metrics.calls,
      limits,
      admissionObserver: observer,
      onAdmission: watch,
    });
    return { endpoint, listener: warning(grpc, logger) };
  };
  return {
    client: at("client", config.listen, admissionOf(config)),
    internal: at("internal", config["internal-listen"], internalLimits),
    health: at("health", config["health-listen"], probeLimits),
    graceMs: config["shutdown-grace"],
  };
};

/** The listener, with a warning when other machines reach it. */
const warning = (inner: Listener, logger: Logger): Listener => ({
  listen: async (endpoint, services) => {
    const server = await inner.listen(endpoint, services);
    if (!isLoopback(server.endpoint)) {
      logger.warn(
        { endpoint: server.endpoint },
        "the listener is reachable from other machines, without encryption or authentication: limit access to its port",
      );
    }
    return server;
  },
});
