/**
 * The cluster's record: which cluster a metadata store is of, and the version of the metadata that
 * it holds.
 */
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { ClusterRecord } from "@millrace/proto/storage";
import type { KeyValue, MetadataStore } from "./api.ts";
import { decodeRecord, keys } from "./keys.ts";
import { notDone } from "./outcome.ts";

/** Version of the metadata that this code writes. */
export const metadataFormatVersion = 1;

/**
 * The cluster's record, or undefined before there is one. Throws DATA_DIRECTORY_UNUSABLE when a
 * newer version wrote the metadata.
 */
export const clusterOf = async (store: MetadataStore): Promise<ClusterRecord | undefined> => {
  const [kv] = (await store.range({ key: keys.cluster })).kvs;
  return kv && recordIn(kv);
};

const recordIn = (kv: KeyValue): ClusterRecord => {
  const record = decodeRecord.cluster(kv);
  const { formatVersion } = record;
  if (formatVersion <= metadataFormatVersion) return record;
  throw new MillraceError(
    ErrorCode.DATA_DIRECTORY_UNUSABLE,
    `the metadata has format ${formatVersion}, this version reads up to ${metadataFormatVersion}: use a newer version`,
  );
};

/**
 * The id of this cluster, from its record. Throws UNAVAILABLE while the store holds another
 * cluster's record, or none, and DATA_DIRECTORY_UNUSABLE when a newer version wrote the metadata.
 */
export const requireCluster = async (store: MetadataStore, clusterId: string): Promise<string> => {
  const [kv] = (await store.range({ key: keys.cluster })).kvs;
  if (kv === undefined || clusterIdIn(kv) !== clusterId) throw foreignStore(clusterId, kv);
  return recordIn(kv).clusterId;
};

/** The id in a cluster's record; undefined where there is no record, or it cannot be read. */
export const clusterIdIn = (kv: KeyValue | undefined): string | undefined => {
  if (kv === undefined) return undefined;
  try {
    return decodeRecord.cluster(kv).clusterId || undefined;
  } catch {
    return undefined;
  }
};

/**
 * The error of everything that is asked of a store without this cluster's record. It counts as a
 * store that is down: nothing was done, and the right one may come back.
 */
export const foreignStore = (clusterId: string, found: KeyValue | undefined): MillraceError => {
  const id = clusterIdIn(found);
  const unreadable = found === undefined ? "no record of a cluster" : "a record that is damaged";
  const what = id === undefined ? unreadable : `the record of cluster ${id}`;
  return notDone(
    `the metadata store holds ${what}, not that of cluster ${clusterId}: ` +
      "bring the right data back, or check the endpoints and the prefix of etcd",
  );
};
