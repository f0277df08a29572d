/** The first writes to an empty metadata store: whoever comes first decides. */
import { create } from "@bufbuild/protobuf";
import type { Random } from "@millrace/env";
import {
  type Compare,
  clusterOf,
  encodeRecord,
  keys,
  type MetadataStore,
  metadataFormatVersion,
  newGeneration,
  noGeneration,
  putGeneration,
} from "@millrace/metadata";
import { ClusterRecordSchema } from "@millrace/proto/storage";

/**
 * Creates the cluster's record and the metadata's generation if there is none, and returns the
 * cluster id. No reign guards it: every process may be the first. Throws DATA_DIRECTORY_UNUSABLE
 * when a newer version wrote the metadata.
 */
export const bootstrapCluster = async (
  store: MetadataStore,
  random: Random,
  wantedId?: string,
): Promise<string> => {
  const known = await clusterOf(store);
  if ((await store.range({ key: keys.generation })).kvs.length === 0) {
    await store.txn([noGeneration], [putGeneration(newGeneration(random))]);
  }
  if (known !== undefined) return known.clusterId;
  const clusterId =
    wantedId ?? `c${Buffer.from(random.bytes(16)).toString("base64url").slice(0, 21)}`;
  const record = { clusterId, formatVersion: metadataFormatVersion, featureLevel: 1 };
  const value = encodeRecord.cluster(create(ClusterRecordSchema, record));
  const absent: Compare = { key: keys.cluster, target: "createRevision", equals: 0 };
  await store.txn([absent], [{ type: "put", key: keys.cluster, value }]);
  return bootstrapCluster(store, random, clusterId);
};
