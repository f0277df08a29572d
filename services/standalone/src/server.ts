/** All services in one process, over one data directory and an embedded metadata store. */
import { join } from "node:path";
import { checkLogSettings, managerConfigOf } from "@millrace/broker/node";
import type { Resolved } from "@millrace/config";
import { nodeEnv } from "@millrace/env/node";
import { beginCleaning } from "@millrace/log/node";
import { openSqliteStore } from "@millrace/metadata/node";
import { nodeCompressor } from "@millrace/record/node";
import { grpcDialer } from "@millrace/rpc/grpc";
import {
  checkAdvertise,
  type Launch,
  listenersOf,
  type RunningServer,
  startServer,
  tellAdvertised,
  withinOpenFiles,
} from "@millrace/server/node";
import { boot } from "./boot/index.ts";
import { standaloneSchema } from "./config.ts";
import { serverMetrics } from "./metrics.ts";

/** The one broker of a standalone server. */
const BROKER_ID = 0;

/** Starts everything. Rejects with a MillraceError before anything is served. */
export const startStandalone = async (
  resolved: Resolved<typeof standaloneSchema>,
  { logger, droppedLogLines }: Pick<Launch, "logger" | "droppedLogLines">,
): Promise<RunningServer> => {
  checkAdvertise(resolved.values);
  checkLogSettings(resolved.values);
  const config = withinOpenFiles(resolved.values, logger);
  const metrics = serverMetrics(config, droppedLogLines);
  const directory = config["data-dir"];
  const surroundings = { schema: standaloneSchema, resolved, directory, metrics, logger };
  return startServer(surroundings, async ({ onServing }, undo) => {
    const env = nodeEnv({ dataDirectory: directory, compressor: nodeCompressor, logger });
    const { clock, random } = env;
    const store = openSqliteStore({ path: join(directory, "metadata.sqlite"), clock, random });
    undo.add(() => store.close());
    return boot({
      ...{ env, store, metrics, brokerId: BROKER_ID, alone: true, defaultReplicationFactor: 1 },
      dialer: grpcDialer(),
      listeners: listenersOf(config, metrics, logger),
      logConfig: managerConfigOf(config),
      beginCleaning,
      keyIndexBytesMax: config["key-index-bytes-max"],
      advertise: (listening) => tellAdvertised(config.advertise, listening, logger),
      onServing,
    });
  });
};
