/** A group coordinator of a cluster as a real process, over etcd. */
import type { Resolved } from "@millrace/config";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import { nodeCompressor } from "@millrace/record/node";
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
import { groupCoordinatorSchema } from "./config.ts";
import { groupCoordinatorServerMetrics } from "./metrics.ts";

/** Starts the process. Rejects with a MillraceError before anything is served. */
export const startGroupCoordinatorServer = async (
  resolved: Resolved<typeof groupCoordinatorSchema>,
  { logger, droppedLogLines, signal }: Launch,
): Promise<RunningServer> => {
  checkAddresses(resolved.values);
  const config = withinOpenFiles(resolved.values, logger);
  const metrics = groupCoordinatorServerMetrics(droppedLogLines);
  const directory = config["data-dir"] === "" ? undefined : config["data-dir"];
  const surroundings = { schema: groupCoordinatorSchema, resolved, directory, metrics, logger };
  return startServer(surroundings, async ({ onServing, onWaiting }, undo) => {
    const env = { clock: nodeClock(), random: nodeRandom(), compressor: nodeCompressor, logger };
    const store = openStore(config, env);
    undo.add(() => store.close());
    const wantedClusterId = wantedCluster(config["cluster-id"], directory);
    return boot({
      ...{ env, store, signal, onServing, onWaiting },
      ...{ metrics: metrics.groups, watchGroups: metrics.watchGroups },
      mirrorObserver: metrics.metadata,
      ...(wantedClusterId === undefined ? {} : { wantedClusterId }),
      onCluster: (clusterId) => rememberCluster(directory, clusterId),
      dialer: grpcDialer(),
      coordinatorId: config["coordinator-id"],
      offsetsRetentionMs: config["offsets-retention"],
      listeners: listenersOf(config, metrics, logger),
      advertise: (bound) => tellAddresses(config, bound, logger),
    });
  });
};

/** The group coordinator as a command line. */
export const groupCoordinatorProgram: Program<typeof groupCoordinatorSchema> = {
  service: "group-coordinator",
  schema: groupCoordinatorSchema,
  usage:
    "node services/group-coordinator/src/process/main.ts --coordinator-id N " +
    "--etcd-endpoints URL[,…] [flags]",
  about: "Starts a group coordinator of a cluster. Each of them serves a share of the groups.",
  example: [
    "Example:",
    "  node services/group-coordinator/src/process/main.ts --coordinator-id 0 \\",
    "    --etcd-endpoints http://etcd:2379 --listen 0.0.0.0:7400 \\",
    "    --advertise group-coordinator-0:7400 --internal-listen 0.0.0.0:7401 \\",
    "    --internal-advertise group-coordinator-0:7401",
  ],
  start: startGroupCoordinatorServer,
  title: (values) => `Millrace group coordinator ${values["coordinator-id"]}`,
};
