/** A controller of a cluster as a real process, over etcd. */
import type { Resolved } from "@millrace/config";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import { grpcDialer } from "@millrace/rpc/grpc";
import { openStore } from "@millrace/server/etcd";
import {
  checkAddresses,
  type Launch,
  listenersOf,
  type Program,
  type RunningServer,
  rememberCluster,
  startServer,
  tellAddresses,
  wantedCluster,
  withinOpenFiles,
} from "@millrace/server/node";
import { boot } from "./boot.ts";
import { controllerSchema } from "./config.ts";
import { controllerServerMetrics } from "./metrics.ts";

/** Starts the process. Rejects with a MillraceError before anything is served. */
export const startControllerServer = async (
  resolved: Resolved<typeof controllerSchema>,
  { logger, droppedLogLines, signal }: Launch,
): Promise<RunningServer> => {
  checkAddresses(resolved.values);
  const config = withinOpenFiles(resolved.values, logger);
  const metrics = controllerServerMetrics(droppedLogLines);
  const directory = config["data-dir"] === "" ? undefined : config["data-dir"];
  const surroundings = { schema: controllerSchema, resolved, directory, metrics, logger };
  return startServer(surroundings, async ({ onServing, onWaiting }, undo) => {
    const env = { clock: nodeClock(), random: nodeRandom(), logger };
    const store = openStore(config, env);
    undo.add(() => store.close());
    const wantedClusterId = wantedCluster(config["cluster-id"], directory);
    return boot({
      ...{ env, store, signal, onServing, onWaiting, metrics: metrics.controller },
      mirrorObserver: metrics.metadata,
      ...(wantedClusterId === undefined ? {} : { wantedClusterId }),
      onCluster: (clusterId) => rememberCluster(directory, clusterId),
      dialer: grpcDialer(),
      controllerId: config["controller-id"],
      defaultReplicationFactor: config["default-replication-factor"],
      maintenancePerRackMax: config["maintenance-leases-per-rack"],
      listeners: listenersOf(config, metrics, logger),
      advertise: (bound) => tellAddresses(config, bound, logger),
    });
  });
};

/** The controller as a command line. */
export const controllerProgram: Program<typeof controllerSchema> = {
  service: "controller",
  schema: controllerSchema,
  usage:
    "node services/controller/src/process/main.ts --controller-id N --etcd-endpoints URL[,…] [flags]",
  about: "Starts a controller of a cluster. One of them is active; the others wait for their turn.",
  example: [
    "Example:",
    "  node services/controller/src/process/main.ts --controller-id 0 \\",
    "    --etcd-endpoints http://etcd:2379 --listen 0.0.0.0:7400 --advertise controller-0:7400 \\",
    "    --internal-listen 0.0.0.0:7401 --internal-advertise controller-0:7401",
  ],
  start: startControllerServer,
  title: (values) => `Millrace controller ${values["controller-id"]}`,
};
