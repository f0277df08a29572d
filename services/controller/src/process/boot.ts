/**
 * Boots a controller of a cluster. Its surroundings are options, so that a real machine and the
 * simulator run the same code.
 */
import type { Env } from "@millrace/env";
import {
  ClusterStore,
  type MetadataStore,
  type MirrorObserver,
  requireCluster,
} from "@millrace/metadata";
import { type Dialer, HealthState } from "@millrace/rpc";
import {
  type BoundEndpoints,
  beginServing,
  catchUp,
  listen,
  type ProcessOptions,
  startMirror,
  startOrUndo,
  type Undo,
  untilAnswered,
} from "@millrace/server";
import { bootstrapCluster } from "../bootstrap.ts";
import type { ControllerMetrics } from "../metrics.ts";
import { campaign, controllerServices } from "./parts.ts";

export interface BootOptions extends ProcessOptions {
  /** A controller keeps nothing on a disk. */
  readonly env: Pick<Env, "clock" | "random" | "logger">;
  /** Belongs to the caller, who closes it after the stop. */
  readonly store: MetadataStore;
  /** Reaches the brokers and the other controllers. */
  readonly dialer: Dialer;
  readonly controllerId: number;
  /** Of topics that are made without one; fewer where there are fewer brokers. */
  readonly defaultReplicationFactor: number;
  /** Brokers of one rack that may be in maintenance together. Default 1. */
  readonly maintenancePerRackMax?: number;
  /** Of the cluster to belong to, which is waited for. Without it an empty store gets a new one. */
  readonly wantedClusterId?: string;
  /** Id for a cluster that has none yet. Default: random. */
  readonly newClusterId?: string;
  /** Told the cluster's id once it is known, before anything is served. */
  readonly onCluster?: (clusterId: string) => void;
  readonly metrics?: ControllerMetrics;
  readonly mirrorObserver?: MirrorObserver;
}

/** A controller that serves. It is the active one once it is elected. */
export interface Booted {
  readonly endpoints: BoundEndpoints;
  readonly clusterId: string;
  /** Drains, and gives up the election's key, so that another one need not wait. */
  stop(): Promise<void>;
}

/**
 * Starts a controller. Makes the cluster's record in an empty store, unless it is told which
 * cluster it belongs to. Rejects with a MillraceError before anything is served.
 */
export const boot = (options: BootOptions): Promise<Booted> =>
  startOrUndo(options.env.logger, (undo) => start(options, undo));

const clusterIdFor = (options: BootOptions): Promise<string> => {
  const { env, newClusterId, store, wantedClusterId } = options;
  return wantedClusterId === undefined
    ? bootstrapCluster(store, env.random, newClusterId)
    : requireCluster(store, wantedClusterId);
};

const start = async (options: BootOptions, undo: Undo): Promise<Booted> => {
  const { env, dialer, controllerId, metrics, onServing, onWaiting, signal } = options;
  const { clock, logger } = env;
  const waiting = "waiting for the metadata store";
  const patience = { clock, logger, onWaiting, signal, waiting };
  const clusterId = await untilAnswered(() => clusterIdFor(options), patience);
  options.onCluster?.(clusterId);
  const store = new ClusterStore(options.store, clusterId);
  const reading = { env, store: options.store, clusterId, observer: options.mirrorObserver };
  const mirror = await untilAnswered(() => startMirror(reading, undo), patience);
  const active = campaign(
    { env, store, mirror, dialer, controllerId, ...(metrics === undefined ? {} : { metrics }) },
    undo,
  );
  const services = controllerServices({
    ...{ env, store, clusterId, active },
    ...(options.maintenancePerRackMax === undefined
      ? {}
      : { maintenancePerRackMax: options.maintenancePerRackMax }),
    defaultReplicationFactor: (brokers) =>
      Math.max(1, Math.min(brokers, options.defaultReplicationFactor)),
    // The brokers hear of it from the store: what can be waited for here is who leads.
    untilServed: async (revision, timeoutMs) => {
      await active.settled(revision, timeoutMs);
    },
  });
  const health = new HealthState();
  const endpoints = await listen(options.listeners, services, health, undo);
  await active.announce(options.advertise(endpoints));
  await catchUp(mirror, store);
  signal?.throwIfAborted();
  beginServing(health, services, onServing, undo);
  logger.info({ cluster_id: clusterId, controller_id: controllerId }, "serving");
  return { endpoints, clusterId, stop: () => undo.run(logger) };
};
