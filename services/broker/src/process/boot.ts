/**
 * Boots a broker of a cluster. Its surroundings are options, so that a real machine and the
 * simulator run the same code.
 */
import type { Env } from "@millrace/env";
import type { BeginPass, LogManagerConfig, RecoveryReport } from "@millrace/log";
import { ClusterStore, type MetadataStore, type MirrorObserver } from "@millrace/metadata";
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
import type { BrokerMetrics } from "../metrics.ts";
import { clusterIdOf } from "./cluster.ts";
import { onceDecommissioned, refuseDecommissioned } from "./decommissioned.ts";
import { clusterIdOnDisk } from "./directory.ts";
import { type LogMetrics, openLogs, register, startBroker, stopBroker } from "./parts.ts";

export interface BootOptions extends ProcessOptions {
  readonly env: Env;
  /** Belongs to the caller, who closes it after the stop. */
  readonly store: MetadataStore;
  /** Reaches the brokers and controllers of other processes. */
  readonly dialer: Dialer;
  readonly brokerId: number;
  /** Of the cluster to belong to. Default: that of the data directory, or of any. */
  readonly wantedClusterId?: string;
  /** Where the broker stands; replicas of a partition go to different racks. Default: unknown. */
  readonly rack?: string;
  readonly logConfig: LogManagerConfig;
  /** Cleans large logs, away from the event loop. */
  readonly beginCleaning?: BeginPass;
  /** See `BrokerOptions`. */
  readonly replicaLagMaxMs?: number;
  /** See `BrokerOptions`. */
  readonly reassignmentThrottle?: number;
  /** See `BrokerOptions`. */
  readonly keyIndexBytesMax?: number;
  readonly metrics: {
    readonly broker: BrokerMetrics;
    readonly metadata?: MirrorObserver;
  } & LogMetrics;
  /** The broker is gone for good: the caller stops it. */
  readonly onDecommissioned?: () => void;
}

/** A broker that serves. */
export interface Booted {
  readonly endpoints: BoundEndpoints;
  readonly clusterId: string;
  readonly recovery: RecoveryReport;
  /** Hands over what it leads, drains, flushes, writes the clean marker. */
  stop(): Promise<void>;
}

/**
 * Starts a broker once its cluster is there: the metadata of another one is waited out. Rejects
 * with a MillraceError before anything is served: DATA_DIRECTORY_UNUSABLE for the directory of
 * another broker, INVALID_CONFIG when another process with this id is alive, and for a broker that
 * was decommissioned.
 */
export const boot = (options: BootOptions): Promise<Booted> =>
  startOrUndo(options.env.logger, (undo) => start(options, undo));

const start = async (options: BootOptions, undo: Undo): Promise<Booted> => {
  const { env, brokerId, rack = "", metrics, onServing, signal } = options;
  const { keyIndexBytesMax, reassignmentThrottle, replicaLagMaxMs } = options;
  const { onWaiting = () => {} } = options;
  const { clock, logger } = env;
  const patience = { clock, logger, onWaiting, signal };
  const wantedId = options.wantedClusterId ?? (await clusterIdOnDisk(env.disk));
  const clusterId = await clusterIdOf(options.store, wantedId, patience);
  const store = new ClusterStore(options.store, clusterId);
  const identity = { clusterId, brokerId };
  onWaiting("recovering the logs");
  const { beginCleaning, logConfig: config } = options;
  const logs = await openLogs({ env, store, identity, config, beginCleaning, metrics }, undo);
  signal?.throwIfAborted();
  const reading = { env, store: options.store, clusterId, observer: metrics.metadata };
  const mirror = await untilAnswered(() => startMirror(reading, undo), {
    ...{ ...patience, waiting: "waiting for the metadata store" },
  });
  onWaiting(`registering as broker ${brokerId}`);
  const { directoryId } = logs;
  await refuseDecommissioned(store, { brokerId, directoryId });
  const registration = await register({ env, store, brokerId, directoryId, rack, signal }, undo);
  const broker = startBroker(
    {
      ...{ env, mirror, identity, logs, metrics: metrics.broker, dialer: options.dialer },
      ...(replicaLagMaxMs === undefined ? {} : { replicaLagMaxMs }),
      ...(reassignmentThrottle === undefined ? {} : { reassignmentThrottle }),
      ...(keyIndexBytesMax === undefined ? {} : { keyIndexBytesMax }),
      brokerEpoch: () => registration.epoch,
    },
    undo,
  );
  onWaiting("opening the partitions");
  const health = new HealthState();
  const services = { client: broker.bindings(), internal: broker.internalBindings() };
  const endpoints = await listen(options.listeners, services, health, undo);
  await registration.update(options.advertise(endpoints));
  await catchUp(mirror, store);
  await broker.start();
  signal?.throwIfAborted();
  beginServing(health, services, onServing, undo);
  const stopListening = onceDecommissioned(mirror, { brokerId, directoryId }, logger, () => {
    logger.error({ broker_id: brokerId }, "this broker is decommissioned, and stops");
    options.onDecommissioned?.();
  });
  undo.add(stopListening);
  const epoch = registration.epoch;
  logger.info({ ...logs.recovery, cluster_id: clusterId, broker_id: brokerId, epoch }, "serving");
  const stop = (): Promise<void> => stopBroker({ broker, registration, logger }, undo);
  return { endpoints, clusterId, recovery: logs.recovery, stop };
};
