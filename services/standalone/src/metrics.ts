/** Everything that the server counts, by the names of `docs/reference/metrics.md`. */
import { type BrokerServerMetrics, brokerServerMetrics } from "@millrace/broker/node";
import type { ControllerMetrics } from "@millrace/controller";
import { controllerMetrics } from "@millrace/controller/node";

export interface StandaloneMetrics extends BrokerServerMetrics {
  readonly controller: ControllerMetrics;
}

/** All metrics of a server, registered. */
export const serverMetrics = (
  ...options: Parameters<typeof brokerServerMetrics>
): StandaloneMetrics => {
  const ofBroker = brokerServerMetrics(...options);
  return { ...ofBroker, controller: controllerMetrics(ofBroker.registry) };
};
