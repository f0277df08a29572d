/** The cluster's record, and the version of the metadata that it tells. */
import { ErrorCode, MillraceError } from "@millrace/errors";
import type { ClusterRecord } from "@millrace/proto/storage";
import type { MetadataStore } from "./api.ts";
import { decodeRecord, keys } from "./keys.ts";

/** Version of the metadata that this code writes. */
export const metadataFormatVersion = 1;

/**
 * The cluster's record, or undefined before there is one. Throws DATA_DIRECTORY_UNUSABLE when a
 * newer version wrote the metadata.
 */
export const clusterOf = async (store: MetadataStore): Promise<ClusterRecord | undefined> => {
  const [kv] = (await store.range({ key: keys.cluster })).kvs;
  if (kv === undefined) return undefined;
  const record = decodeRecord.cluster(kv);
  const { formatVersion } = record;
  if (formatVersion <= metadataFormatVersion) return record;
  throw new MillraceError(
    ErrorCode.DATA_DIRECTORY_UNUSABLE,
    `the metadata has format ${formatVersion}, this version reads up to ${metadataFormatVersion}: use a newer version`,
  );
};
