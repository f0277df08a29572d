/** Settings of a controller. */
import type { Schema } from "@millrace/config";
import {
  admissionSettings,
  advertiseSettings,
  clusterIdSettings,
  count,
  etcdSettings,
  identity,
  internalAdvertiseSettings,
  listenerSettings,
  loggingSettings,
  text,
} from "@millrace/server/node";

/** A controller of a cluster: one schema for flags, environment, file, help and reference. */
export const controllerSchema = {
  "controller-id": identity("Number of this controller, one in the cluster."),
  "data-dir": text(
    /^.*$/s,
    "a path, or empty for none",
    "",
    "Directory of endpoints.json and of cluster-id, by which a controller knows its cluster again. " +
      "All else is in etcd.",
  ),
  ...listenerSettings,
  ...advertiseSettings,
  ...internalAdvertiseSettings,
  ...clusterIdSettings,
  ...etcdSettings,
  ...loggingSettings,
  "default-replication-factor": count(
    1,
    32,
    3,
    "Replicas of topics that are made without saying how many; fewer while there are fewer brokers.",
  ),
  "maintenance-leases-per-rack": count(
    1,
    100,
    1,
    "Brokers of one rack that may be in maintenance together. Brokers of several racks, or of none, " +
      "never are.",
  ),
  ...admissionSettings,
} as const satisfies Schema;
