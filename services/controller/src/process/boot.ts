/**
 * Boots a controller of a cluster. Its surroundings are options, so that a real machine and the
 * simulator run the same code.
 */
import type { Env } from "@millrace/env";
import type { MetadataStore } from "@millrace/metadata";
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
  /** Reaches the brokers. */
  readonly dialer: Dialer;
  readonly controllerId: number;
  /** Of topics that are made without one; fewer where there are fewer brokers. */
  readonly defaultReplicationFactor: number;
  /** Id for a cluster that has none yet. Default: random. */
  readonly newClusterId?: string;
  readonly metrics?: ControllerMetrics;
}

/** A controller that serves. It is the active one once it is elected. */
export interface Booted {
  readonly endpoints: BoundEndpoints;
  readonly clusterId: string;
  /** Drains, and gives up the election's key, so that another one need not wait. */
  stop(): Promise<void>;
}

/**
 * Starts a controller, and makes the cluster's record where there is none. Rejects with a
 * MillraceError before anything is served.
 */
export const boot = (options: BootOptions): Promise<Booted> =>
  startOrUndo(options.env.logger, (undo) => start(options, undo));

const start = async (options: BootOptions, undo: Undo): Promise<Booted> => {
  const { env, store, dialer, controllerId, newClusterId, metrics, onServing, onWaiting, signal } =
    options;
  const { clock, random, logger } = env;
  const clusterId = await untilAnswered(() => bootstrapCluster(store, random, newClusterId), {
    ...{ clock, logger, onWaiting, signal },
    waiting: "waiting for the metadata store",
  });
  const mirror = await startMirror(env, store, undo);
  const active = campaign(
    { env, store, mirror, dialer, controllerId, ...(metrics === undefined ? {} : { metrics }) },
    undo,
  );
  const services = controllerServices({
    ...{ env, store, clusterId, active },
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
