/** The first writes to an empty metadata store: whoever comes first decides. */
import { create } from "@bufbuild/protobuf";
import type { Random } from "@millrace/env";
import { ErrorCode, MillraceError } from "@millrace/errors";
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

const hasMetadata = async (store: MetadataStore): Promise<boolean> => {
  const { kvs } = await store.range({ prefix: "" }, { limit: 2 });
  return kvs.some(({ key }) => key !== keys.generation);
};

/**
 * Creates the cluster's record and the metadata's generation in an empty store, and returns the
 * cluster id. No reign guards it: every process may be the first. Throws DATA_DIRECTORY_UNUSABLE
 * when a newer version wrote the metadata, UNAVAILABLE when there is metadata without a record: it
 * is the rest of a cluster, and another one must not begin in it.
 */
export const bootstrapCluster = async (
  store: MetadataStore,
  random: Random,
  wantedId?: string,
): Promise<string> => {
  const known = await clusterOf(store);
  if (known === undefined && (await hasMetadata(store))) {
    // A controller that makes a cluster makes its record before anything else.
    const made = await clusterOf(store);
    if (made !== undefined) return made.clusterId;
    throw new MillraceError(
      ErrorCode.UNAVAILABLE,
      "the metadata store has lost the record of its cluster: bring the right data back, " +
        "or use an empty store for a new cluster",
    );
  }
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
