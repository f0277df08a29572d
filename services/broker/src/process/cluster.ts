/** Which cluster a broker belongs to: its record, which only a controller makes. */
import { clusterOf, type MetadataStore } from "@millrace/metadata";
import { type PatienceOptions, untilAnswered } from "@millrace/server";

/**
 * The cluster's id, once there is a cluster. Throws DATA_DIRECTORY_UNUSABLE for metadata of a newer
 * version, and the reason of `signal`.
 */
export const clusterIdOf = async (
  store: MetadataStore,
  options: Omit<PatienceOptions, "waiting">,
): Promise<string> => {
  const waiting = "waiting for the record of the cluster: a controller makes it";
  const { clusterId } = await untilAnswered(() => clusterOf(store), { ...options, waiting });
  return clusterId;
};
