/** Entry of the command that takes a standalone server's data directory into a cluster. */
import { nodeClock, nodeRandom } from "@millrace/env/node";
import { openStore } from "@millrace/server/etcd";
import {
  dataDirectorySettings,
  etcdSettings,
  loggingSettings,
  runTask,
} from "@millrace/server/node";
import { moveToCluster } from "./move.ts";

const task = {
  schema: { ...dataDirectorySettings, ...etcdSettings, ...loggingSettings },
  service: "to-cluster",
  usage:
    "node services/standalone/src/to-cluster/main.ts --data-dir DIR --etcd-endpoints URL[,…] [flags]",
  about:
    "Takes the data directory of a stopped standalone server into a new cluster, as that of " +
    "broker 0: its metadata go to etcd, its logs stay where they are.",
  example: [
    "Example:",
    "  node services/standalone/src/to-cluster/main.ts --data-dir ./data \\",
    "    --etcd-endpoints http://etcd:2379",
  ],
} as const;

process.exit(
  await runTask(
    {
      ...task,
      run: async (config, logger) => {
        const env = { clock: nodeClock(), random: nodeRandom(), logger };
        const store = openStore(config, env);
        try {
          const moved = await moveToCluster({ ...env, directory: config["data-dir"], store });
          const { clusterId, topics, partitions, isNew } = moved;
          return (
            `cluster ${clusterId}: ${topics} topics, ${partitions} partitions ` +
            `${isNew ? "are" : "were"} in etcd. Start the controllers, and broker 0 on this directory.`
          );
        } finally {
          await store.close();
        }
      },
    },
    process.argv.slice(2),
  ),
);
