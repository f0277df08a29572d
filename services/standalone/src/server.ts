/** All services in one process, over one data directory and an embedded metadata store. */
import { join } from "node:path";
import { managerConfigOf } from "@millrace/broker/node";
import { type Resolved, redactedValues } from "@millrace/config";
import type { Logger } from "@millrace/env";
import { nodeEnv } from "@millrace/env/node";
import { openSqliteStore } from "@millrace/metadata/node";
import { serveHttp } from "@millrace/observability";
import { nodeCompressor } from "@millrace/record/node";
import { grpcDialer } from "@millrace/rpc/grpc";
import { Undo } from "@millrace/server";
import {
  advertisedOf,
  checkAdvertise,
  fileBudget,
  listenersOf,
  lockDirectory,
  openFilesLimit,
  parseAddress,
  prepareDirectory,
  writeEndpoints,
} from "@millrace/server/node";
import { boot } from "./boot/index.ts";
import { type StandaloneConfig, standaloneSchema } from "./config.ts";
import { serverMetrics } from "./metrics.ts";

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
  const ready = { value: false };
  const http = await serveHttp({
    ...parseAddress(config["http-listen"]),
    metrics: metrics.registry,
    ready: () => ({ ready: ready.value, reasons: ready.value ? [] : ["starting or stopping"] }),
    configz: () => redactedValues(standaloneSchema, resolved),
    logger,
    onRefused: () => metrics.onHttpRefused(),
  });
  undo.add(() => http.close());
  const server = await boot({
    ...{ env, store, metrics, brokerId: BROKER_ID, alone: true, defaultReplicationFactor: 1 },
    dialer: grpcDialer(),
    listeners: listenersOf(config, metrics, logger),
    logConfig: managerConfigOf(config),
    advertise: (listening) => endpointForClients(config, listening, logger),
    onServing: (serving) => {
      ready.value = serving;
    },
  });
  undo.add(() => server.stop());
  const endpoints = { ...server.endpoints, http: http.endpoint };
  writeEndpoints(directory, endpoints);
  return { endpoints, clusterId: server.clusterId, stop: () => undo.run(logger) };
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
