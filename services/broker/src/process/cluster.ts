/** Which cluster a broker belongs to: its record, which only a controller makes. */
import { clusterOf, type MetadataStore, requireCluster } from "@millrace/metadata";
import { type PatienceOptions, untilAnswered } from "@millrace/server";

/**
 * The cluster's id, once the store holds its record: that of `wantedId`, or any where that is
 * undefined. Throws DATA_DIRECTORY_UNUSABLE for metadata of a newer version, and the reason of
 * `signal`.
 */
export const clusterIdOf = async (
  store: MetadataStore,
  wantedId: string | undefined,
  options: Omit<PatienceOptions, "waiting">,
): Promise<string> => {
  if (wantedId !== undefined) {
    const waiting = `waiting for the metadata of cluster ${wantedId}`;
    return untilAnswered(() => requireCluster(store, wantedId), { ...options, waiting });
  }
  const waiting = "waiting for the record of the cluster: a controller makes it";
  const { clusterId } = await untilAnswered(() => clusterOf(store), { ...options, waiting });
  return clusterId;
};
