/**
 * Boots a group coordinator of a cluster. Its surroundings are options, so that a real machine and
 * the simulator run the same code.
 */
import { create } from "@bufbuild/protobuf";
import { ClusterMirror, type ClusterView, featureLevel, GroupShards } from "@millrace/broker";
import { clusterIdOf } from "@millrace/broker/process";
import type { Env, Logger } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  ClusterStore,
  coordinatorRegistration,
  type MetadataStore,
  type Mirror,
  type MirrorObserver,
  Registration,
} from "@millrace/metadata";
import { AdminService, type CreateTopicRequest } from "@millrace/proto/controller";
import { type CoordinatorRecord, CoordinatorRecordSchema } from "@millrace/proto/storage";
import { type Dialer, HealthState, methodOf } from "@millrace/rpc";
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
import { Channels } from "../cluster/channels.ts";
import { LeaderCalls } from "../cluster/leader-calls.ts";
import { GroupCoordinator } from "../group-coordinator.ts";
import type { GroupMetrics } from "../metrics.ts";
import type { CoordinatorState } from "../runtime/coordinator.ts";
import { PeerWatch } from "./peers.ts";

export interface BootOptions extends ProcessOptions {
  /** A group coordinator keeps nothing on a disk. */
  readonly env: Omit<Env, "disk">;
  /** Belongs to the caller, who closes it after the stop. */
  readonly store: MetadataStore;
  /** Reaches brokers, controllers and the other coordinators. */
  readonly dialer: Dialer;
  readonly coordinatorId: number;
  /** Of the cluster to belong to, which is waited for. Default: that of any. */
  readonly wantedClusterId?: string;
  /** Told the cluster's id once it is known, before anything is served. */
  readonly onCluster?: (clusterId: string) => void;
  /** See `GroupCoordinatorOptions`. */
  readonly offsetsRetentionMs: number;
  readonly metrics?: GroupMetrics;
  readonly watchGroups?: (read: () => CoordinatorState) => void;
  readonly mirrorObserver?: MirrorObserver;
}

/** A group coordinator that serves. */
export interface Booted {
  readonly endpoints: BoundEndpoints;
  readonly clusterId: string;
  /** Has the others serve its groups, ends its streams, and then its registration. */
  stop(): Promise<void>;
}

/** Partitions of the internal topic: enough for a dozen coordinators to have like shares. */
const shardCount = 32;
/** Longest time that a stop waits for the metadata store, ms. */
const handOverMs = 2000;

/**
 * Starts a group coordinator once its cluster is there. Rejects with a MillraceError before
 * anything is served: INVALID_CONFIG when another process with this id is alive.
 */
export const boot = (options: BootOptions): Promise<Booted> =>
  startOrUndo(options.env.logger, (undo) => start(options, undo));

const start = async (options: BootOptions, undo: Undo): Promise<Booted> => {
  const { coordinatorId, env, onServing, onWaiting = () => {}, signal } = options;
  const { clock, logger } = env;
  const patience = { clock, logger, onWaiting, signal };
  const clusterId = await clusterIdOf(options.store, options.wantedClusterId, patience);
  options.onCluster?.(clusterId);
  const store = new ClusterStore(options.store, clusterId);
  const reading = { env, store: options.store, clusterId, observer: options.mirrorObserver };
  const mirror = await untilAnswered(() => startMirror(reading, undo), {
    ...{ ...patience, waiting: "waiting for the metadata store" },
  });
  onWaiting(`registering as group coordinator ${coordinatorId}`);
  const registration = await register(options, store, undo);
  const view = new ClusterMirror(mirror, logger);
  undo.add(() => view.close());
  const groups = startGroups({ ...options, clusterId, view, mirror, clusterStore: store }, undo);
  const health = new HealthState();
  const services = { client: groups.bindings(), internal: [] };
  const endpoints = await listen(options.listeners, services, health, undo);
  groups.start();
  await registration.update(options.advertise(endpoints));
  await catchUp(mirror, store);
  signal?.throwIfAborted();
  const { dialer } = options;
  const watch = new PeerWatch({ clock, coordinatorId, dialer, logger, mirror, store });
  undo.add(() => watch.close());
  beginServing(health, services, onServing, undo);
  const { epoch } = registration;
  logger.info({ cluster_id: clusterId, coordinator_id: coordinatorId, epoch }, "serving");
  const stop = async (): Promise<void> => {
    await handOver(registration, mirror, store, env);
    await undo.run(logger);
  };
  return { endpoints, clusterId, stop };
};

const register = async (
  { coordinatorId, env, signal }: BootOptions,
  store: MetadataStore,
  undo: Undo,
): Promise<Registration<CoordinatorRecord>> => {
  const { clock, logger, random } = env;
  const record = create(CoordinatorRecordSchema, {
    ...{ coordinatorId, incarnationId: random.bytes(16), featureLevelMax: featureLevel },
  });
  const kind = coordinatorRegistration;
  const registration = new Registration({ kind, store, clock, logger, record });
  undo.add(() => registration.close());
  const end = (): void => void registration.close();
  signal?.addEventListener("abort", end, { once: true });
  await registration.register().finally(() => signal?.removeEventListener("abort", end));
  return registration;
};

const startGroups = (
  options: BootOptions & {
    readonly clusterId: string;
    readonly view: ClusterView;
    readonly mirror: Mirror;
    readonly clusterStore: MetadataStore;
  },
  undo: Undo,
): GroupCoordinator => {
  const { clusterId, clusterStore, coordinatorId, dialer, env, metrics, mirror, view } = options;
  const channels = new Channels({ dialer, clusterId });
  const groups = new GroupCoordinator({
    ...{ env, view, clusterId, coordinatorId, shardCount, shards: new GroupShards() },
    ...(metrics && { metrics }),
    calls: new LeaderCalls({ clock: env.clock, view, channels }),
    createTopic: (request) => createTopic(view, channels, request),
    caughtUp: () => catchUp(mirror, clusterStore),
    offsetsRetentionMs: options.offsetsRetentionMs,
  });
  undo.add(() => groups.close());
  options.watchGroups?.(() => groups.state);
  return groups;
};

const createTopic = (view: ClusterView, channels: Channels, request: CreateTopicRequest) => {
  const { internalController } = view.current;
  if (internalController !== undefined)
    return channels.call(internalController, methodOf(AdminService.method.createTopic), request);
  const text = "no controller is active at the moment: retry";
  return Promise.reject(MillraceError.refusal(ErrorCode.NOT_CONTROLLER, text));
};

/**
 * From now on the others serve the groups. The streams of members end as soon as this process has
 * read that, with the coordinators that follow as hints. Never rejects.
 */
const handOver = async (
  registration: Registration<CoordinatorRecord>,
  mirror: Mirror,
  store: MetadataStore,
  { clock, logger }: { readonly clock: Env["clock"]; readonly logger: Logger },
): Promise<void> => {
  const timeout = Promise.withResolvers<void>();
  const cancel = clock.timer(handOverMs, timeout.resolve);
  const told = registration
    .update({ shuttingDown: true })
    .then(() => catchUp(mirror, store))
    .catch((thrown: unknown) => {
      const err = MillraceError.from(thrown);
      logger.warn({ err }, "the others could not be told that this coordinator stops");
    });
  await Promise.race([told, timeout.promise]);
  cancel();
  registration.makeLast();
};
