/**
 * Starts a process from its environment: the one way, for the standalone server and for the
 * simulator. Everything of the outside world comes in through the options.
 */
import type { Broker, BrokerMetrics } from "@millrace/broker";
import { type LogMetrics, openLogs, startBroker, stopBroker } from "@millrace/broker/process";
import { bootstrapCluster, type ControllerMetrics } from "@millrace/controller";
import { controllerServices } from "@millrace/controller/process";
import type { Env } from "@millrace/env";
import {
  type CoordinatorState,
  GroupCoordinator,
  type GroupMetrics,
  groupLimits,
  LocalCalls,
} from "@millrace/group-coordinator";
import type { BeginPass, LogManagerConfig, RecoveryReport } from "@millrace/log";
import { ClusterStore, type MetadataStore, type MirrorObserver } from "@millrace/metadata";
import { AdminService } from "@millrace/proto/controller";
import { type Dialer, HealthState, methodOf, type ServiceBinding } from "@millrace/rpc";
import {
  type BoundEndpoints,
  beginServing,
  catchUp,
  type Listeners,
  listen,
  startMirror,
  startOrUndo,
  type Undo,
} from "@millrace/server";
import { startController } from "./controller.ts";

export interface BootOptions {
  readonly env: Env;
  /** Belongs to the caller, who closes it after the stop. */
  readonly store: MetadataStore;
  /** Reaches the brokers and controllers of other processes. */
  readonly dialer: Dialer;
  readonly listeners: Listeners;
  readonly brokerId: number;
  /**
   * The one process of its cluster: it serves once it is elected and every leader is decided. One
   * of several serves once it is registered, whoever is elected.
   */
  readonly alone: boolean;
  /** Of topics that are made without one. */
  readonly defaultReplicationFactor: number;
  /** Id for a cluster that has none yet. Default: random. */
  readonly newClusterId?: string;
  readonly logConfig: LogManagerConfig;
  /** Cleans large logs, away from the event loop. */
  readonly beginCleaning?: BeginPass;
  /** See `BrokerOptions`. */
  readonly keyIndexBytesMax?: number;
  readonly metrics: {
    readonly broker: BrokerMetrics;
    readonly controller?: ControllerMetrics;
    readonly groups?: GroupMetrics;
    readonly watchGroups?: (read: () => CoordinatorState) => void;
    readonly metadata?: MirrorObserver;
  } & LogMetrics;
  /** The address that clients are told, from the one that the listener is bound to. */
  readonly advertise: (listening: string) => string;
  /** Told when everything is served, and when it ends. */
  readonly onServing?: (serving: boolean) => void;
}

/** A process that serves. */
export interface Booted {
  readonly endpoints: BoundEndpoints;
  readonly clusterId: string;
  readonly recovery: RecoveryReport;
  /** Drains, flushes, writes the clean marker. */
  stop(): Promise<void>;
}

/** Starts broker and controller. Rejects with a MillraceError before anything is served. */
export const boot = (options: BootOptions): Promise<Booted> =>
  startOrUndo(options.env.logger, (undo) => start(options, undo));

const start = async (options: BootOptions, undo: Undo): Promise<Booted> => {
  const { env, brokerId, metrics } = options;
  const { random, logger } = env;
  const clusterId = await bootstrapCluster(options.store, random, options.newClusterId);
  const store = new ClusterStore(options.store, clusterId);
  const identity = { clusterId, brokerId };
  const shared = { env, store, identity };
  const { beginCleaning, logConfig: config } = options;
  const logs = await openLogs({ ...shared, config, beginCleaning, metrics }, undo);
  const mirror = await startMirror(
    { env, store: options.store, clusterId, observer: metrics.metadata },
    undo,
  );
  const { active, registration } = await startController(
    {
      ...{ env, store, mirror, dialer: options.dialer, brokerId, alone: options.alone },
      directoryId: logs.directoryId,
      ...(metrics.controller === undefined ? {} : { metrics: metrics.controller }),
    },
    undo,
  );
  const { clean, partitions } = logs.recovery;
  if (!clean && partitions > 0) {
    env.sim?.sometimes("boot: leader epochs rise after an unclean stop");
  }
  const { defaultReplicationFactor, keyIndexBytesMax } = options;
  const ofController = controllerServices({
    ...{ env, store, clusterId, active, defaultReplicationFactor },
    untilServed: (revision, timeoutMs) => broker.untilServed(revision, timeoutMs),
  });
  const itself = () => {
    const endpoint = broker.view.current.brokers.get(brokerId)?.endpoint;
    return endpoint && { coordinatorId: brokerId, endpoint };
  };
  const broker: Broker = startBroker(
    {
      ...{ env, mirror, identity, logs, metrics: metrics.broker, dialer: options.dialer },
      brokerEpoch: () => registration.epoch,
      ...(keyIndexBytesMax === undefined ? {} : { keyIndexBytesMax }),
      // Every group is served where everything is.
      coordinators: { of: () => itself(), all: () => [itself() ?? []].flat() },
    },
    undo,
  );
  const groups = startGroups(
    { env, clusterId, brokerId, broker, metrics, admin: ofController.client },
    undo,
  );
  const health = new HealthState();
  const services = {
    client: [...broker.bindings(), ...ofController.client, ...groups.bindings()],
    internal: [...broker.internalBindings(), ...ofController.internal],
  };
  const endpoints = await listen(options.listeners, services, health, undo);
  const addresses = {
    clientEndpoint: options.advertise(endpoints.client),
    internalEndpoint: endpoints.internal,
  };
  await registration.update(addresses);
  await active.announce(addresses);
  await catchUp(mirror, store);
  await broker.start();
  beginServing(health, services, options.onServing, undo);
  logger.info({ ...logs.recovery, cluster_id: clusterId }, "the log is recovered");
  const stop = (): Promise<void> => stopBroker({ broker, registration, logger }, undo);
  return { endpoints, clusterId, recovery: logs.recovery, stop };
};

/** The groups of a process that leads every partition itself. */
const startGroups = (
  options: {
    readonly env: Env;
    readonly clusterId: string;
    readonly brokerId: number;
    readonly broker: Broker;
    readonly metrics: Pick<BootOptions["metrics"], "groups" | "watchGroups">;
    readonly admin: readonly ServiceBinding[];
  },
  undo: Undo,
): GroupCoordinator => {
  const { admin, broker, brokerId, clusterId, env, metrics } = options;
  const controller = new LocalCalls(admin);
  const groups = new GroupCoordinator({
    ...{ env, clusterId, coordinatorId: brokerId },
    shardCount: groupLimits.shards,
    offsetsRetentionMs: groupLimits.offsetsRetentionMs,
    ...(metrics.groups && { metrics: metrics.groups }),
    view: broker.view,
    calls: new LocalCalls(broker.bindings()),
    createTopic: (request) => controller.unary(methodOf(AdminService.method.createTopic), request),
  });
  metrics.watchGroups?.(() => groups.state);
  undo.add(() => groups.close());
  return groups;
};
