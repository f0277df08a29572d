/** What a controller counts, by the names of `docs/reference/metrics.md`. */
import type { Metrics } from "@millrace/observability";
import { type ServerMetrics, serverMetrics } from "@millrace/server/node";
import type { ControllerMetrics } from "../metrics.ts";

export const controllerMetrics = (metrics: Metrics): ControllerMetrics => {
  const active = metrics.gauge({
    name: "millrace_controller_active",
    help: "1 while this is the active controller.",
  });
  const gauge = (name: string, help: string) =>
    metrics.gauge({ name: `millrace_controller_rebalance_${name}_moves`, help });
  const pending = gauge("pending", "Moves of the present rebalance that wait.");
  const ongoing = gauge("ongoing", "Moves of the present rebalance under way.");
  const counter = (name: string, help: string) =>
    metrics.counter({ name: `millrace_controller_${name}_total`, help });
  const reigns = counter("reigns", "Elections of this controller.");
  const changes = counter("changes", "Metadata records changed or removed by the control loop.");
  const elections = counter(
    "leader_elections",
    "Partitions that got another leader, another leader epoch, or lost their leader.",
  );
  const conflicts = counter(
    "conflicts",
    "Changes that were decided anew because their record had changed meanwhile.",
  );
  const fenced = counter("fenced_brokers", "Brokers fenced because they were dead or hung.");
  const leases = metrics.gauge({
    name: "millrace_controller_maintenance_leases",
    help: "Maintenance leases: held ones, and those that have run out while their broker is away.",
    labels: ["state"],
  });
  const maintenance = metrics.counter({
    name: "millrace_controller_maintenance_decisions_total",
    help: "Maintenance leases that were granted, refused, released, or ran out.",
    labels: ["result"],
  });
  const failures = counter("failures", "Rounds of the control loop that failed and were repeated.");
  return {
    onRebalance: (waiting, underWay) => {
      pending.set(waiting);
      ongoing.set(underWay);
    },
    onReign: (isActive) => {
      active.set(isActive ? 1 : 0);
      if (isActive) reigns.add(1);
    },
    onChanges: (changed, elected) => {
      changes.add(changed);
      elections.add(elected);
    },
    onConflict: () => conflicts.add(1),
    onFenced: () => fenced.add(1),
    onLeases: (held, expired) => {
      leases.set(held, { state: "held" });
      leases.set(expired, { state: "expired" });
    },
    onMaintenance: (result) => maintenance.add(1, { result }),
    onFailure: () => failures.add(1),
  };
};

export interface ControllerServerMetrics extends ServerMetrics {
  readonly controller: ControllerMetrics;
}

/** All metrics of a controller's process, registered. */
export const controllerServerMetrics = (
  droppedLogLines?: () => number,
): ControllerServerMetrics => {
  const shared = serverMetrics(droppedLogLines);
  return { ...shared, controller: controllerMetrics(shared.registry) };
};
