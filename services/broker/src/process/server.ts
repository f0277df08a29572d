/** A broker of a cluster as a real process, over one data directory and etcd. */
import type { Resolved } from "@millrace/config";
import { nodeEnv } from "@millrace/env/node";
import { beginCleaning } from "@millrace/log/node";
import { nodeCompressor } from "@millrace/record/node";
import { grpcDialer } from "@millrace/rpc/grpc";
import { openStore } from "@millrace/server/etcd";
import {
  checkAddresses,
  type Launch,
  listenersOf,
  type Program,
  type RunningServer,
  startServer,
  tellAddresses,
  withinOpenFiles,
} from "@millrace/server/node";
import { boot } from "./boot.ts";
import { brokerSchema, checkLogSettings, managerConfigOf } from "./config.ts";
import { brokerServerMetrics } from "./metrics.ts";

/** Starts the process. Rejects with a MillraceError before anything is served. */
export const startBrokerServer = async (
  resolved: Resolved<typeof brokerSchema>,
  { logger, droppedLogLines, signal }: Launch,
): Promise<RunningServer> => {
  checkAddresses(resolved.values);
  checkLogSettings(resolved.values);
  const config = withinOpenFiles(resolved.values, logger);
  const metrics = brokerServerMetrics(config, droppedLogLines);
  const directory = config["data-dir"];
  const surroundings = { schema: brokerSchema, resolved, directory, metrics, logger };
  return startServer(surroundings, async ({ onServing, onWaiting }, undo) => {
    const env = nodeEnv({ dataDirectory: directory, compressor: nodeCompressor, logger });
    const store = openStore(config, env);
    undo.add(() => store.close());
    return boot({
      ...{ env, store, metrics, signal, onServing, onWaiting },
      ...{ brokerId: config["broker-id"], rack: config.rack },
      ...(config["cluster-id"] === "" ? {} : { wantedClusterId: config["cluster-id"] }),
      dialer: grpcDialer(),
      listeners: listenersOf(config, metrics, logger),
      logConfig: managerConfigOf(config),
      beginCleaning,
      replicaLagMaxMs: config["replica-lag-max"],
      reassignmentThrottle: config["reassignment-throttle"],
      keyIndexBytesMax: config["key-index-bytes-max"],
      // As an operator would stop it. The next start is refused.
      onDecommissioned: () => process.kill(process.pid, "SIGTERM"),
      advertise: (bound) => tellAddresses(config, bound, logger),
    });
  });
};

/** The broker as a command line. */
export const brokerProgram: Program<typeof brokerSchema> = {
  service: "broker",
  schema: brokerSchema,
  usage: "node services/broker/src/process/main.ts --broker-id N --etcd-endpoints URL[,…] [flags]",
  about: "Starts a broker of a cluster. It waits until a controller of the cluster has started.",
  example: [
    "Example:",
    "  node services/broker/src/process/main.ts --broker-id 1 --etcd-endpoints http://etcd:2379 \\",
    "    --data-dir /srv/millrace --listen 0.0.0.0:7400 --advertise broker-1:7400 \\",
    "    --internal-listen 0.0.0.0:7401 --internal-advertise broker-1:7401",
  ],
  start: startBrokerServer,
  title: (values) => `Millrace broker ${values["broker-id"]}`,
};
