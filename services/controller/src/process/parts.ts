/** Starts what makes a process a controller: its part in the election, and its services. */
import type { Env } from "@millrace/env";
import type { MetadataStore, Mirror } from "@millrace/metadata";
import { AdminService } from "@millrace/proto/controller";
import { type Dialer, methodOf, onlyMethods } from "@millrace/rpc";
import type { Services, Undo } from "@millrace/server";
import { BrokersHandlers } from "../brokers.ts";
import { Controller, type ControllerOptions } from "../controller.ts";
import { ControllerProcess } from "../controller-process.ts";
import { MaintenanceHandlers } from "../maintenance/handlers.ts";
import type { ControllerMetrics } from "../metrics.ts";
import { ProducerIdBlocks } from "../producer-ids.ts";
import { RebalanceHandlers } from "../rebalances.ts";
import { ReplicaHandlers } from "../replicas.ts";

/** Takes part in the election until the stop. The addresses are not known yet. */
export const campaign = (
  options: {
    readonly env: Pick<Env, "clock" | "random" | "logger">;
    readonly store: MetadataStore;
    readonly mirror: Mirror;
    /** Reaches the brokers and the other controllers. */
    readonly dialer: Dialer;
    readonly controllerId: number;
    readonly metrics?: ControllerMetrics;
  },
  undo: Undo,
): ControllerProcess => {
  const { env, ...rest } = options;
  const { clock, random, logger } = env;
  const active = new ControllerProcess({ ...rest, clock, random, logger });
  undo.add(() => active.close());
  return active;
};

/**
 * The Admin, Brokers, Maintenance and Rebalance services for clients; ReplicaService and
 * CreateTopic for the cluster.
 */
export const controllerServices = (
  options: Pick<ControllerOptions, "store" | "defaultReplicationFactor" | "untilServed"> & {
    readonly env: Pick<Env, "clock" | "random" | "logger">;
    readonly clusterId: string;
    readonly active: ControllerProcess;
    /** Brokers of one rack that may be in maintenance together. Default 1. */
    readonly maintenancePerRackMax?: number;
  },
): Services => {
  const { env, clusterId, active, maintenancePerRackMax: perRackMax = 1, ...rest } = options;
  const { clock, random, logger } = env;
  const controller = new Controller({ ...rest, clock, random, logger, active });
  const replicas = new ReplicaHandlers({
    ...{ clusterId, clock, active },
    deletionDone: (topicId, id) => controller.deletionDone(topicId, id),
    removalsDone: (id, removals) => controller.removalsDone(id, removals),
    producerIds: new ProducerIdBlocks({ store: options.store, active }),
  });
  const brokers = new BrokersHandlers({
    ...{ clusterId, active, store: options.store },
    deletionDone: (topicId, id) => controller.deletionDone(topicId, id),
  });
  const maintenance = new MaintenanceHandlers({
    ...{ clusterId, clock, logger, active, store: options.store, perRackMax },
  });
  const rebalances = new RebalanceHandlers({ clusterId, clock, active, store: options.store });
  return {
    client: [
      ...[...controller.bindings(), ...brokers.bindings()],
      ...[...maintenance.bindings(), ...rebalances.bindings()],
    ],
    // A group coordinator makes the internal topic, and may not reach the address for clients.
    internal: [
      ...replicas.bindings(),
      ...onlyMethods(controller.bindings(), [methodOf(AdminService.method.createTopic)]),
    ],
  };
};
