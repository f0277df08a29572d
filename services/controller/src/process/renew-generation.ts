/** `renew-generation`: what is done once after etcd was restored from a backup. */
import type { Random } from "@millrace/env";
import { nodeClock, nodeRandom } from "@millrace/env/node";
import { ErrorCode, MillraceError } from "@millrace/errors";
import {
  ClusterStore,
  clusterOf,
  type MetadataStore,
  renewGeneration,
  requireCluster,
} from "@millrace/metadata";
import { openStore } from "@millrace/server/etcd";
import type { Task } from "@millrace/server/node";
import { controllerSchema } from "./config.ts";

/**
 * Gives the metadata of a cluster another generation. Throws UNAVAILABLE when the store does not
 * hold the record of `wantedId`, or of any cluster where that is undefined.
 */
export const renew = async (
  store: MetadataStore,
  random: Random,
  wantedId: string | undefined,
): Promise<{ readonly clusterId: string; readonly generation: string }> => {
  const clusterId =
    wantedId === undefined
      ? (await clusterOf(store))?.clusterId
      : await requireCluster(store, wantedId);
  if (clusterId === undefined) {
    throw new MillraceError(
      ErrorCode.UNAVAILABLE,
      "the metadata store holds no record of a cluster: restore the backup first, or check " +
        "--etcd-endpoints and --etcd-prefix",
    );
  }
  const generation = await renewGeneration(new ClusterStore(store, clusterId), random);
  return { clusterId, generation };
};

/** The command, with the settings of a controller. */
export const renewGenerationTask: Task<typeof controllerSchema> = {
  service: "renew-generation",
  schema: controllerSchema,
  usage: "node services/controller/src/process/main.ts renew-generation --config FILE.yaml [flags]",
  about:
    "Tells a cluster that its etcd was restored from a backup: every process reads the metadata\n" +
    "anew. Run it once after the restore, before the controllers start. It takes the settings of\n" +
    "a controller, and uses those of etcd and --cluster-id.",
  example: [
    "Example:",
    "  node services/controller/src/process/main.ts renew-generation \\",
    "    --config /etc/millrace/controller.yaml",
  ],
  run: async (values, logger) => {
    const random = nodeRandom();
    const store = openStore(values, { clock: nodeClock(), random, logger });
    try {
      const wantedId = values["cluster-id"] || undefined;
      const { clusterId, generation } = await renew(store, random, wantedId);
      return `cluster ${clusterId} has generation ${generation} now: its processes read everything anew`;
    } finally {
      await store.close();
    }
  },
};
