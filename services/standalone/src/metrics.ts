/** Everything that the server counts, by the names of `docs/reference/metrics.md`. */
import type { BrokerMetrics } from "@millrace/broker";
import { brokerMetrics, logGauges, logMetrics } from "@millrace/broker/node";
import type { ControllerMetrics } from "@millrace/controller";
import { controllerMetrics } from "@millrace/controller/node";
import type { LogManager, LogObserver } from "@millrace/log";
import { serverMetrics as ofServer, type ServerMetrics } from "@millrace/server/node";

export interface StandaloneMetrics extends ServerMetrics {
  readonly broker: BrokerMetrics;
  readonly controller: ControllerMetrics;
  readonly log: LogObserver;
  /** Reads the sizes of the log at every scrape from now on. */
  watchLogs(logs: LogManager): void;
}

/** All metrics of a server, registered. */
export const serverMetrics = (droppedLogLines?: () => number): StandaloneMetrics => {
  const shared = ofServer(droppedLogLines);
  const { registry } = shared;
  return {
    ...shared,
    broker: brokerMetrics(registry),
    controller: controllerMetrics(registry),
    log: logMetrics(registry),
    watchLogs: logGauges(registry),
  };
};
