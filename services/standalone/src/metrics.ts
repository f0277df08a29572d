/** Everything that the server counts, by the names of `docs/reference/metrics.md`. */
import { type BrokerServerMetrics, brokerServerMetrics } from "@millrace/broker/node";
import type { ControllerMetrics } from "@millrace/controller";
import { controllerMetrics } from "@millrace/controller/node";
import type { CoordinatorState, GroupMetrics } from "@millrace/group-coordinator";
import { groupMetrics, watchGroups } from "@millrace/group-coordinator/node";

export interface StandaloneMetrics extends BrokerServerMetrics {
  readonly controller: ControllerMetrics;
  readonly groups: GroupMetrics;
  /** Gauges are read at every scrape. */
  readonly watchGroups: (read: () => CoordinatorState) => void;
}

/** All metrics of a server, registered. */
export const serverMetrics = (
  ...options: Parameters<typeof brokerServerMetrics>
): StandaloneMetrics => {
  const ofBroker = brokerServerMetrics(...options);
  const { registry } = ofBroker;
  return {
    ...{ ...ofBroker, controller: controllerMetrics(registry) },
    ...{ groups: groupMetrics(registry), watchGroups: watchGroups(registry) },
  };
};
