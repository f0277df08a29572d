/** All services in one process, over one data directory and an embedded metadata store. */
import { join } from "node:path";
import { create } from "@bufbuild/protobuf";
import { Broker, ClusterMirror, logConfigOf } from "@millrace/broker";
import { type Resolved, redactedValues, topicConfigOf } from "@millrace/config";
import { Controller } from "@millrace/controller";
import type { Env, Logger } from "@millrace/env";
import { nodeEnv } from "@millrace/env/node";
import { defaultManagerConfig, type LogManager, openLogManager } from "@millrace/log";
import { decodeRecord, keys, type MetadataStore, Mirror } from "@millrace/metadata";
import { openSqliteStore } from "@millrace/metadata/node";
import { serveHttp } from "@millrace/observability";
import { BrokerRecordSchema } from "@millrace/proto/storage";
import { topicIdOf } from "@millrace/record";
import { nodeCompressor } from "@millrace/record/node";
import {
  HealthState,
  healthService,
  type Listener,
  type RpcServer,
  reflectionServices,
} from "@millrace/rpc";
import { type AdmissionLimits, grpcListener } from "@millrace/rpc/grpc";
import { advertisedOf, checkAdvertise, isLoopback, parseAddress } from "./address.ts";
import { admissionOf, probeLimits, type StandaloneConfig, standaloneSchema } from "./config.ts";
import { lockDirectory, prepareDirectory } from "./data-directory.ts";
import { writeEndpoints } from "./endpoints.ts";
import { type ServerMetrics, serverMetrics } from "./metrics.ts";
import { fileBudget, openFilesLimit } from "./open-files.ts";

/** The one broker of a standalone server. */
const BROKER_ID = 0;

/** The bound addresses. */
export interface Endpoints {
  readonly client: string;
  readonly internal: string;
  readonly health: string;
  readonly http: string;
}

export interface StandaloneServer {
  readonly endpoints: Endpoints;
  readonly clusterId: string;
  /** Drains, flushes, writes the clean marker. */
  stop(): Promise<void>;
}

/** Steps that undo the start, run in reverse order. */
class Undo {
  readonly #steps: (() => void | Promise<void>)[] = [];

  add(step: () => void | Promise<void>): void {
    this.#steps.push(step);
  }

  async run(logger: Logger): Promise<void> {
    for (let step = this.#steps.pop(); step !== undefined; step = this.#steps.pop()) {
      try {
        await step();
      } catch (thrown) {
        logger.error({ err: thrown }, "a step of stopping failed");
      }
    }
  }
}

/** Starts everything. Rejects with a MillraceError before anything is served. */
export const startStandalone = async (
  resolved: Resolved<typeof standaloneSchema>,
  logger: Logger,
  droppedLogLines: () => number = () => 0,
): Promise<StandaloneServer> => {
  const undo = new Undo();
  try {
    return await start(resolved, logger, undo, droppedLogLines);
  } catch (thrown) {
    await undo.run(logger);
    throw thrown;
  }
};

const start = async (
  resolved: Resolved<typeof standaloneSchema>,
  logger: Logger,
  undo: Undo,
  droppedLogLines: () => number,
): Promise<StandaloneServer> => {
  checkAdvertise(resolved.values.advertise);
  const config = withinOpenFiles(resolved.values, logger);
  const directory = config["data-dir"];
  prepareDirectory(directory);
  undo.add(lockDirectory(directory));
  const env = nodeEnv({ dataDirectory: directory, compressor: nodeCompressor, logger });
  const { clock, random } = env;
  const metrics = serverMetrics(droppedLogLines);
  const store = openSqliteStore({ path: join(directory, "metadata.sqlite"), clock, random });
  undo.add(() => store.close());
  const controllerOptions = { store, clock, random, logger, defaultReplicationFactor: 1 };
  const recovering = new Controller(controllerOptions);
  const clusterId = await recovering.bootstrapCluster();
  const logs = await openLogs(env, config, store, clusterId, metrics);
  undo.add(() => logs.close(true));
  metrics.watchLogs(logs);
  await recovering.recover();
  const { clean, partitions } = logs.recovery;
  if (!clean && partitions > 0) await recovering.bumpLeaderEpochs(BROKER_ID);
  const mirror = new Mirror({ store, clock, random, logger });
  await mirror.start();
  undo.add(() => mirror.close());
  const ready = { value: false };
  const where = { client: "" };
  const view = new ClusterMirror(mirror, logger, () => where.client);
  undo.add(() => view.close());
  const broker = new Broker({
    ...{ env, logs, view, metrics: metrics.broker },
    identity: { clusterId, brokerId: BROKER_ID },
    deletionDone: (topicId) => recovering.deletionDone(topicId, BROKER_ID),
  });
  undo.add(() => broker.close());
  const controller = new Controller({
    ...controllerOptions,
    untilServed: (revision, timeoutMs) => broker.untilServed(revision, timeoutMs),
  });
  const health = new HealthState();
  const parts = { broker, controller, health, ready, metrics };
  const listening = await listen({ ...parts, resolved, config, logger, undo });
  const clientEndpoint = endpointForClients(config, listening.client, logger);
  where.client = clientEndpoint;
  await controller.registerBroker(
    create(BrokerRecordSchema, {
      brokerId: BROKER_ID,
      incarnationId: random.bytes(16),
      clientEndpoint,
      internalEndpoint: listening.internal,
    }),
  );
  await mirror.waitForRevision((await store.range({ key: keys.cluster })).revision, 10_000);
  await broker.start();
  const { services, ...endpoints } = listening;
  writeEndpoints(directory, endpoints);
  const serve = (serving: boolean): void => {
    ready.value = serving;
    for (const service of ["", ...services]) health.set(service, serving);
  };
  serve(true);
  undo.add(() => serve(false));
  logger.info({ ...logs.recovery, cluster_id: clusterId }, "the log is recovered");
  return { endpoints, clusterId, stop: () => undo.run(logger) };
};

/** The address that clients are told; a guessed one is logged. */
const endpointForClients = (
  config: StandaloneConfig,
  listening: string,
  logger: Logger,
): string => {
  const { endpoint, guessed } = advertisedOf(config.advertise, listening);
  if (guessed) {
    logger.warn(
      { listen: listening, advertised: endpoint },
      "clients are told an address of this machine, because the listener is on all interfaces: " +
        "set --advertise to the HOST:PORT that clients reach",
    );
  }
  return endpoint;
};

/** The settings, reduced to what the process may open. */
const withinOpenFiles = (config: StandaloneConfig, logger: Logger): StandaloneConfig => {
  const limit = openFilesLimit();
  const budget = fileBudget(limit, {
    openFilesMax: config["open-files-max"],
    connectionsMax: config["connections-max"],
  });
  const { openFilesMax, connectionsMax, reduced } = budget;
  if (!reduced) return config;
  logger.warn(
    { limit, open_files_max: openFilesMax, connections_max: connectionsMax },
    "the process may open fewer files than the settings ask for: raise the limit (ulimit -n)",
  );
  return { ...config, "open-files-max": openFilesMax, "connections-max": connectionsMax };
};

/** Opens the log with the configs of its topics. */
const openLogs = async (
  env: Env,
  config: StandaloneConfig,
  store: MetadataStore,
  clusterId: string,
  metrics: ServerMetrics,
): Promise<LogManager> => {
  const { kvs } = await store.range({ prefix: keys.topics });
  const configs = new Map<string, Readonly<Record<string, string>>>();
  for (const kv of kvs) {
    const record = decodeRecord.topic(kv);
    configs.set(topicIdOf(record.topicId), record.configs);
  }
  // The configs of a deleted topic still apply to its remaining files.
  for (const kv of (await store.range({ prefix: keys.deletions })).kvs) {
    const { topic } = decodeRecord.deletion(kv);
    if (topic !== undefined) configs.set(topicIdOf(topic.topicId), topic.configs);
  }
  return openLogManager({
    env,
    identity: { clusterId, brokerId: BROKER_ID },
    config: {
      ...defaultManagerConfig,
      journalFileBytes: config["journal-file-bytes"],
      journalBytesMax: config["journal-bytes-max"],
      tailCacheBytesMax: config["tail-cache-bytes-max"],
      indexCacheBytesMax: config["index-cache-bytes-max"],
      pendingBytesMax: config["pending-bytes-max"],
      diskReserveBytes: config["disk-reserve-bytes"],
      openFilesMax: config["open-files-max"],
      checkpointIntervalMs: config["checkpoint-interval"],
      retentionCheckIntervalMs: config["retention-check-interval"],
    },
    configFor: (topicId) => logConfigOf(topicConfigOf(configs.get(topicId) ?? {})),
    observer: metrics.log,
  });
};

interface ListenOptions {
  /** As set, for `/configz`. */
  readonly resolved: Resolved<typeof standaloneSchema>;
  /** As in force. */
  readonly config: StandaloneConfig;
  readonly broker: Broker;
  readonly controller: Controller;
  readonly health: HealthState;
  readonly ready: { readonly value: boolean };
  readonly metrics: ServerMetrics;
  readonly logger: Logger;
  readonly undo: Undo;
}

/** Opens all listeners. Nothing is reported ready yet. */
const listen = async (options: ListenOptions) => {
  const { resolved, config, broker, controller, health, ready, metrics, logger, undo } = options;
  const graceMs = config["shutdown-grace"];
  const listener = (name: string, limits: Partial<AdmissionLimits>) => {
    const { observer, watch } = metrics.listener(name);
    return grpcListener({
      observer: metrics.calls,
      limits,
      admissionObserver: observer,
      onAdmission: watch,
    });
  };
  const healthBinding = healthService(health);
  const own = [...broker.bindings(), ...controller.bindings()];
  const all = [...own, healthBinding];
  const descriptors = all.map(({ desc }) => desc);
  const open = async (
    { listen }: Listener,
    endpoint: string,
    bindings: typeof all,
  ): Promise<RpcServer> => {
    const server = await listen(endpoint, bindings);
    if (!isLoopback(server.endpoint)) {
      logger.warn(
        { endpoint: server.endpoint },
        "the listener is reachable from other machines, without encryption or authentication: limit access to its port",
      );
    }
    return server;
  };
  const http = await serveHttp({
    ...parseAddress(config["http-listen"]),
    metrics: metrics.registry,
    ready: () => ({ ready: ready.value, reasons: ready.value ? [] : ["starting or stopping"] }),
    configz: () => redactedValues(standaloneSchema, resolved),
    logger,
    onRefused: () => metrics.onHttpRefused(),
  });
  undo.add(() => http.close());
  const probes = await open(listener("health", probeLimits), config["health-listen"], [
    healthBinding,
  ]);
  undo.add(() => probes.shutdown(0));
  const internal = await open(listener("internal", {}), config["internal-listen"], [healthBinding]);
  undo.add(() => internal.shutdown(0));
  const clients = await open(listener("client", admissionOf(config)), config.listen, [
    ...all,
    ...reflectionServices(descriptors),
  ]);
  undo.add(() => clients.shutdown(graceMs));
  return {
    client: clients.endpoint,
    internal: internal.endpoint,
    health: probes.endpoint,
    http: http.endpoint,
    services: own.map(({ desc }) => desc.typeName),
  };
};
