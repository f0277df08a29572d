/** Records of clusters. */
import { create } from "@bufbuild/protobuf";
import { ClusterRecordSchema } from "@millrace/proto/storage";
import type { Operation } from "../api.ts";
import { metadataFormatVersion } from "../cluster.ts";
import { encodeRecord, keys } from "../keys.ts";

/** Puts the record of a cluster. */
export const clusterRecord = (clusterId: string, featureLevel = 1): Operation => {
  const record = { clusterId, formatVersion: metadataFormatVersion, featureLevel };
  const value = encodeRecord.cluster(create(ClusterRecordSchema, record));
  return { type: "put", key: keys.cluster, value };
};

/** Deletes everything, as somebody does who empties a store under its cluster. */
export const wiped: Operation = { type: "delete", range: { prefix: "" } };
